//! What the command service needs to know.

use std::num::NonZeroU32;
use std::path::PathBuf;

use service_kit::rate_limit::RateLimit;

use crate::engine::PAYMENT_WINDOW_MICROS;
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
    /// How long a confirmed order may stay unpaid, in microseconds.
    pub payment_window_micros: i64,
    /// How long a command should wait at most before new ones are turned away, in milliseconds.
    pub latency_target_ms: usize,
    /// Requests a second that each caller may send; none: as many as it likes.
    pub rate_limit: Option<NonZeroU32>,
    /// Where verified schema ids are kept, for starts without the registry.
    pub data_dir: PathBuf,
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
            payment_window_micros: payment_window(settings)?,
            latency_target_ms: settings.parse_or("TAILWATER_LATENCY_TARGET_MS", 250)?,
            rate_limit: RateLimit::read(settings)?,
            data_dir: settings
                .get("TAILWATER_DATA_DIR")
                .unwrap_or(".local/data/command-service")
                .into(),
        })
    }
}

fn payment_window(settings: &Settings) -> Result<i64, ConfigError> {
    const NAME: &str = "TAILWATER_PAYMENT_WINDOW_SECONDS";
    let default = PAYMENT_WINDOW_MICROS / 1_000_000;
    let seconds: i64 = settings.parse_or(NAME, default)?;
    let micros = seconds.checked_mul(1_000_000).filter(|micros| *micros > 0);
    micros.ok_or_else(|| ConfigError::Malformed {
        name: NAME,
        detail: format!("{seconds} is not a number of seconds from 1 on"),
    })
}
