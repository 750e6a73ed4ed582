//! Kafka without anything beside it: one broker, or three with replication 3 and `min.insync.replicas=2`, from Maven's jars.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Context, Error, Result};
use crate::layout::{Layout, write_atomically};
use crate::process::Spec;
use crate::random;

/// How the brokers' virtual machine trades start-up time against speed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Jvm {
    /// Only the first compiler: ready a second earlier, for tests.
    QuickStart,
    /// Both compilers: several times the throughput once warm.
    #[default]
    Fast,
}

/// Ports of one broker.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BrokerPorts {
    pub clients: u16,
    pub controller: u16,
}

/// Everything that the brokers of one cluster share.
#[derive(Debug)]
pub(crate) struct Cluster<'a> {
    pub layout: &'a Layout,
    pub java: PathBuf,
    pub jars: PathBuf,
    pub jvm: Jvm,
    pub ports: Vec<BrokerPorts>,
}

impl Cluster<'_> {
    /// Writes the configuration of broker `number` (from 1), formats its storage once, and says how to start it.
    pub(crate) fn prepare(&self, number: usize) -> Result<Spec> {
        let name = format!("kafka-{number}");
        let folder = self.layout.data(&name);
        fs::create_dir_all(&folder).context(format_args!("create {}", folder.display()))?;
        let properties = self.layout.conf(&format!("{name}.properties"));
        let logging = self.layout.conf("kafka-log4j2.xml");
        let config = self.properties(number, &folder);
        write_atomically(&properties, &config)?;
        write_atomically(&logging, LOGGING)?;

        let class_path = format!("{}/*", self.jars.display());
        if !folder.join("log/meta.properties").exists() {
            self.format(&class_path, &properties, &logging, &name)?;
        }
        let mut args: Vec<String> = self.jvm_flags().iter().map(|&flag| flag.to_owned()).collect();
        args.extend([
            logging_flag(&logging),
            "-cp".into(),
            class_path,
            "kafka.Kafka".into(),
        ]);
        args.push(properties.display().to_string());
        Ok(Spec {
            name,
            program: self.java.clone(),
            args,
            env: Vec::new(),
            folder,
            user: None,
            config,
        })
    }

    fn jvm_flags(&self) -> &'static [&'static str] {
        match self.jvm {
            Jvm::QuickStart => &[
                "-XX:+UseSerialGC",
                "-XX:TieredStopAtLevel=1",
                "-Xms128m",
                "-Xmx512m",
            ],
            Jvm::Fast => &["-XX:+UseSerialGC", "-Xms256m", "-Xmx768m"],
        }
    }

    fn properties(&self, number: usize, folder: &Path) -> String {
        let ports = self.ports[number - 1];
        let voters: Vec<String> = self
            .ports
            .iter()
            .enumerate()
            .map(|(at, ports)| format!("{}@127.0.0.1:{}", at + 1, ports.controller))
            .collect();
        let mut settings = shared_settings(self.ports.len());
        let own = [
            ("node.id", number.to_string()),
            ("controller.quorum.voters", voters.join(",")),
            (
                "listeners",
                format!(
                    "BROKER://127.0.0.1:{},CONTROLLER://127.0.0.1:{}",
                    ports.clients, ports.controller
                ),
            ),
            (
                "advertised.listeners",
                format!("BROKER://127.0.0.1:{}", ports.clients),
            ),
            (
                "listener.security.protocol.map",
                "BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned(),
            ),
            ("log.dirs", folder.join("log").display().to_string()),
        ];
        settings.extend(own.map(|(key, value)| (key.to_owned(), value)));
        let mut text = String::new();
        for (key, value) in settings {
            let _ = writeln!(text, "{key}={value}");
        }
        text
    }

    fn format(&self, class_path: &str, properties: &Path, logging: &Path, name: &str) -> Result<()> {
        let log = self.layout.log(&format!("{name}-format"));
        let output = Command::new(&self.java)
            .args([
                "-XX:+UseSerialGC",
                "-XX:TieredStopAtLevel=1",
                &logging_flag(logging),
                "-cp",
                class_path,
            ])
            .args(["kafka.tools.StorageTool", "format", "--ignore-formatted"])
            .args(["-t", &cluster_id(self.layout)?, "-c"])
            .arg(properties)
            .output()
            .context("start Kafka's storage tool")?;
        let _ = fs::write(&log, [output.stdout, output.stderr].concat());
        if output.status.success() {
            return Ok(());
        }
        Err(Error::new(format!(
            "Kafka's storage tool could not format the storage of {name}"
        ))
        .log(&log))
    }
}

