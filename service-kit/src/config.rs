//! Configuration: environment over an optional TOML file, checked at start, printed redacted.
//!
//! Every setting has one name: `TAILWATER_KAFKA` in the environment is `kafka` in the file that `TAILWATER_CONFIG` names. The file
//! is shared by all services, so it may have any setting of [`NAMES`], and nothing else. One struct per concern; a service's
//! [`Config`] is made of those that it needs.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// Every setting there is.
pub const NAMES: &[&str] = &[
    "TAILWATER_KAFKA",
    "TAILWATER_REGISTRY_URL",
    "TAILWATER_DATABASE_URL",
    "TAILWATER_REDIS_URL",
    "TAILWATER_TOPIC_PREFIX",
    "TAILWATER_REDIS_PREFIX",
    "TAILWATER_TOKEN_KEY",
    "TAILWATER_LISTEN",
    "TAILWATER_PEER_LISTEN",
    "TAILWATER_ADVERTISED_HOST",
    "TAILWATER_PUBLIC_QUERY_URL",
    "TAILWATER_COMMAND_URL",
    "TAILWATER_COMMAND_URLS",
    "TAILWATER_DATA_DIR",
    "TAILWATER_PARTITIONS",
    "TAILWATER_HOT_AGGREGATES",
    "TAILWATER_STORE_CACHE_MIB",
    "TAILWATER_CHECKPOINT_EVERY_MS",
    "TAILWATER_PAYMENT_WINDOW_SECONDS",
    "TAILWATER_RATE_LIMIT_PER_SECOND",
    "TAILWATER_LATENCY_TARGET_MS",
    "TAILWATER_CACHE_MIB",
    "TAILWATER_TAGS_MIB",
    "TAILWATER_LIVE_MIB",
    "TAILWATER_STREAMS_MAX",
    "TAILWATER_HEARTBEAT_SECONDS",
    "TAILWATER_LOG",
    "TAILWATER_LOG_FORMAT",
    "TAILWATER_WORKER_THREADS",
];

