//! One test's own pipeline: topics, database, keys and services.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use devstack::Signal;
use devstack::layout::Layout;
use devstack::services::{Counts, ServiceOptions, Services};
use devstack::step::Progress;
use eventlog::LogConfig;
use sqlx::{Connection, Executor, PgConnection};

use crate::client::Client;
use crate::components::{components, root};

/// How a pipeline is set up.
pub struct Setup {
    name: String,
    counts: Counts,
    env: BTreeMap<String, String>,
    bug: bool,
}

impl Setup {
    /// One of each service, four partitions. The name is part of topics, database and keys.
    pub fn new(name: &str) -> Self {
        // A run must not find what an earlier one left.
        let name = format!("{name}-{:06x}", fastrand::u32(..) & 0xff_ffff);
        Self {
            name,
            counts: Counts::default(),
            env: BTreeMap::new(),
            bug: false,
        }
    }

    /// With a mistake in the query services.
    #[must_use]
    pub fn bug(mut self, bug: query_service::bugs::Bug) -> Self {
        self.bug = true;
        self.env("TAILWATER_BUG", bug.name())
    }

    /// With another number of partitions.
    #[must_use]
    pub fn partitions(self, partitions: i32) -> Self {
        self.env("TAILWATER_PARTITIONS", &partitions.to_string())
    }

    /// With a setting of the services.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }

    /// With other numbers of services.
    #[must_use]
    pub fn counts(mut self, command_services: usize, projectors: usize, query_services: usize) -> Self {
        self.counts = Counts {
            command_services,
            projectors,
            query_services,
        };
        self
    }

    /// Topics, schemas and tables, but no service.
    pub async fn deploy(self) -> Pipeline {
        let endpoints = components().endpoints();
        let database = self.name.replace('-', "_");
        let mut connection = PgConnection::connect(&endpoints.database_url)
            .await
            .expect("Postgres answers");
        connection
            .execute(sqlx::AssertSqlSafe(format!("CREATE DATABASE \"{database}\"")))
            .await
            .expect("a database is made");
        connection.close().await.expect("Postgres lets go");
        let (server, _) = endpoints
            .database_url
            .rsplit_once('/')
            .expect("a database URL names a database");
        let mut env = self.env;
        env.insert(
            "TAILWATER_DATABASE_URL".to_owned(),
            format!("{server}/{database}"),
        );
        env.insert("TAILWATER_TOPIC_PREFIX".to_owned(), self.name.clone());
        env.insert("TAILWATER_REDIS_PREFIX".to_owned(), self.name.clone());
        let layout = Layout::create(&root().join("pipelines").join(&self.name)).expect("a folder is made");
        let options = ServiceOptions {
            binaries: if self.bug { with_bugs(&layout) } else { binaries() },
            counts: self.counts,
            env,
            usual_ports: false,
            progress: Progress::Quiet,
        };
        let services = Services::plan(&layout, &endpoints, options).expect("addresses are free");
        services.deploy().expect("the deploy step works");
        Pipeline {
            name: self.name,
            services,
            logs: layout.root().join("logs"),
        }
    }

    /// All of it, ready.
    pub async fn start(self) -> Pipeline {
        let pipeline = self.deploy().await;
        pipeline.services.start().expect("the services start");
        pipeline
    }
}

/// Where cargo puts the services' binaries: beside this program's own, or above it where it is a test.
fn binaries() -> PathBuf {
    let program = std::env::current_exe().expect("a program has a path");
    let built = |folder: &&Path| folder.join("command-service").exists() && folder.join("tailwater").exists();
    let folder = program.ancestors().skip(1).take(2).find(built);
    folder
        .expect("the services are not built: run `cargo xtask test`, or `cargo build` first")
        .to_path_buf()
}

