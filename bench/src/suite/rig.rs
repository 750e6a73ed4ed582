//! A private stack for one benchmark: its own folders and ports below `.local/bench`, gone when dropped.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use devstack::{
    Options, Signal, Stack,
    install::{Components, components_folder},
    layout::{Layout, workspace},
    ports::Ports,
    probe,
    process::{Spec, State},
    services::{Counts, ServiceOptions, Services},
    stack,
    step::Progress,
};
use eventlog::LogConfig;
use schemas::Codec;

use super::spent::{OURS, Spent};

/// Partitions of each topic: as many as `tailwater deploy` makes unless it is told otherwise.
pub const PARTITIONS: i32 = 4;

/// The first part of the topics' names.
pub const PREFIX: &str = "shop";

/// The server that answers with a constant.
pub const CONSTANT: &str = "constant";

/// How long something that we start may take until it can be used.
const READY: Duration = Duration::from_mins(1);

/// How the benchmarks are run.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Tiny durations, to see whether it works at all.
    pub quick: bool,
    /// Longer where that shows more.
    pub long: bool,
    /// Nothing is done more often than that.
    pub times_max: usize,
}

impl Pace {
    /// So many seconds; half of one where it is only tried.
    pub const fn seconds(self, seconds: u64) -> Duration {
        if self.quick {
            Duration::from_millis(500)
        } else {
            Duration::from_secs(seconds)
        }
    }

    /// So many times; twice where it is only tried.
    pub fn times(self, times: usize) -> usize {
        if self.quick { 2 } else { times.min(self.times_max) }
    }

    /// So many; a hundredth of it where it is only tried.
    pub const fn count(self, count: usize) -> usize {
        if self.quick { count / 100 } else { count }
    }
}

/// The stack.
pub struct Rig {
    /// How to run on it.
    pub pace: Pace,
    stack: Arc<Stack>,
    binaries: PathBuf,
    /// Held, so that nobody else benchmarks here at the same time.
    _alone: File,
}

impl Rig {
    /// Deletes what an earlier run left, and starts the components on nothing, with so many brokers.
    pub fn start(pace: Pace, brokers: usize) -> anyhow::Result<Self> {
        let root = workspace().join(".local/bench");
        let layout = Layout::create(&root)?;
        let alone = layout.lock("bench", Progress::Stderr)?;
        stack::stop_all(&layout, Progress::Quiet)?;
        stack::delete(&root)?;
        let stack = Stack::start(Options {
            keep: false,
            usual_ports: false,
            brokers: Some(brokers),
            ..Options::for_development(root)
        })?;
        let own = std::env::current_exe()?;
        let binaries = own.parent().context("a program has a folder")?.to_path_buf();
        Ok(Self {
            pace,
            stack: Arc::new(stack),
            binaries,
            _alone: alone,
        })
    }

    /// Stops everything and deletes its data.
    pub fn clear(self) -> anyhow::Result<()> {
        let root = self.stack.layout().root().to_path_buf();
        self.stack.stop()?;
        Ok(stack::delete(&root)?)
    }

    /// The components; to be shared with a thread that waits for them.
    pub fn stack(&self) -> Arc<Stack> {
        Arc::clone(&self.stack)
    }

    /// Processor time of everything that runs, so far.
    pub fn spent(&self) -> Spent {
        Spent::so_far(self.stack.processes())
    }

    /// The same of one process, by its threads.
    pub fn spent_by_thread(&self, name: &str) -> Spent {
        match self.stack.processes().state(name) {
            State::Running(pid) => Spent::by_thread(pid),
            State::Dead | State::Absent => Spent::default(),
        }
    }

    /// Processor time of Kafka's client in our services so far, where each runs once.
    pub fn spent_by_kafkas_client(&self) -> Duration {
        OURS.iter()
            .map(|name| self.spent_by_thread(name).of_kafkas_client())
            .sum()
    }

    /// Where the log is.
    pub fn log(&self) -> LogConfig {
        LogConfig {
            bootstrap: self.stack.endpoints().kafka,
            prefix: PREFIX.to_owned(),
        }
    }

    /// The schemas' ids, once deployed.
    pub async fn codec(&self) -> anyhow::Result<Codec> {
        self.codec_of(PREFIX).await
    }