/// What is wrong with the configuration, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum ConfigError {
    #[error("{name} is not set; set it in the environment or in the file that TAILWATER_CONFIG names")]
    Missing { name: &'static str },
    #[error("{name} is malformed: {detail}")]
    Malformed { name: &'static str, detail: String },
    #[error("the configuration file {path} cannot be used: {detail}")]
    File { path: String, detail: String },
}

/// The settings of a process, before anybody made sense of them.
#[derive(Clone, Default)]
pub struct Settings {
    values: BTreeMap<&'static str, String>,
}

impl Settings {
    /// Those of this process: its environment over the file that `TAILWATER_CONFIG` names.
    pub fn load() -> Result<Self, ConfigError> {
        let file = match std::env::var("TAILWATER_CONFIG") {
            Ok(path) if !path.is_empty() => {
                let text = std::fs::read_to_string(&path).map_err(|error| ConfigError::File {
                    path: path.clone(),
                    detail: error.to_string(),
                })?;
                Some((path, text))
            }
            _ => None,
        };
        Self::of(
            |name| std::env::var(name).ok(),
            file.as_ref().map(|(path, text)| (path.as_str(), text.as_str())),
        )
    }

    /// Those of an environment and of a file's path and text.
    pub fn of(
        environment: impl Fn(&'static str) -> Option<String>,
        file: Option<(&str, &str)>,
    ) -> Result<Self, ConfigError> {
        let mut values = BTreeMap::new();
        if let Some((path, text)) = file {
            let fail = |detail: String| ConfigError::File {
                path: path.to_owned(),
                detail,
            };
            let table: toml::Table =
                toml::from_str(text).map_err(|error| fail(error.message().to_owned()))?;
            for (key, value) in table {
                let name = format!("TAILWATER_{}", key.to_ascii_uppercase());
                let known = NAMES
                    .iter()
                    .find(|known| **known == name && key == key.to_ascii_lowercase());
                let name = *known.ok_or_else(|| fail(format!("{key} is no setting")))?;
                let value = match value {
                    toml::Value::String(text) => text,
                    toml::Value::Integer(number) => number.to_string(),
                    _ => return Err(fail(format!("{key} is neither a text nor a whole number"))),
                };
                values.insert(name, value);
            }
        }
        for name in NAMES {
            if let Some(value) = environment(name).filter(|value| !value.is_empty()) {
                values.insert(name, value);
            }
        }
        Ok(Self { values })
    }

    /// A setting as text.
    pub fn get(&self, name: &'static str) -> Option<&str> {
        debug_assert!(NAMES.contains(&name), "{name} is missing in NAMES");
        self.values.get(name).map(String::as_str)
    }

    /// A setting that must be there.
    pub fn required(&self, name: &'static str) -> Result<String, ConfigError> {
        self.get(name)
            .map(str::to_owned)
            .ok_or(ConfigError::Missing { name })
    }

    /// A setting with a default.
    pub fn parse_or<T: FromStr<Err: fmt::Display>>(
        &self,
        name: &'static str,
        default: T,
    ) -> Result<T, ConfigError> {
        match self.get(name) {
            None => Ok(default),
            Some(text) => text.parse().map_err(|error: T::Err| ConfigError::Malformed {
                name,
                detail: error.to_string(),
            }),
        }
    }

    /// Where a service listens.
    pub fn listen(&self, default: &str) -> Result<std::net::SocketAddr, ConfigError> {
        let text = self.get("TAILWATER_LISTEN").unwrap_or(default);
        text.parse().map_err(|_| ConfigError::Malformed {
            name: "TAILWATER_LISTEN",
            detail: format!("{text} is not an address such as 127.0.0.1:8080"),
        })
    }
}

/// What a service, or a part of it, needs to know.
pub trait Config: Sized + fmt::Debug {
    /// Reads and checks it.
    fn read(settings: &Settings) -> Result<Self, ConfigError>;
}

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A URL whose user and password are never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl(String);

impl SecretUrl {
    /// The URL itself.
    pub fn expose(&self) -> &str {
        &self.0
    }

    fn read(settings: &Settings, name: &'static str, schemes: &[&str]) -> Result<Self, ConfigError> {
        let url = settings.required(name)?;
        if schemes.iter().any(|scheme| {
            url.strip_prefix(scheme)
                .is_some_and(|rest| rest.starts_with("://"))
        }) {
            Ok(Self(url))
        } else {
            Err(ConfigError::Malformed {
                name,
                detail: format!("it does not begin with {}://", schemes.join(":// or ")),
            })
        }
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.split_once("://"), self.0.rsplit_once('@')) {
            (Some((scheme, _)), Some((_, host))) => write!(f, "{scheme}://***@{host}"),
            _ => f.write_str(&self.0),
        }
    }
}

/// Kafka: where it is, and how our topics' names begin.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct KafkaConfig {
    pub bootstrap: String,
    pub prefix: String,
}

impl Config for KafkaConfig {
    fn read(settings: &Settings) -> Result<Self, ConfigError> {
        let prefix = settings.parse_or("TAILWATER_TOPIC_PREFIX", "shop".to_owned())?;
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if prefix.is_empty() || prefix.len() > 200 || !prefix.chars().all(legal) {
            let detail = "not 1 to 200 of A-Z a-z 0-9 . _ -".to_owned();
            return Err(ConfigError::Malformed {
                name: "TAILWATER_TOPIC_PREFIX",
                detail,
            });
        }
        Ok(Self {
            bootstrap: settings.required("TAILWATER_KAFKA")?,
            prefix,
        })
    }
}

/// The schema registry: its Confluent API's base.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct RegistryConfig {
    pub url: SecretUrl,
}

impl Config for RegistryConfig {
    fn read(settings: &Settings) -> Result<Self, ConfigError> {
        Ok(Self {
            url: SecretUrl::read(settings, "TAILWATER_REGISTRY_URL", &["http", "https"])?,
        })
    }
}

/// Postgres.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct DatabaseConfig {
    pub url: SecretUrl,
}

impl Config for DatabaseConfig {
    fn read(settings: &Settings) -> Result<Self, ConfigError> {
        Ok(Self {
            url: SecretUrl::read(settings, "TAILWATER_DATABASE_URL", &["postgres", "postgresql"])?,
        })
    }
}

/// Redis, and how our keys begin.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct RedisConfig {
    pub url: SecretUrl,
    pub prefix: String,
}

