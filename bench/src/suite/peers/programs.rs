//! The peers' programs: how they are built, what they run on, and what they say.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail, ensure};
use devstack::{install::debian, layout::workspace, process::find_program, step::Progress};
use serde::{Deserialize, Serialize};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

use crate::suite::rig::Rig;

/// Commands of a program that is only tried.
const TRIED: usize = 500;

/// What a peer is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Workload {
    /// An order in a new stream.
    New,
    /// A line more in a stream of five events.
    Existing,
}

impl Workload {
    pub(super) const ALL: [Self; 2] = [Self::New, Self::Existing];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Existing => "existing",
        }
    }
}

/// What survives when the machine loses power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Durability {
    /// Everything that was acknowledged.
    Synced,
    /// All but the last moments.
    Unsynced,
}

/// An entry of `peers.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Peer {
    #[serde(skip)]
    pub(super) name: String,
    pub(super) version: String,
    store: Store,
    packages: Vec<String>,
    /// A program which, where it is there, makes the packages superfluous: others than Debian's clash with them.
    unless: Option<String>,
    build: Vec<Vec<String>>,
    run: Vec<String>,
    #[serde(default)]
    serve: Vec<String>,
    new: usize,
    existing: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Store {
    Postgres,
    Umadb,
}

/// What a program prints when it is done.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Said {
    peer: String,
    version: String,
    workload: String,
    clients: usize,
    commands: u64,
    pub(super) failed: u64,
    seconds: f64,
    p50_ms: f64,
    p99_ms: f64,
}

impl Said {
    /// Commands that succeeded in a second.
    pub(super) fn per_second(&self) -> f64 {
        crate::suite::drive::as_f64(self.commands.saturating_sub(self.failed)) / self.seconds
    }
}

fn folder() -> PathBuf {
    workspace().join("bench/peers")
}

/// All of them.
pub(super) fn load() -> anyhow::Result<Vec<Peer>> {
    let path = folder().join("peers.toml");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let all: BTreeMap<String, Peer> = toml::from_str(&text)?;
    let named = |(name, peer)| Peer { name, ..peer };
    Ok(all.into_iter().map(named).collect())
}

/// Builds all of them, with what they need of Debian's packages. What was built before is built quickly.
pub fn build() -> anyhow::Result<()> {
    for peer in load()? {
        if peer.unless.as_deref().and_then(find_program).is_none() {
            let packages: Vec<&str> = peer.packages.iter().map(String::as_str).collect();
            debian::ensure(&packages, Progress::Stderr)?;
        }
        eprintln!("· building the peer {} {}", peer.name, peer.version);
        let scratch = peer.scratch();
        fs::create_dir_all(&scratch)?;
        let log = scratch.join("build.log");
        let out = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        for words in &peer.build {
            let status = peer
                .command(words, &[])?
                .stdin(std::process::Stdio::null())
                .stdout(out.try_clone()?)
                .stderr(out.try_clone()?)
                .status()
                .with_context(|| format!("cannot start {}", words.join(" ")))?;
            ensure!(
                status.success(),
                "the peer {} cannot be built; see {}",
                peer.name,
                log.display()
            );
        }
    }
    Ok(())
}