fn logging_flag(logging: &Path) -> String {
    format!("-Dlog4j2.configurationFile={}", logging.display())
}

/// The cluster's id, made once. Consistency tokens name it, so each stack needs its own.
pub(crate) fn cluster_id(layout: &Layout) -> Result<String> {
    let file = layout.root().join("data/kafka-cluster-id");
    if let Ok(id) = fs::read_to_string(&file) {
        return Ok(id.trim().to_owned());
    }
    let id = random_id()?;
    write_atomically(&file, &id)?;
    Ok(id)
}

/// 22 characters that stand for 16 bytes in URL-safe base64; the last one carries two bits.
fn random_id() -> Result<String> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let bytes = random::bytes::<22>()?;
    let mut id: Vec<u8> = bytes
        .iter()
        .map(|byte| ALPHABET[usize::from(byte % 64)])
        .collect();
    // Command lines take a leading dash for an option.
    id[0] = ALPHABET[usize::from(bytes[0] % 62)];
    id[21] = ALPHABET[usize::from(bytes[21] % 4) * 16];
    String::from_utf8(id).map_err(|_| Error::new("a cluster id is ASCII"))
}

/// What does not depend on where the brokers run. Internal topics get few partitions: each costs files and start-up time.
pub(crate) fn shared_settings(brokers: usize) -> BTreeMap<String, String> {
    let replicas = brokers.to_string();
    let in_sync = if brokers == 3 { "2" } else { "1" };
    let settings = [
        ("process.roles", "broker,controller"),
        ("inter.broker.listener.name", "BROKER"),
        ("controller.listener.names", "CONTROLLER"),
        ("auto.create.topics.enable", "false"),
        ("unclean.leader.election.enable", "false"),
        ("default.replication.factor", &replicas),
        ("min.insync.replicas", in_sync),
        ("group.initial.rebalance.delay.ms", "0"),
        ("offsets.topic.num.partitions", "4"),
        ("offsets.topic.replication.factor", &replicas),
        ("transaction.state.log.num.partitions", "4"),
        ("transaction.state.log.replication.factor", &replicas),
        ("transaction.state.log.min.isr", in_sync),
        ("share.coordinator.state.topic.num.partitions", "4"),
        ("share.coordinator.state.topic.replication.factor", &replicas),
        ("share.coordinator.state.topic.min.isr", in_sync),
        // On two cores more of them only wake each other.
        ("num.network.threads", "1"),
        ("num.io.threads", "2"),
        ("num.recovery.threads.per.data.dir", "2"),
        // A broker that was killed may register again only when its old session is over.
        ("broker.session.timeout.ms", "3000"),
        ("broker.heartbeat.interval.ms", "500"),
    ];
    settings
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

const LOGGING: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<Configuration status="WARN">
  <Appenders>
    <Console name="console"><PatternLayout pattern="%d{ISO8601} %-5p [%t] %c{1} %m%n"/></Console>
  </Appenders>
  <Loggers>
    <Root level="INFO"><AppenderRef ref="console"/></Root>
  </Loggers>
</Configuration>
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cluster_ids_have_the_form_that_kafka_wants() {
        let id = random_id().unwrap();
        assert_eq!(id.len(), 22);
        assert!(id.ends_with(['A', 'Q', 'g', 'w']), "{id}");
        assert_ne!(id, random_id().unwrap());
    }
}
