//! The components together: Postgres, Redis, Kafka and the schema registry, started in that order and stopped in reverse.
//!
//! `start` is also the repair: what runs as configured is left alone, everything else is started again on the data
//! and the port that it had.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::error::{Context, Error, Result};
use crate::install::{Components, components_folder};
use crate::kafka::{BrokerPorts, Cluster, Jvm};
use crate::layout::{Layout, write_atomically};
use crate::ports::Ports;
use crate::process::{Processes, Spec, State, end_strays, polite};
use crate::step::{Progress, seconds};
use crate::{postgres, probe, redis, registry};

/// A broker that recovers a long log takes its time; everything else is ready within seconds.
const READY_DEADLINE: Duration = Duration::from_secs(90);
/// Before a server that met what was killed before it is started again.
const PREDECESSOR_PAUSE: Duration = Duration::from_millis(200);
const STOP_GRACE: Duration = Duration::from_secs(20);
const LOG_LINES_SHOWN: usize = 12;

/// What to start, and where.
#[derive(Debug, Clone)]
pub struct Options {
    /// Folder of this stack's data, logs and process ids.
    pub root: PathBuf,
    /// Number of brokers, 1 or 3; nothing means as many as before, else one.
    pub brokers: Option<usize>,
    /// How the brokers' virtual machine runs.
    pub jvm: Jvm,
    /// Whether to try the documented ports first; tests leave those to the developer's own stack.
    pub usual_ports: bool,
    /// Whether the processes stay when the [`Stack`] is dropped.
    pub keep: bool,
    /// Where progress is told.
    pub progress: Progress,
}

impl Options {
    /// A stack for one test: gone when dropped, on ports of its own, silent.
    pub fn for_test(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            brokers: None,
            jvm: Jvm::QuickStart,
            usual_ports: false,
            keep: false,
            progress: Progress::Quiet,
        }
    }

    /// The developer's own stack.
    pub fn for_development(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            brokers: None,
            jvm: Jvm::Fast,
            usual_ports: true,
            keep: true,
            progress: Progress::Stderr,
        }
    }
}

/// Where clients find the components.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoints {
    /// Bootstrap servers.
    pub kafka: String,
    /// Base of the Confluent-compatible API.
    pub registry_url: String,
    /// The read models' database.
    pub database_url: String,
    /// Redis.
    pub redis_url: String,
}

impl Endpoints {
    pub(crate) fn of(brokers: &[u16], registry: u16, postgres: u16, redis: u16) -> Self {
        let servers: Vec<String> = brokers.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        Self {
            kafka: servers.join(","),
            registry_url: format!("http://127.0.0.1:{registry}{}", registry::API),
            database_url: format!("postgres://tailwater@127.0.0.1:{postgres}/tailwater"),
            redis_url: format!("redis://127.0.0.1:{redis}"),
        }
    }
}

/// The running components of one root folder, as processes.
#[derive(Debug)]
pub struct Stack {
    layout: Layout,
    processes: Processes,
    components: Components,
    options: Options,
    brokers: Vec<BrokerPorts>,
    registry_port: u16,
    postgres_port: u16,
    redis_port: u16,
}

impl Stack {
    /// Starts what does not run, and returns when all of it is ready.
    pub fn start(options: Options) -> Result<Self> {
        let components = Components::locate(&components_folder())?;
        let layout = Layout::create(&options.root)?;
        let _alone = layout.lock("stack", options.progress)?;
        let processes = Processes::new(layout.clone());
        let brokers = brokers(&layout, options.brokers)?;
        let mut ports = Ports::load(&layout);
        let mut choose = |listener: String, process: &str, usual: u16| {
            let kept = matches!(processes.state(process), State::Running(_));
            ports.choose(&listener, options.usual_ports.then_some(usual), kept)
        };
        let postgres_port = choose("postgres".into(), "postgres", 15_432)?;
        let redis_port = choose("redis".into(), "redis", 16_379)?;
        let registry_port = choose("registry".into(), "registry", 18_081)?;
        let mut broker_ports = Vec::new();
        for number in 1..=brokers {
            let name = format!("kafka-{number}");
            let offset = u16::try_from(number - 1).unwrap_or(0);
            broker_ports.push(BrokerPorts {
                clients: choose(name.clone(), &name, 19_092 + offset)?,
                controller: choose(format!("{name}-controller"), &name, 19_192 + offset)?,
            });
        }
        let stack = Self {
            layout,
            processes,
            components,
            options,
            brokers: broker_ports,
            registry_port,
            postgres_port,
            redis_port,
        };
        stack.bring_up()?;
        Ok(stack)
    }

