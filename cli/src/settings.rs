//! What the commands need to know: the services' own settings.

use eventlog::LogConfig;
use service_kit::config::{
    Config, ConfigError, DatabaseConfig, KafkaConfig, RedisConfig, RegistryConfig, Settings, TelemetryConfig,
};

/// Where everything is.
#[derive(Debug)]
pub struct Places {
    /// The log.
    pub log: LogConfig,
    /// The schema registry.
    pub registry: RegistryConfig,
    /// Postgres.
    pub database: DatabaseConfig,
    /// Redis.
    pub redis: RedisConfig,
}

/// Reads them, and begins to log.
pub fn load() -> Result<Places, ConfigError> {
    let settings = Settings::load()?;
    let mut telemetry = TelemetryConfig::read(&settings)?;
    if settings.get("TAILWATER_LOG").is_none() {
        "warn".clone_into(&mut telemetry.log);
    }
    service_kit::telemetry::init_logs(&telemetry)?;
    let kafka = KafkaConfig::read(&settings)?;
    Ok(Places {
        log: LogConfig {
            bootstrap: kafka.bootstrap,
            prefix: kafka.prefix,
        },
        registry: RegistryConfig::read(&settings)?,
        database: DatabaseConfig::read(&settings)?,
        redis: RedisConfig::read(&settings)?,
    })
}
