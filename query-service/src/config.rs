//! What the query service needs to know.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;
use service_kit::config::{
    Config, ConfigError, DatabaseConfig, KafkaConfig, RedisConfig, RegistryConfig, Settings, TokenConfig,
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
    /// The command service's instances, for strong reads; they need not be there.
    pub command_urls: Vec<Url>,
    /// Where schema ids are looked up, for the tail of the topics; reads work without it.
    pub registry: RegistryConfig,
    /// Where verified schema ids are kept, so that the tail begins while the registry is down; none: it waits.
    pub data_dir: Option<PathBuf>,
    /// The cache, and what it needs to know when it is not true any more.
    pub cache: CacheConfig,
    /// Streams of events.
    pub streams: StreamsConfig,
    /// Where it listens.
    pub listen: SocketAddr,
}

/// How much memory answers and what is known of them may take.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_field_names, reason = "each says its unit")]
pub struct CacheConfig {
    /// For cached answers, in MiB.
    pub cache_mib: usize,
    /// For the tags, over all partitions, in MiB. The more, the fewer answers are thrown away because of others.
    pub tags_mib: usize,
    /// For the latest events, in MiB.
    pub live_mib: usize,
}

impl Config for CacheConfig {
    fn read(settings: &Settings) -> Result<Self, ConfigError> {
        let mib = |name: &'static str, default: usize| match settings.parse_or(name, default)? {
            mib @ 1..=65_536 => Ok(mib),
            _ => Err(ConfigError::Malformed {
                name,
                detail: "not 1 to 65536".to_owned(),
            }),
        };
        Ok(Self {
            cache_mib: mib("TAILWATER_CACHE_MIB", 64)?,
            tags_mib: mib("TAILWATER_TAGS_MIB", 16)?,
            live_mib: mib("TAILWATER_LIVE_MIB", 16)?,
        })
    }
}

/// What streams of events may take.
#[derive(Clone, Copy, Debug)]
pub struct StreamsConfig {
    /// So many may be open at a time.
    pub open_max: usize,
    /// How often a stream says that it is there.
    pub heartbeat: Duration,
}

impl Config for StreamsConfig {
    fn read(settings: &Settings) -> Result<Self, ConfigError> {
        let heartbeat_s @ 1..=3_600 = settings.parse_or("TAILWATER_HEARTBEAT_SECONDS", 15)? else {
            return Err(ConfigError::Malformed {
                name: "TAILWATER_HEARTBEAT_SECONDS",
                detail: "not 1 to 3600".to_owned(),
            });
        };
        Ok(Self {
            open_max: settings.parse_or("TAILWATER_STREAMS_MAX", 10_000)?,
            heartbeat: Duration::from_secs(heartbeat_s),
        })
    }
}

impl Config for QueryConfig {
    fn read(settings: &Settings) -> Result<Self, ConfigError> {
        Ok(Self {
            kafka: KafkaConfig::read(settings)?,
            database: DatabaseConfig::read(settings)?,
            redis: RedisConfig::read(settings)?,
            token: TokenConfig::read(settings)?,
            command_urls: command_urls(settings)?,
            registry: RegistryConfig::read(settings)?,
            data_dir: settings.get("TAILWATER_DATA_DIR").map(PathBuf::from),
            cache: CacheConfig::read(settings)?,
            streams: StreamsConfig::read(settings)?,
            listen: settings.listen("127.0.0.1:8081")?,
        })
    }
}

/// `TAILWATER_COMMAND_URLS`, separated by commas, or the one `TAILWATER_COMMAND_URL`.
fn command_urls(settings: &Settings) -> Result<Vec<Url>, ConfigError> {
    let (name, text) = match settings.get("TAILWATER_COMMAND_URLS") {
        Some(text) => ("TAILWATER_COMMAND_URLS", text),
        None => (
            "TAILWATER_COMMAND_URL",
            settings
                .get("TAILWATER_COMMAND_URL")
                .unwrap_or("http://127.0.0.1:8080"),
        ),
    };
    let urls = text
        .split(',')
        .map(str::trim)
        .filter(|url| !url.is_empty())
        .map(|url| {
            let parsed = url.parse::<Url>().ok().filter(|url| url.scheme() == "http");
            parsed.ok_or_else(|| ConfigError::Malformed {
                name,
                detail: format!("{url} is not an address such as http://127.0.0.1:8080"),
            })
        });
    urls.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(environment: &[(&str, &str)]) -> Result<Vec<String>, ConfigError> {
        let find = |name: &str| environment.iter().find(|(n, _)| *n == name);
        let settings = Settings::of(|name| find(name).map(|(_, value)| (*value).to_owned()), None)?;
        let urls = command_urls(&settings)?;
        Ok(urls.iter().map(Url::to_string).collect())
    }

    #[test]
    fn the_list_goes_over_the_one_address() {
        let one = ("TAILWATER_COMMAND_URL", "http://a:1");
        let list = ("TAILWATER_COMMAND_URLS", "http://b:2, http://c:3/,");
        assert_eq!(urls(&[one]).unwrap(), ["http://a:1/"]);
        assert_eq!(urls(&[one, list]).unwrap(), ["http://b:2/", "http://c:3/"]);
        assert_eq!(urls(&[]).unwrap(), ["http://127.0.0.1:8080/"]);
        for bad in ["b:2", "ftp://b", "http://", "http://a:1,b"] {
            assert!(urls(&[("TAILWATER_COMMAND_URLS", bad)]).is_err(), "{bad}");
        }
    }
}