/// A folder of the same programs, but for the query service that can make mistakes. It has the usual name there, by which
/// what a killed test leaves is found.
fn with_bugs(layout: &Layout) -> PathBuf {
    let (built, folder) = (binaries(), layout.root().join("bin"));
    std::fs::create_dir_all(&folder).expect("a folder is made");
    for (name, program) in [
        ("tailwater", "tailwater"),
        ("command-service", "command-service"),
        ("projector", "projector"),
        ("query-service", "query-service-with-bugs"),
    ] {
        let linked = std::fs::hard_link(built.join(program), folder.join(name));
        linked.unwrap_or_else(|error| {
            panic!("{program}: {error}; `cargo xtask test` builds it, or `cargo build --workspace --bin {program} --features query-service/bugs`")
        });
    }
    folder
}

/// A running pipeline. Its services end with it.
pub struct Pipeline {
    /// Its name: the prefix of its topics and keys.
    pub name: String,
    /// Its services.
    pub services: Services,
    logs: PathBuf,
}

impl Pipeline {
    /// A client of its first command and query service.
    pub fn client(&self) -> Client {
        Client::new(&self.services.command_urls()[0], &self.services.query_urls()[0])
    }

    /// Clients of each of its command services, in their order.
    pub fn clients(&self) -> Vec<Client> {
        let urls = self.services.command_urls();
        let query_url = &self.services.query_urls()[0];
        urls.iter().map(|url| Client::new(url, query_url)).collect()
    }

    /// Its folder, for what a test writes.
    pub fn folder(&self) -> &Path {
        self.logs.parent().unwrap_or(&self.logs)
    }

    /// Throws away what a service keeps on disk for itself.
    pub fn wipe(&self, service: &str) {
        let folder = self.logs.with_file_name("data").join(service);
        std::fs::remove_dir_all(&folder).expect("the service kept something");
    }

    /// Sends a service a signal.
    pub fn signal(&self, service: &str, signal: Signal) {
        let found = self.services.processes().signal(service, signal);
        assert!(found.expect("a signal can be sent"), "{service} runs");
    }

    /// Its log.
    pub fn log(&self) -> LogConfig {
        LogConfig {
            bootstrap: components().endpoints().kafka,
            prefix: self.name.clone(),
        }
    }

    /// What a service has written.
    pub fn output_of(&self, service: &str) -> String {
        std::fs::read_to_string(self.logs.join(format!("{service}.log"))).unwrap_or_default()
    }

    /// The value of a metric of a service, summed over its labels that contain `label`.
    pub async fn metric(&self, service: &str, name: &str, label: &str) -> f64 {
        let url = format!(
            "{}/metrics",
            self.services.url(service).expect("there is such a service")
        );
        let text = reqwest::get(url)
            .await
            .expect("metrics are served")
            .text()
            .await
            .expect("metrics are text");
        text.lines()
            .filter(|line| line.starts_with(name) && line.contains(label))
            .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
            .sum()
    }

    /// Ends a service at once, as `kill -9` does.
    pub fn kill(&self, service: &str) {
        let found = self
            .services
            .processes()
            .signal(service, Signal::SIGKILL)
            .expect("a signal can be sent");
        assert!(found, "{service} runs");
        assert!(
            self.services
                .processes()
                .wait_until_ended(service, Duration::from_secs(10))
        );
    }

    /// Runs `tailwater` with this pipeline's settings; exit code and what it printed.
    pub fn tailwater(&self, args: &[&str]) -> (i32, String) {
        let output = Command::new(binaries().join("tailwater"))
            .args(args)
            .envs(self.services.env())
            .output()
            .expect("tailwater runs");
        let text =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.code().unwrap_or(-1), text)
    }

    /// Fails unless log, Postgres and Redis agree; what was compared.
    pub fn verify(&self) -> serde_json::Value {
        let (code, text) = self.tailwater(&["verify", "--json"]);
        assert_eq!(code, 0, "the models differ from the log: {text}");
        serde_json::from_str(text.lines().next().unwrap_or_default()).expect("the report is JSON")
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        for name in self.services.names() {
            let _ = self.services.stop(&name);
        }
        if std::thread::panicking() {
            for name in self.services.names() {
                let output = self.output_of(&name);
                let from = output.len().saturating_sub(3_000);
                eprintln!(
                    "--- {} {name}\n{}",
                    self.name,
                    output.get(from..).unwrap_or_default()
                );
            }
        }
    }
}
