//! What the command service needs to know.

use std::path::PathBuf;

use service_kit::config::{Config, ConfigError, KafkaConfig, RegistryConfig, Settings, TokenConfig};

/// The command service's configuration.
#[derive(Clone, Debug)]
pub struct CommandConfig {
    /// Where the log is.
    pub kafka: KafkaConfig,
    /// Where schema ids are looked up.
    pub registry: RegistryConfig,
    /// The secret of consistency tokens.
    pub token: TokenConfig,
    /// Where to listen.
    pub listen: std::net::SocketAddr,
    /// The query service as clients reach it: the base of `Location`.
    pub query_url: String,
    /// Where verified schema ids are kept, for starts without the registry, and the writers' checkpoints.
    pub data_dir: PathBuf,
    /// Aggregates in memory, about; the others are in the checkpoints.
    pub hot_aggregates: usize,
    /// At least so often a checkpoint is written, in milliseconds.
    pub checkpoint_every_ms: u64,
}

impl Config for CommandConfig {
    fn read(settings: &Settings) -> Result<Self, ConfigError> {
        Ok(Self {
            kafka: KafkaConfig::read(settings)?,
            registry: RegistryConfig::read(settings)?,
            token: TokenConfig::read(settings)?,
            listen: settings.listen("127.0.0.1:8080")?,
            query_url: settings
                .get("TAILWATER_PUBLIC_QUERY_URL")
                .unwrap_or("http://127.0.0.1:8081")
                .trim_end_matches('/')
                .to_owned(),
            data_dir: settings
                .get("TAILWATER_DATA_DIR")
                .unwrap_or(".local/data/command-service")
                .into(),
            hot_aggregates: settings.parse_or("TAILWATER_HOT_AGGREGATES", 1_000_000)?,
            checkpoint_every_ms: settings.parse_or("TAILWATER_CHECKPOINT_EVERY_MS", 5_000)?,
        })
    }
}
