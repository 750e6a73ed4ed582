//! What the projector needs to know.

use std::net::SocketAddr;
use std::path::PathBuf;

use service_kit::config::{
    Config, ConfigError, DatabaseConfig, KafkaConfig, RedisConfig, RegistryConfig, Settings,
};

/// The projector's configuration.
#[derive(Clone, Debug)]
pub struct ProjectorConfig {
    /// The log.
    pub kafka: KafkaConfig,
    /// Where schema ids are looked up.
    pub registry: RegistryConfig,
    /// The one model.
    pub database: DatabaseConfig,
    /// The other.
    pub redis: RedisConfig,
    /// Where verified schema ids are kept, so that it starts while the registry is down; none: it waits.
    pub data_dir: Option<PathBuf>,
    /// Where health and metrics are served.
    pub listen: SocketAddr,
}

impl Config for ProjectorConfig {
    fn read(settings: &Settings) -> Result<Self, ConfigError> {
        Ok(Self {
            kafka: KafkaConfig::read(settings)?,
            registry: RegistryConfig::read(settings)?,
            database: DatabaseConfig::read(settings)?,
            redis: RedisConfig::read(settings)?,
            data_dir: settings.get("TAILWATER_DATA_DIR").map(PathBuf::from),
            listen: settings.listen("127.0.0.1:8082")?,
        })
    }
}
