//! What the command service needs to know.

use std::net::SocketAddr;
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
    pub listen: SocketAddr,
    /// How other instances reach this one.
    pub peers: PeersConfig,
    /// The query service as clients reach it: the base of `Location`.
    pub query_url: String,
    /// How long a confirmed order may stay unpaid, in microseconds.
    pub payment_window_micros: i64,
    /// How long a command should wait at most before new ones are turned away, in milliseconds.
    pub latency_target_ms: usize,
    /// Requests a second that each caller may send; none: as many as it likes.
    pub rate_limit: Option<NonZeroU32>,
    /// Where verified schema ids are kept, for starts without the registry, and the writers' checkpoints.
    pub data_dir: PathBuf,
    /// Aggregates in memory, about, of up to a KiB each; the others are in the checkpoints.
    pub hot_aggregates: usize,
    /// What the checkpoints' stores keep of their files in memory, over all partitions, in MiB.
    pub store_cache_mib: usize,
    /// At least so often a checkpoint is written, in milliseconds.
    pub checkpoint_every_ms: u64,
}

/// How instances of the command service reach each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeersConfig {
    /// Where to listen for them; any free port unless one is given, as the others are told.
    pub listen: SocketAddr,
    /// The host at which they reach this one: that of `listen` unless another one is given.
    pub host: String,
}

impl PeersConfig {
    /// Base URL at which clients reach an instance that listens there: for the others to know.
    pub fn http(&self, listen: SocketAddr) -> String {
        if self.host.contains(':') {
            format!("http://[{}]:{}", self.host, listen.port())
        } else {
            format!("http://{}:{}", self.host, listen.port())
        }
    }
}

impl Config for PeersConfig {
    fn read(settings: &Settings) -> Result<Self, ConfigError> {
        let listen: SocketAddr =
            settings.parse_or("TAILWATER_PEER_LISTEN", SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let host = match settings.get("TAILWATER_ADVERTISED_HOST") {
            Some(host) => host.trim_matches(['[', ']']).to_owned(),
            None if listen.ip().is_unspecified() => {
                return Err(ConfigError::Malformed {
                    name: "TAILWATER_ADVERTISED_HOST",
                    detail: format!("it must be set where TAILWATER_PEER_LISTEN is every address, {listen}"),
                });
            }
            None => listen.ip().to_string(),
        };
        Ok(Self { listen, host })
    }
}

impl Config for CommandConfig {
    fn read(settings: &Settings) -> Result<Self, ConfigError> {
        Ok(Self {
            kafka: KafkaConfig::read(settings)?,
            registry: RegistryConfig::read(settings)?,
            token: TokenConfig::read(settings)?,
            listen: settings.listen("127.0.0.1:8080")?,
            peers: PeersConfig::read(settings)?,
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
            hot_aggregates: settings.parse_or("TAILWATER_HOT_AGGREGATES", 1_000_000)?,
            store_cache_mib: settings.parse_or("TAILWATER_STORE_CACHE_MIB", 256)?,
            checkpoint_every_ms: settings.parse_or("TAILWATER_CHECKPOINT_EVERY_MS", 10_000)?,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn peers(environment: &[(&str, &str)]) -> Result<PeersConfig, ConfigError> {
        let find = |name: &str| environment.iter().find(|(n, _)| *n == name);
        let settings = Settings::of(|name| find(name).map(|(_, value)| (*value).to_owned()), None)?;
        PeersConfig::read(&settings)
    }

    #[test]
    fn instances_on_one_machine_need_no_settings() {
        let peers = peers(&[]).unwrap();
        assert_eq!((peers.listen.port(), peers.host.as_str()), (0, "127.0.0.1"));
    }

    #[test]
    fn whoever_listens_everywhere_must_say_where_it_is() {
        let everywhere = ("TAILWATER_PEER_LISTEN", "0.0.0.0:7000");
        assert!(matches!(
            peers(&[everywhere]),
            Err(ConfigError::Malformed {
                name: "TAILWATER_ADVERTISED_HOST",
                ..
            })
        ));
        let host = |host| {
            let peers = peers(&[everywhere, ("TAILWATER_ADVERTISED_HOST", host)]).unwrap();
            peers.http(SocketAddr::from(([0, 0, 0, 0], 80)))
        };
        assert_eq!(host("node-1"), "http://node-1:80");
        assert_eq!(host("[::1]"), "http://[::1]:80");
    }
}