    /// Where clients find the components.
    pub fn endpoints(&self) -> Endpoints {
        let brokers: Vec<u16> = self.brokers.iter().map(|ports| ports.clients).collect();
        Endpoints::of(&brokers, self.registry_port, self.postgres_port, self.redis_port)
    }

    /// Names of the processes, in the order in which they start.
    pub fn names(&self) -> Vec<String> {
        let brokers = (1..=self.brokers.len()).map(|number| format!("kafka-{number}"));
        ["postgres", "redis"]
            .map(str::to_owned)
            .into_iter()
            .chain(brokers)
            .chain(["registry".into()])
            .collect()
    }

    /// The process table, for services that belong to this stack.
    pub fn processes(&self) -> &Processes {
        &self.processes
    }

    /// The folders.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Sends a signal to one component. After SIGKILL the process is gone when this returns.
    pub fn kill(&self, name: &str, signal: Signal) -> Result<()> {
        if !self.processes.signal(name, signal)? {
            return Err(Error::new(format!("{name} does not run")));
        }
        if signal == Signal::SIGKILL && !self.processes.wait_until_ended(name, STOP_GRACE) {
            return Err(Error::new(format!("{name} survived SIGKILL")));
        }
        Ok(())
    }

    /// Starts one component again on its data and port, ending it first where it runs; returns when it is ready.
    pub fn restart(&self, name: &str) -> Result<()> {
        self.processes.stop(name, STOP_GRACE)?;
        let spec = self.spec(name)?;
        self.launch(&spec)?;
        self.wait_ready(name)
    }

    /// Stops every component, in reverse order.
    pub fn stop(&self) -> Result<()> {
        stop_all(&self.layout, self.options.progress)
    }

    fn bring_up(&self) -> Result<()> {
        let mut specs = Vec::new();
        for name in self.names() {
            let spec = self.spec(&name)?;
            // A broker's address is part of every other one's configuration: what changed is started again.
            if !self.processes.runs(&spec) {
                self.processes.stop(&name, STOP_GRACE)?;
                specs.push(spec);
            }
        }
        let begun = Instant::now();
        let (registry, first): (Vec<Spec>, Vec<Spec>) =
            specs.into_iter().partition(|spec| spec.name == "registry");
        for spec in &first {
            self.launch(spec)?;
        }
        for name in ["postgres", "redis"] {
            self.wait_ready(name)?;
        }
        postgres::create_databases(&self.layout, &self.components.postgres, self.postgres_port)?;
        for spec in &registry {
            self.launch(spec)?;
        }
        for name in self.names() {
            self.wait_ready(&name)?;
        }
        let started: Vec<&str> = first
            .iter()
            .chain(&registry)
            .map(|spec| spec.name.as_str())
            .collect();
        if started.is_empty() {
            self.options.progress.say("· components run already");
        } else {
            let took = seconds(begun.elapsed());
            self.options
                .progress
                .say(&format!("· started {} in {took}", started.join(", ")));
        }
        Ok(())
    }

    fn spec(&self, name: &str) -> Result<Spec> {
        match name {
            "postgres" => postgres::prepare(&self.layout, &self.components.postgres, self.postgres_port),
            "redis" => redis::prepare(
                &self.layout,
                self.components.redis_server.clone(),
                self.redis_port,
            ),
            "registry" => registry::prepare(
                &self.layout,
                self.components.java.clone(),
                &self.components.registry_home,
                &Components::registry_runner(),
                self.registry_port,
                self.postgres_port,
            ),
            _ => self.cluster().prepare(self.broker_number(name)?),
        }
    }

