//! What the query service needs to know.

use std::net::SocketAddr;

use service_kit::config::{
    Config, ConfigError, DatabaseConfig, KafkaConfig, RedisConfig, Settings, TokenConfig,
};

/// The query service's configuration.
#[derive(Clone, Debug)]
pub struct QueryConfig {
    /// The log, for its identity and its end; reads work without it.
    pub kafka: KafkaConfig,
    /// The one model.
    pub database: DatabaseConfig,
    /// The other.
    pub redis: RedisConfig,
    /// The secret of consistency tokens.
    pub token: TokenConfig,
    /// Where it listens.
    pub listen: SocketAddr,
}

impl Config for QueryConfig {
    fn read(settings: &Settings) -> Result<Self, ConfigError> {
        Ok(Self {
            kafka: KafkaConfig::read(settings)?,
            database: DatabaseConfig::read(settings)?,
            redis: RedisConfig::read(settings)?,
            token: TokenConfig::read(settings)?,
            listen: settings.listen("127.0.0.1:8081")?,
        })
    }
}