impl Peer {
    /// What it can promise, the safest first.
    pub(super) const fn durabilities(&self) -> &'static [Durability] {
        match self.store {
            Store::Postgres => &[Durability::Synced, Durability::Unsynced],
            Store::Umadb => &[Durability::Synced],
        }
    }

    fn scratch(&self) -> PathBuf {
        workspace().join(".local/peers").join(&self.name)
    }

    /// One of its commands, in its folder.
    fn command(&self, words: &[String], further: &[(&str, &str)]) -> anyhow::Result<Command> {
        let target = self.scratch().display().to_string();
        let fill = |word: &String| {
            let word = word.replace("{target}", &target);
            further
                .iter()
                .fold(word, |word, (name, value)| word.replace(name, value))
        };
        let mut words = words.iter().map(fill);
        let mut command = Command::new(words.next().context("a command without words")?);
        command.args(words).current_dir(folder().join(&self.name));
        Ok(command)
    }

    /// Runs one workload on an empty store.
    pub(super) async fn measure(
        &self,
        rig: &Rig,
        workload: Workload,
        durability: Durability,
        clients: usize,
    ) -> anyhow::Result<Said> {
        match self.store {
            Store::Postgres => {
                let database = Database::create(rig, durability).await?;
                let said = self.run(rig, workload, clients, &database.url)?;
                database.discard().await?;
                Ok(said)
            }
            Store::Umadb => {
                let server = format!("peer-{}-{}", self.name, workload.as_str());
                let (program, args) = self.serve.split_first().context("a server has a program")?;
                let target = self.scratch().display().to_string();
                let url = rig.store_server(
                    &server,
                    Path::new(&program.replace("{target}", &target)),
                    |data, address| {
                        let fill = |word: &String| word.replace("{data}", data).replace("{address}", address);
                        args.iter().map(fill).collect()
                    },
                )?;
                let said = self.run(rig, workload, clients, &url);
                rig.stop_server(&server)?;
                said
            }
        }
    }

    fn run(&self, rig: &Rig, workload: Workload, clients: usize, url: &str) -> anyhow::Result<Said> {
        let commands = match workload {
            _ if rig.pace.quick => TRIED,
            Workload::New => self.new,
            Workload::Existing => self.existing,
        };
        let output = self
            .command(&self.run, &[])?
            .args(["--workload", workload.as_str()])
            .args(["--commands", &commands.to_string()])
            .args(["--clients", &clients.to_string(), "--url", url])
            .output()
            .context("cannot be started")?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
        }
        let said = String::from_utf8_lossy(&output.stdout);
        serde_json::from_str(said.trim()).with_context(|| format!("said {said:?}"))
    }
}

/// An empty database on the stack's Postgres.
struct Database {
    admin_url: String,
    url: String,
}

impl Database {
    const NAME: &'static str = "peer";

    async fn create(rig: &Rig, durability: Durability) -> anyhow::Result<Self> {
        let admin_url = rig.stack().endpoints().database_url;
        let (server, _) = admin_url.rsplit_once('/').context("a URL names its database")?;
        let database = Self {
            url: format!("{server}/{}", Self::NAME),
            admin_url: admin_url.clone(),
        };
        let setting = match durability {
            Durability::Synced => "on",
            Durability::Unsynced => "off",
        };
        database
            .execute(&[
                &format!("DROP DATABASE IF EXISTS {}", Self::NAME),
                &format!("CREATE DATABASE {}", Self::NAME),
                &format!("ALTER DATABASE {} SET synchronous_commit = {setting}", Self::NAME),
            ])
            .await?;
        Ok(database)
    }

    /// Not by force: that would have to end a worker of autovacuum, too, which only a superuser may. Without, Postgres does that by itself
    /// and waits some seconds for the peer's connections, which end with its program.
    async fn discard(self) -> anyhow::Result<()> {
        self.execute(&[&format!("DROP DATABASE {}", Self::NAME)]).await
    }

    async fn execute(&self, statements: &[&str]) -> anyhow::Result<()> {
        let mut connection = PgConnection::connect(&self.admin_url).await?;
        for statement in statements {
            connection.execute(AssertSqlSafe((*statement).to_owned())).await?;
        }
        Ok(connection.close().await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_peer_has_what_it_needs() {
        let peers = load().unwrap();
        for name in [super::super::UMADB, super::super::CQRS_ES, super::super::BARE] {
            assert!(peers.iter().any(|peer| peer.name == name), "{name}");
        }
        for peer in &peers {
            assert!(folder().join(&peer.name).is_dir(), "{}", peer.name);
            assert_eq!(peer.serve.is_empty(), peer.store == Store::Postgres);
            assert!(!peer.run.is_empty() && peer.new > 0 && peer.existing > 0);
        }
    }

    #[test]
    fn failed_commands_do_not_count() {
        let said = r#"{"peer":"a","version":"1","workload":"new","clients":64,"commands":100,"failed":50,"seconds":2.0,"p50_ms":1,"p99_ms":2}"#;
        let said: Said = serde_json::from_str(said).unwrap();
        assert!((said.per_second() - 25.0).abs() < 1e-9);
    }
}