    /// The same for topics whose names begin with something else.
    pub async fn codec_of(&self, prefix: &str) -> anyhow::Result<Codec> {
        let url = self.stack.endpoints().registry_url;
        Ok(eventlog::registry::load_codec(&url, prefix, None).await?)
    }

    /// Topics whose names begin with this, of so many partitions, their schemas, and tables.
    pub fn deploy(&self, prefix: &str, partitions: i32) -> anyhow::Result<()> {
        let settings = [("TAILWATER_PARTITIONS", &*partitions.to_string())];
        let none = Counts {
            command_services: 0,
            projectors: 0,
            query_services: 0,
        };
        Ok(self.plan_with(&settings, none, prefix)?.deploy()?)
    }

    /// Topics, schemas and tables, and so many services, ready.
    pub fn services(&self, command_services: usize, projectors: usize) -> anyhow::Result<Services> {
        self.services_with(&[], command_services, projectors)
    }

    /// The same with further settings.
    pub fn services_with(
        &self,
        settings: &[(&str, &str)],
        command_services: usize,
        projectors: usize,
    ) -> anyhow::Result<Services> {
        let counts = Counts {
            command_services,
            projectors,
            query_services: 0,
        };
        let services = self.plan_with(settings, counts, PREFIX)?;
        services.deploy()?;
        services.start()?;
        Ok(services)
    }

    /// One of each service, ready.
    pub fn services_for_reads(&self, settings: &[(&str, &str)]) -> anyhow::Result<Services> {
        let counts = Counts {
            command_services: 1,
            projectors: 1,
            query_services: 1,
        };
        let services = self.plan_with(settings, counts, PREFIX)?;
        services.deploy()?;
        services.start()?;
        Ok(services)
    }

    /// So many services, none started.
    pub fn plan(&self, command_services: usize, projectors: usize, prefix: &str) -> anyhow::Result<Services> {
        let counts = Counts {
            command_services,
            projectors,
            query_services: 0,
        };
        self.plan_with(&[], counts, prefix)
    }

    fn plan_with(&self, settings: &[(&str, &str)], counts: Counts, prefix: &str) -> anyhow::Result<Services> {
        let partitions = PARTITIONS.to_string();
        let usual = [
            ("TAILWATER_TOPIC_PREFIX", prefix),
            ("TAILWATER_PARTITIONS", &partitions),
        ];
        let env = usual.iter().chain(settings);
        let env = env.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Ok(Services::plan(
            self.stack.layout(),
            &self.stack.endpoints(),
            ServiceOptions {
                binaries: self.binaries.clone(),
                counts,
                env: env.collect::<BTreeMap<_, _>>(),
                usual_ports: false,
                progress: Progress::Quiet,
            },
        )?)
    }

    /// Starts the server that answers with a constant; its base URL.
    pub fn constant_server(&self) -> anyhow::Result<String> {
        self.constant(CONSTANT, false)
    }

    /// The same, which answers from another thread a few milliseconds later.
    pub fn late_server(&self) -> anyhow::Result<String> {
        self.constant("late", true)
    }

    fn constant(&self, name: &str, late: bool) -> anyhow::Result<String> {
        self.server(name, "constant", "/health/ready", |listen| {
            vec![
                ("TAILWATER_LISTEN".to_owned(), listen),
                ("CONSTANT_LATE".to_owned(), late.to_string()),
            ]
        })
    }

    /// Starts the server that is axum and nothing else; its base URL.
    pub fn bare_server(&self, document: &str, database_url: &str) -> anyhow::Result<String> {
        self.server(
            "bare",
            "bare",
            "/constant/00000000-0000-0000-0000-000000000000",
            |listen| {
                vec![
                    ("BARE_LISTEN".to_owned(), listen),
                    ("BARE_DOCUMENT".to_owned(), document.to_owned()),
                    ("BARE_DATABASE_URL".to_owned(), database_url.to_owned()),
                ]
            },
        )
    }

