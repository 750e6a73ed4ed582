//! Brings onto this machine what the components need: Debian's packages by apt, the rest by Maven into a folder of
//! our own. Every part is skipped where it is there already, and each download is moved into place only when whole.

pub mod debian;
mod maven;
pub mod python;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Error, Result};
use crate::layout::workspace;
use crate::pins::pins;
use crate::postgres;
use crate::process::find_program;
use crate::step::Progress;

/// Where everything that a stack starts is.
#[derive(Debug, Clone)]
pub struct Components {
    pub(crate) java: PathBuf,
    pub(crate) kafka_jars: PathBuf,
    pub(crate) registry_home: PathBuf,
    pub(crate) postgres: PathBuf,
    pub(crate) redis_server: PathBuf,
}

/// The folder that all stacks of this workspace share.
pub fn components_folder() -> PathBuf {
    workspace().join(".local/components")
}

impl Components {
    /// Finds what is installed; the error names the first thing that is not.
    pub fn locate(folder: &Path) -> Result<Self> {
        let missing = |what: String| {
            Error::new(format!("{what} is not installed")).remedy("run `cargo xtask up` first")
        };
        let release = debian::release()?;
        let postgres = postgres::programs(&release.postgres);
        if !postgres.join("postgres").exists() {
            return Err(missing(format!("PostgreSQL {}", release.postgres)));
        }
        let kafka_jars = maven::kafka_folder(folder);
        if !kafka_jars.is_dir() {
            return Err(missing(format!("Kafka {}", pins().kafka.version)));
        }
        let registry_home = maven::registry_folder(folder);
        if !registry_home.is_dir() {
            return Err(missing(format!("Apicurio Registry {}", pins().registry.version)));
        }
        Ok(Self {
            java: java(&release.java).ok_or_else(|| missing(format!("Java {}", release.java)))?,
            kafka_jars,
            registry_home,
            postgres,
            redis_server: find_program("redis-server").ok_or_else(|| missing("Redis".to_owned()))?,
        })
    }

    /// One of Kafka's own command-line tools, by its class: `org.apache.kafka.tools.ProducerPerformance` and so on.
    pub fn kafka_tool(&self, class: &str) -> Command {
        let mut command = Command::new(&self.java);
        command
            .args(["-XX:+UseSerialGC", "-Xms256m", "-Xmx512m", "-cp"])
            .arg(format!("{}/*", self.kafka_jars.display()))
            .arg(class);
        command
    }

    pub(crate) fn registry_runner() -> String {
        format!("apicurio-registry-app-{}-runner.jar", pins().registry.version)
    }
}

/// Installs what is missing of the components and of `packages`.
pub fn ensure(folder: &Path, packages: &[&str], progress: Progress) -> Result<Components> {
    let release = debian::release()?;
    let wanted: Vec<&str> = release
        .components
        .iter()
        .map(String::as_str)
        .chain(packages.iter().copied())
        .collect();
    debian::ensure(&wanted, progress)?;
    maven::ensure(folder, progress)?;
    Components::locate(folder)
}

/// Debian's Java of exactly this version, whatever else the machine has.
fn java(major: &str) -> Option<PathBuf> {
    let prefix = format!("java-{major}-openjdk");
    fs::read_dir("/usr/lib/jvm")
        .ok()?
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
        .map(|entry| entry.path().join("bin/java"))
        .find(|java| java.exists())
}