    fn cluster(&self) -> Cluster<'_> {
        Cluster {
            layout: &self.layout,
            java: self.components.java.clone(),
            jars: self.components.kafka_jars.clone(),
            jvm: self.options.jvm,
            ports: self.brokers.clone(),
        }
    }

    fn broker_number(&self, name: &str) -> Result<usize> {
        name.strip_prefix("kafka-")
            .and_then(|number| number.parse().ok())
            .filter(|number| (1..=self.brokers.len()).contains(number))
            .ok_or_else(|| {
                Error::new(format!(
                    "there is no component `{name}`: {}",
                    self.names().join(", ")
                ))
            })
    }

    fn launch(&self, spec: &Spec) -> Result<()> {
        end_strays(spec)?;
        if spec.name == "postgres" {
            postgres::clear_stale_lock(&spec.folder);
        }
        self.processes.start(spec).map(|_| ())
    }

    fn wait_ready(&self, name: &str) -> Result<()> {
        let gone = || !matches!(self.processes.state(name), State::Running(_));
        let begun = Instant::now();
        while !probe::wait(READY_DEADLINE, || self.ready(name), gone) {
            let (ended, last) = (gone(), self.processes.tail(name, 3));
            if !ended || !postgres::met_its_predecessor(&last) || begun.elapsed() > READY_DEADLINE {
                return Err(self.not_ready(name, ended));
            }
            sleep(PREDECESSOR_PAUSE);
            self.launch(&self.spec(name)?)?;
        }
        Ok(())
    }

    fn not_ready(&self, name: &str, ended: bool) -> Error {
        let why = if ended {
            "ended while starting"
        } else {
            "is not ready in time"
        };
        let tail = self.processes.tail(name, LOG_LINES_SHOWN);
        Error::new(format!("{name} {why}; its last lines:\n{tail}"))
            .remedy(
                "call the command again; if it fails the same way, `cargo xtask reset` starts from nothing",
            )
            .log(&self.layout.log(name))
    }

    fn ready(&self, name: &str) -> bool {
        match name {
            "postgres" => probe::postgres(self.postgres_port, "postgres", "postgres"),
            "redis" => probe::redis(self.redis_port),
            "registry" => probe::http_ok(self.registry_port, &format!("{}/subjects", registry::API)),
            _ => self.broker_number(name).is_ok_and(|number| {
                let answer = probe::kafka_brokers(self.brokers[number - 1].clients);
                answer.is_some_and(|brokers| brokers >= self.brokers.len())
            }),
        }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        if !self.options.keep {
            let _ = self.stop();
        }
    }
}

/// The number of brokers, fixed when the data is made: a quorum cannot be changed by starting more processes.
fn brokers(layout: &Layout, wanted: Option<usize>) -> Result<usize> {
    let file = layout.root().join("data/kafka-brokers");
    let before: Option<usize> = fs::read_to_string(&file)
        .ok()
        .and_then(|text| text.trim().parse().ok());
    let brokers = wanted.or(before).unwrap_or(1);
    if brokers != 1 && brokers != 3 {
        return Err(Error::new(format!(
            "{brokers} brokers: only 1 or 3 make a sound cluster"
        )));
    }
    match before {
        Some(before) if before != brokers => Err(Error::new(format!(
            "this cluster was made with {before} broker(s), and {brokers} are asked for"
        ))
        .remedy("`cargo xtask reset` deletes all data; then ask again")),
        Some(_) => Ok(brokers),
        None => write_atomically(&file, &brokers.to_string()).map(|()| brokers),
    }
}

/// Stops every process of the stack in `layout`: services, registry, brokers, then the stores.
pub fn stop_all(layout: &Layout, progress: Progress) -> Result<()> {
    let _alone = layout.lock("stack", progress)?;
    let processes = Processes::new(layout.clone());
    let rank = |name: &str| match name {
        "registry" => 1,
        "redis" | "postgres" => 3,
        broker if broker.starts_with("kafka-") => 2,
        _ => 0,
    };
    let mut names = processes.names();
    names.sort_by_key(|name| rank(name));
    let mut failure = None;
    for group in names.chunk_by(|a, b| rank(a) == rank(b)) {
        let begun = Instant::now();
        // All of a group at once: brokers of a cluster must be able to hand over while the others still answer.
        for name in group {
            processes.signal(name, polite(name))?;
        }
        for name in group {
            if processes.wait_until_ended(name, STOP_GRACE) {
                processes.stop(name, Duration::ZERO)?;
            } else if let Err(error) = processes.stop(name, Duration::from_secs(1)) {
                failure = Some(error);
            }
        }
        progress.say(&format!(
            "· stopped {} in {}",
            group.join(", "),
            seconds(begun.elapsed())
        ));
    }
    processes.end_all_strays()?;
    failure.map_or(Ok(()), Err)
}

/// Deletes everything that the stopped stack below `root` has on disk.
pub fn delete(root: &Path) -> Result<()> {
    let Some(layout) = Layout::existing(root) else {
        return Ok(());
    };
    postgres::delete(&layout)?;
    for folder in ["data", "logs", "pids", "run", "conf"] {
        let folder = layout.root().join(folder);
        if folder.exists() {
            fs::remove_dir_all(&folder).context(format_args!("delete {}", folder.display()))?;
        }
    }
    for file in ["ports.toml", "env", "token-key"] {
        let _ = fs::remove_file(layout.root().join(file));
    }
    Ok(())
}

/// The settings that every broker has, wherever it runs.
pub fn broker_settings(brokers: usize) -> std::collections::BTreeMap<String, String> {
    crate::kafka::shared_settings(brokers)
}