    /// Starts a store's own server on an empty folder; its URL. `args` are made of the folder and the address.
    pub fn store_server(
        &self,
        name: &str,
        program: &Path,
        args: impl FnOnce(&str, &str) -> Vec<String>,
    ) -> anyhow::Result<String> {
        let layout = self.stack.layout();
        let port = Ports::load(layout).choose(name, None, false)?;
        let (folder, address) = (layout.data(name), format!("127.0.0.1:{port}"));
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        self.stack.processes().start(&Spec {
            name: name.to_owned(),
            program: program.to_owned(),
            args: args(&folder.display().to_string(), &address),
            env: Vec::new(),
            folder,
            user: None,
            config: String::new(),
        })?;
        self.until(name, READY, || std::net::TcpStream::connect(&address).is_ok())?;
        Ok(format!("http://{address}"))
    }

    /// Stops a server that was started here.
    pub fn stop_server(&self, name: &str) -> anyhow::Result<()> {
        self.stack.processes().stop(name, READY)?;
        Ok(())
    }

    /// Waits until a service that was launched is ready, for so long at most.
    pub fn until_ready(&self, services: &Services, name: &str, within: Duration) -> anyhow::Result<()> {
        let url = services.url(name).context("there is no such service")?;
        let port = url.rsplit_once(':').context("a URL has a port")?.1.parse()?;
        self.until(name, within, || probe::http_ok(port, "/health/ready"))
    }

    /// Waits until something that was started is ready.
    fn until(&self, name: &str, within: Duration, is_ready: impl Fn() -> bool) -> anyhow::Result<()> {
        let begin = Instant::now();
        while !is_ready() {
            if begin.elapsed() > within {
                bail!(
                    "{name} is not ready in time:\n{}",
                    self.stack.processes().tail(name, 12)
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Starts one of our own programs under a name, and waits until a path of it is there.
    fn server(
        &self,
        name: &str,
        program: &str,
        path: &str,
        env: impl FnOnce(String) -> Vec<(String, String)>,
    ) -> anyhow::Result<String> {
        let layout = self.stack.layout();
        let port = Ports::load(layout).choose(name, None, false)?;
        let folder = layout.data(name);
        fs::create_dir_all(&folder)?;
        self.stack.processes().start(&Spec {
            name: name.to_owned(),
            program: self.binaries.join(program),
            args: Vec::new(),
            env: env(format!("127.0.0.1:{port}")),
            folder,
            user: None,
            config: String::new(),
        })?;
        self.until(name, READY, || probe::http_ok(port, path))?;
        Ok(format!("http://127.0.0.1:{port}"))
    }

    /// `tailwater` with the services' settings.
    pub fn tailwater(&self, services: &Services, args: &[&str]) -> anyhow::Result<std::process::Output> {
        let program = self.binaries.join("tailwater");
        std::process::Command::new(&program)
            .args(args)
            .envs(services.env())
            .output()
            .with_context(|| format!("cannot start {}", program.display()))
    }

    /// One of Kafka's own tools.
    pub fn kafka_tool(&self, class: &str) -> anyhow::Result<std::process::Command> {
        Ok(Components::locate(&components_folder())?.kafka_tool(class))
    }
}

/// Sends a service a signal; an error where it does not run.
pub fn signal(services: &Services, name: &str, signal: Signal) -> anyhow::Result<()> {
    anyhow::ensure!(services.processes().signal(name, signal)?, "{name} does not run");
    Ok(())
}

/// Resident memory of a service in MiB.
pub fn resident_mib(services: &Services, name: &str) -> anyhow::Result<f64> {
    let State::Running(pid) = services.processes().state(name) else {
        bail!("{name} does not run");
    };
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    parse_resident_mib(&status).with_context(|| format!("no VmRSS of {name}"))
}

fn parse_resident_mib(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1024.0)
}

/// What a service says at `/metrics`.
pub fn metrics_of(services: &Services, name: &str) -> Option<String> {
    let url = services.url(name)?;
    let port = url.rsplit_once(':')?.1.parse().ok()?;
    probe::http_body(port, "/metrics")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_read_from_what_the_kernel_says() {
        let status = "Name:\tx\nVmPeak:\t 9 kB\nVmRSS:\t    2048 kB\nThreads:\t3\n";
        assert_eq!(parse_resident_mib(status), Some(2.0));
        assert_eq!(parse_resident_mib("Name:\tkthread\n"), None);
    }
}