impl Config for RedisConfig {
    fn read(settings: &Settings) -> Result<Self, ConfigError> {
        let prefix = settings.parse_or("TAILWATER_REDIS_PREFIX", "tw".to_owned())?;
        if !prefix
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
            || prefix.is_empty()
        {
            let detail = "not one or more of A-Z a-z 0-9 . _ -".to_owned();
            return Err(ConfigError::Malformed {
                name: "TAILWATER_REDIS_PREFIX",
                detail,
            });
        }
        Ok(Self {
            url: SecretUrl::read(settings, "TAILWATER_REDIS_URL", &["redis"])?,
            prefix,
        })
    }
}

/// The secret under which consistency tokens are sealed: the same for all services of one system.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct TokenConfig {
    pub key: Secret,
}

impl Config for TokenConfig {
    fn read(settings: &Settings) -> Result<Self, ConfigError> {
        let key = settings.required("TAILWATER_TOKEN_KEY")?;
        if key.len() < 16 {
            let detail = "shorter than 16 characters".to_owned();
            return Err(ConfigError::Malformed {
                name: "TAILWATER_TOKEN_KEY",
                detail,
            });
        }
        Ok(Self {
            key: Secret::new(key),
        })
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum LogFormat {
    Text,
    Json,
}

/// What is logged, and how.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct TelemetryConfig {
    pub log: String,
    pub format: LogFormat,
}

impl Config for TelemetryConfig {
    fn read(settings: &Settings) -> Result<Self, ConfigError> {
        let format = match settings.get("TAILWATER_LOG_FORMAT") {
            None | Some("text") => LogFormat::Text,
            Some("json") => LogFormat::Json,
            Some(_) => {
                let detail = "neither text nor json".to_owned();
                return Err(ConfigError::Malformed {
                    name: "TAILWATER_LOG_FORMAT",
                    detail,
                });
            }
        };
        Ok(Self {
            log: settings.parse_or("TAILWATER_LOG", "info".to_owned())?,
            format,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(file: &str, environment: &[(&str, &str)]) -> Result<Settings, ConfigError> {
        let find = |name: &str| {
            environment
                .iter()
                .find(|(n, _)| *n == name)
                .map(|(_, value)| (*value).to_owned())
        };
        Settings::of(find, Some(("tailwater.toml", file)))
    }

    #[test]
    fn the_environment_goes_over_the_file() {
        let settings = settings(
            "kafka = 'a:1'\npartitions = 8\nredis_url = 'redis://x'",
            &[("TAILWATER_KAFKA", "b:2")],
        )
        .unwrap();
        assert_eq!(KafkaConfig::read(&settings).unwrap().bootstrap, "b:2");
        assert_eq!(KafkaConfig::read(&settings).unwrap().prefix, "shop");
        assert_eq!(settings.parse_or("TAILWATER_PARTITIONS", 4).unwrap(), 8);
        assert_eq!(RedisConfig::read(&settings).unwrap().prefix, "tw");
        assert!(matches!(
            DatabaseConfig::read(&settings),
            Err(ConfigError::Missing {
                name: "TAILWATER_DATABASE_URL"
            })
        ));
    }

    #[test]
    fn what_is_no_setting_is_refused() {
        for file in [
            "kafak = 'a:1'",
            "KAFKA = 'a:1'",
            "kafka = [1]",
            "kafka = ",
            "[kafka]\na = 1",
        ] {
            assert!(
                matches!(settings(file, &[]), Err(ConfigError::File { .. })),
                "{file}"
            );
        }
        let bad = settings(
            "",
            &[("TAILWATER_LISTEN", "8080"), ("TAILWATER_REDIS_URL", "http://x")],
        )
        .unwrap();
        assert!(bad.listen("127.0.0.1:1").is_err());
        assert!(RedisConfig::read(&bad).is_err());
    }

    #[test]
    fn secrets_are_not_printed() {
        let environment = [
            ("TAILWATER_DATABASE_URL", "postgres://u:p@h/d"),
            ("TAILWATER_TOKEN_KEY", "0123456789abcdef"),
        ];
        let settings = settings("", &environment).unwrap();
        let printed = format!(
            "{:?} {:?}",
            DatabaseConfig::read(&settings).unwrap(),
            TokenConfig::read(&settings).unwrap()
        );
        assert!(!printed.contains("u:p") && !printed.contains("0123"), "{printed}");
        assert!(printed.contains("postgres://***@h/d"), "{printed}");
    }
}
