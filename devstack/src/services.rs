//! Tailwater's own processes beside the components: their addresses, their environment, deploy, start and repair.
//!
//! It needs only a [`Layout`] and [`Endpoints`], so the same code runs the services on components in containers.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::error::{Context, Error, Result};
use crate::layout::{Layout, write_atomically};
use crate::ports::Ports;
use crate::probe;
use crate::process::{Processes, Spec, State};
use crate::random;
use crate::stack::Endpoints;
use crate::step::{Progress, seconds};

const READY_DEADLINE: Duration = Duration::from_mins(1);
/// Services end within five seconds of SIGTERM.
const STOP_GRACE: Duration = Duration::from_secs(10);
const LOG_LINES_SHOWN: usize = 12;

/// How long the services' allocator (mimalloc) keeps what it frees before it gives it back to the system: ten seconds. It is
/// wanted again long before that, and a page that comes anew has to be cleared by the kernel and, on a virtual machine, found by
/// its host: with the second that is usual, a sixth of the writers' thread's time.
pub const ALLOCATOR: (&str, &str) = ("MIMALLOC_PURGE_DELAY", "10000");

/// How many processes of each service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Command services.
    pub command_services: usize,
    /// Projectors.
    pub projectors: usize,
    /// Query services.
    pub query_services: usize,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            command_services: 1,
            projectors: 1,
            query_services: 1,
        }
    }
}

/// What to run and how.
#[derive(Debug, Clone)]
pub struct ServiceOptions {
    /// Folder of the built binaries.
    pub binaries: PathBuf,
    /// How many of each.
    pub counts: Counts,
    /// Variables beside those that this crate sets: topic prefix, log filter and so on. They win.
    pub env: BTreeMap<String, String>,
    /// Whether to try the documented ports first.
    pub usual_ports: bool,
    /// Where progress is told.
    pub progress: Progress,
}

/// The services of one stack.
#[derive(Debug)]
pub struct Services {
    layout: Layout,
    processes: Processes,
    options: ServiceOptions,
    shared: BTreeMap<String, String>,
    ports: Vec<(String, u16)>,
}

impl Services {
    /// Chooses addresses and puts the environment together; starts nothing.
    pub fn plan(layout: &Layout, endpoints: &Endpoints, options: ServiceOptions) -> Result<Self> {
        let processes = Processes::new(layout.clone());
        let mut chosen = Ports::load(layout);
        let mut ports = Vec::new();
        for (name, usual) in names(options.counts) {
            let kept = matches!(processes.state(&name), State::Running(_));
            let port = chosen.choose(&name, usual.filter(|_| options.usual_ports), kept)?;
            ports.push((name, port));
        }
        let urls = |prefix: &str| -> Vec<String> {
            let ours = ports.iter().filter(|(name, _)| name.starts_with(prefix));
            ours.map(|(_, port)| format!("http://127.0.0.1:{port}")).collect()
        };
        let (commands, queries) = (urls("command-service-"), urls("query-service-"));
        let mut shared = BTreeMap::from(
            [
                ("TAILWATER_KAFKA", endpoints.kafka.clone()),
                ("TAILWATER_REGISTRY_URL", endpoints.registry_url.clone()),
                ("TAILWATER_DATABASE_URL", endpoints.database_url.clone()),
                ("TAILWATER_REDIS_URL", endpoints.redis_url.clone()),
                ("TAILWATER_TOPIC_PREFIX", "shop".to_owned()),
                ("TAILWATER_REDIS_PREFIX", "tw".to_owned()),
                ("TAILWATER_TOKEN_KEY", token_key(layout)?),
                (
                    "TAILWATER_COMMAND_URL",
                    commands.first().cloned().unwrap_or_default(),
                ),
                ("TAILWATER_COMMAND_URLS", commands.join(",")),
                (
                    "TAILWATER_QUERY_URL",
                    queries.first().cloned().unwrap_or_default(),
                ),
                ("TAILWATER_QUERY_URLS", queries.join(",")),
                (
                    "TAILWATER_PUBLIC_QUERY_URL",
                    queries.first().cloned().unwrap_or_default(),
                ),
            ]
            .map(|(name, value)| (name.to_owned(), value)),
        );
        shared.extend(options.env.clone());
        Ok(Self {
            layout: layout.clone(),
            processes,
            options,
            shared,
            ports,
        })
    }

