//! The versions that this crate installs and starts, read from `pins.toml` at build time.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

/// The text of `pins.toml`, which the tests hold `docker-compose.yml` against.
pub(crate) const TEXT: &str = include_str!("../pins.toml");
/// Names and SHA-256 of Kafka's jars, in the form of `sha256sum`.
pub(crate) const KAFKA_JARS: &str = include_str!("../kafka-jars.sha256");

static PINS: LazyLock<Pins> =
    LazyLock::new(|| toml::from_str(TEXT).unwrap_or_else(|error| panic!("devstack/pins.toml: {error}")));

/// Everything that is pinned.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pins {
    /// The broker, from Maven.
    pub kafka: Kafka,
    /// The schema registry, from Maven.
    pub registry: Registry,
    /// Maven's plugins.
    pub maven: Maven,
    /// What Debian's releases call the rest, by release.
    pub debian: BTreeMap<String, Debian>,
    /// Debian packages whose names are the same in every release.
    pub packages: Packages,
    /// Container images by component.
    pub containers: BTreeMap<String, Image>,
}

/// Kafka and what it logs with.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kafka {
    /// Version of the broker and its tools.
    pub version: String,
    /// Version of Scala in the artifact's name.
    pub scala: String,
    /// Version of Log4j, which Kafka leaves to its packager.
    pub log4j: String,
}

/// Apicurio Registry.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registry {
    /// Version.
    pub version: String,
    /// SHA-256 of the archive.
    pub sha256: String,
}

/// Versions of Maven's dependency plugin.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Maven {
    /// For a tree of dependencies.
    pub dependencies_plugin: String,
    /// For one file whose parent POM is missing.
    pub copy_plugin: String,
}

/// One release of Debian.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Debian {
    /// Major version of Postgres.
    pub postgres: String,
    /// Major version of Redis.
    pub redis: String,
    /// Major version of Java.
    pub java: String,
    /// Packages of the components.
    pub components: Vec<String>,
}

/// Packages for one purpose each.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Packages {
    /// To build the services.
    pub build: Vec<String>,
    /// To try the printed examples.
    pub demo: Vec<String>,
    /// To run the tests.
    pub test: Vec<String>,
    /// To count instructions.
    pub measure: Vec<String>,
    /// To run containers.
    pub docker: Vec<String>,
    /// To build images where none can be pulled.
    pub images: Vec<String>,
}

/// One component's image under two names.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// As its own project publishes it.
    pub upstream: String,
    /// As `cargo xtask images` builds it.
    pub local: String,
}

/// The pins of this build.
pub fn pins() -> &'static Pins {
    &PINS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pins_are_complete() {
        for release in ["12", "13"] {
            let debian = &pins().debian[release];
            assert!(
                debian
                    .components
                    .contains(&format!("postgresql-{}", debian.postgres))
            );
            assert!(
                debian
                    .components
                    .contains(&format!("openjdk-{}-jre-headless", debian.java))
            );
        }
        assert!(
            pins().containers["kafka"]
                .upstream
                .ends_with(&format!(":{}", pins().kafka.version))
        );
        assert!(
            pins().containers["registry"]
                .upstream
                .ends_with(&format!(":{}", pins().registry.version))
        );
    }

    #[test]
    fn every_jar_of_the_pinned_kafka_has_a_checksum() {
        for jar in ["kafka_2.13", "kafka-tools", "kafka-server", "kafka-clients"] {
            let name = format!("{jar}-{}.jar", pins().kafka.version);
            assert!(
                KAFKA_JARS
                    .lines()
                    .any(|line| line.ends_with(&format!("  {name}"))),
                "{name}"
            );
        }
    }
}
