//! What the command service needs to know.

use std::net::SocketAddr;
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
    pub listen: SocketAddr,
    /// How other instances reach this one.
    pub peers: PeersConfig,
    /// The query service as clients reach it: the base of `Location`.
    pub query_url: String,
    /// Where verified schema ids are kept, for starts without the registry.
    pub data_dir: PathBuf,
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
            data_dir: settings
                .get("TAILWATER_DATA_DIR")
                .unwrap_or(".local/data/command-service")
                .into(),
        })
    }
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