    /// The variables that clients and every service share.
    pub fn env(&self) -> &BTreeMap<String, String> {
        &self.shared
    }

    /// Base URLs of the command services, in the order of their numbers.
    pub fn command_urls(&self) -> Vec<String> {
        self.urls("command-service-")
    }

    /// Base URLs of the query services, in the order of their numbers.
    pub fn query_urls(&self) -> Vec<String> {
        self.urls("query-service-")
    }

    /// Base URL of any one service, the projectors' metrics among them.
    pub fn url(&self, name: &str) -> Option<String> {
        self.port(name).map(|port| format!("http://127.0.0.1:{port}"))
    }

    /// Names of the processes.
    pub fn names(&self) -> Vec<String> {
        self.ports.iter().map(|(name, _)| name.clone()).collect()
    }

    /// Writes the shared variables as shell assignments to `env` below the stack's root; only its owner may read it.
    pub fn write_env(&self) -> Result<PathBuf> {
        let file = self.layout.root().join("env");
        let lines: Vec<String> = self
            .shared
            .iter()
            .map(|(name, value)| format!("export {name}={}\n", quoted(value)))
            .collect();
        write_private(&file, &lines.concat())?;
        Ok(file)
    }

    /// Creates topics, registers schemas and migrates the database by `tailwater deploy`, which may run any number of times.
    pub fn deploy(&self) -> Result<()> {
        let begun = Instant::now();
        let log = self.layout.log("deploy");
        let output = File::create(&log).context(format_args!("open {}", log.display()))?;
        let errors = output.try_clone().context("share the log")?;
        let status = Command::new(self.options.binaries.join("tailwater"))
            .arg("deploy")
            .envs(&self.shared)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .status()
            .context("start `tailwater deploy`")?;
        if status.success() {
            let took = seconds(begun.elapsed());
            self.options.progress.say(&format!(
                "· topics, schemas and tables are in place, after {took}"
            ));
            return Ok(());
        }
        let tail = self.processes.tail("deploy", LOG_LINES_SHOWN);
        Err(Error::new(format!("`tailwater deploy` failed; its last lines:\n{tail}")).log(&log))
    }

    /// Starts what does not run as configured, ends what is too much, and waits until all are ready.
    pub fn start(&self) -> Result<()> {
        let begun = Instant::now();
        for name in self.processes.names() {
            let service = SERVICES.iter().any(|(program, _)| name.starts_with(program));
            if service && self.port(&name).is_none() {
                self.processes.stop(&name, STOP_GRACE)?;
            }
        }
        let mut started = Vec::new();
        for name in self.names() {
            let spec = self.spec(&name)?;
            if !self.processes.runs(&spec) {
                self.processes.stop(&name, STOP_GRACE)?;
                self.processes.start(&spec)?;
                started.push(name);
            }
        }
        for name in self.names() {
            let Err(error) = self.wait_ready(&name) else {
                continue;
            };
            // Somebody had killed it, and it was not dead yet when it was looked at.
            let was_dying =
                !started.contains(&name) && !matches!(self.processes.state(&name), State::Running(_));
            if !was_dying {
                return Err(error);
            }
            self.restart(&name)?;
            started.push(name);
        }
        if started.is_empty() {
            self.options.progress.say("· services run already");
        } else {
            let took = seconds(begun.elapsed());
            self.options
                .progress
                .say(&format!("· started {} in {took}", started.join(", ")));
        }
        Ok(())
    }

    /// Starts one service again, ending it first where it runs; returns when it is ready.
    pub fn restart(&self, name: &str) -> Result<()> {
        self.launch(name)?;
        self.wait_ready(name)
    }

    /// Starts one service again without waiting for it: for tests of what it does while others are down.
    pub fn launch(&self, name: &str) -> Result<()> {
        self.processes.stop(name, STOP_GRACE)?;
        self.processes.start(&self.spec(name)?).map(|_| ())
    }

    /// Ends one service politely.
    pub fn stop(&self, name: &str) -> Result<bool> {
        self.processes.stop(name, STOP_GRACE)
    }

    /// The process table that these services are in.
    pub fn processes(&self) -> &Processes {
        &self.processes
    }

    fn urls(&self, prefix: &str) -> Vec<String> {
        self.names()
            .iter()
            .filter(|name| name.starts_with(prefix))
            .filter_map(|name| self.url(name))
            .collect()
    }

    fn port(&self, name: &str) -> Option<u16> {
        self.ports
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, port)| *port)
    }

    fn spec(&self, name: &str) -> Result<Spec> {
        let port = self
            .port(name)
            .ok_or_else(|| Error::new(format!("there is no service `{name}`")))?;
        let program = name.rsplit_once('-').map_or(name, |(program, _)| program);
        let folder = self.layout.data(name);
        fs::create_dir_all(&folder).context(format_args!("create {}", folder.display()))?;
        let mut env = self.shared.clone();
        env.insert(ALLOCATOR.0.into(), ALLOCATOR.1.into());
        env.insert("TAILWATER_LISTEN".into(), format!("127.0.0.1:{port}"));
        env.insert("TAILWATER_DATA_DIR".into(), folder.display().to_string());
        Ok(Spec {
            name: name.to_owned(),
            program: self.options.binaries.join(program),
            args: Vec::new(),
            env: env.into_iter().collect(),
            folder,
            user: None,
            config: String::new(),
        })
    }

    fn wait_ready(&self, name: &str) -> Result<()> {
        let Some(port) = self.port(name) else {
            return Ok(());
        };
        let gone = || !matches!(self.processes.state(name), State::Running(_));
        if probe::wait(READY_DEADLINE, || probe::http_ok(port, "/health/ready"), gone) {
            return Ok(());
        }
        let why = if gone() {
            "ended while starting".to_owned()
        } else {
            let reason = probe::http_body(port, "/health/ready").unwrap_or_default();
            format!("is not ready in time ({})", reason.trim())
        };
        let tail = self.processes.tail(name, LOG_LINES_SHOWN);
        Err(Error::new(format!("{name} {why}; its last lines:\n{tail}")).log(&self.layout.log(name)))
    }
}

/// Programs and the port of each one's first process, where it has a usual one.
const SERVICES: [(&str, Option<u16>); 3] = [
    ("command-service", Some(8080)),
    ("projector", None),
    ("query-service", Some(8081)),
];

fn names(counts: Counts) -> Vec<(String, Option<u16>)> {
    let counts = [counts.command_services, counts.projectors, counts.query_services];
    let numbered = SERVICES.into_iter().zip(counts);
    numbered
        .flat_map(|((program, usual), count)| {
            (1..=count).map(move |number| (format!("{program}-{number}"), usual.filter(|_| number == 1)))
        })
        .collect()
}

/// The secret of the consistency tokens, made once: tokens outlive a restart.
fn token_key(layout: &Layout) -> Result<String> {
    let file = layout.root().join("token-key");
    if let Ok(key) = fs::read_to_string(&file) {
        return Ok(key);
    }
    let key = random::hex::<32>()?;
    write_private(&file, &key)?;
    Ok(key)
}

fn write_private(file: &Path, text: &str) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    write_atomically(file, text)?;
    fs::set_permissions(file, fs::Permissions::from_mode(0o600))
        .context(format_args!("protect {}", file.display()))
}

/// A value as a shell reads it back.
fn quoted(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:,@%+=".contains(c);
    if !value.is_empty() && value.chars().all(plain) {
        value.to_owned()
    } else {
        format!("'{}'", value.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_of_each_service_has_a_usual_port() {
        let counts = Counts {
            command_services: 2,
            projectors: 1,
            query_services: 1,
        };
        let names = names(counts);
        assert_eq!(names[0], ("command-service-1".to_owned(), Some(8080)));
        assert_eq!(names[1], ("command-service-2".to_owned(), None));
        assert_eq!(names[3], ("query-service-1".to_owned(), Some(8081)));
    }

    #[test]
    fn values_survive_a_shell() {
        assert_eq!(quoted("http://127.0.0.1:8080"), "http://127.0.0.1:8080");
        assert_eq!(quoted("it's $HOME"), r"'it'\''s $HOME'");
        assert_eq!(quoted(""), "''");
    }
}
