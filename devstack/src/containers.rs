//! The same components as containers, through testcontainers: the interface of [`Stack`](crate::Stack), on either
//! upstream's images or our own.
//!
//! Host ports are fixed, so that a container that was killed comes back on its address; its data is in its own
//! volumes, which live as long as the container. Nothing is published but on the loopback.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use testcontainers::bollard::models::PortBinding;
use testcontainers::core::{ContainerPort, IntoContainerPort};
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, ContainerRequest, GenericImage, ImageExt};
use tokio::runtime::Runtime;

use crate::engine::{LABEL, docker, docker_logs, remove_containers};
use crate::error::{Context, Error, Result};
use crate::images::Source;
use crate::layout::Layout;
use crate::ports::Ports;
use crate::stack::{Endpoints, Options};
use crate::{Signal, kafka, probe, registry};

/// Images start from cold on a busy machine.
const READY_DEADLINE: Duration = Duration::from_mins(2);
type Container = ContainerAsync<GenericImage>;

/// The components of one root folder, as containers. They are removed when it is dropped.
#[derive(Debug)]
pub struct Containers {
    layout: Layout,
    prefix: String,
    brokers: Vec<u16>,
    postgres: u16,
    redis: u16,
    registry: u16,
    running: BTreeMap<String, Container>,
    // After the containers: it removes them.
    runtime: Option<Runtime>,
}

impl Containers {
    /// Starts every component from images of `source`, and returns when all of them are ready.
    pub fn start(options: &Options, source: Source) -> Result<Self> {
        let layout = Layout::create(&options.root)?;
        remove_containers(Some(&layout))?;
        let mut ports = Ports::load(&layout);
        let mut choose = |name: &str| ports.choose(&format!("{name}-container"), None, false);
        let brokers = (1..=options.brokers.unwrap_or(1))
            .map(|number| choose(&format!("kafka-{number}")))
            .collect::<Result<Vec<u16>>>()?;
        let mut stack = Self {
            prefix: format!("tailwater-{}", crate::random::hex::<4>()?),
            brokers,
            postgres: choose("postgres")?,
            redis: choose("redis")?,
            registry: choose("registry")?,
            layout,
            running: BTreeMap::new(),
            runtime: Some(Runtime::new().context("start a runtime")?),
        };
        for name in stack.names() {
            let request = stack.request(&name, source)?;
            let container = stack.block_on(request.start())?;
            let container = container.map_err(|error| {
                Error::new(format!("the container of {name} ({}) does not start: {error}", source.image(image_of(&name))))
                    .remedy("`cargo xtask images` builds the images where none can be pulled; then TAILWATER_IMAGES=local")
            })?;
            stack.running.insert(name.clone(), container);
            // The registry needs the database; the brokers need each other, and so are started before any is asked.
            if name == "postgres" {
                stack.wait_ready(&name)?;
            }
        }
        for name in stack.names() {
            stack.wait_ready(&name)?;
        }
        Ok(stack)
    }

    /// Where clients find the components.
    pub fn endpoints(&self) -> Endpoints {
        Endpoints::of(&self.brokers, self.registry, self.postgres, self.redis)
    }

    /// Names of the components, in the order in which they start.
    pub fn names(&self) -> Vec<String> {
        let brokers = (1..=self.brokers.len()).map(|number| format!("kafka-{number}"));
        ["postgres", "redis"]
            .map(str::to_owned)
            .into_iter()
            .chain(brokers)
            .chain(["registry".into()])
            .collect()
    }

    /// The folders, for services that belong to this stack.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Sends a signal to one component. After SIGKILL the process is gone when this returns.
    pub fn kill(&self, name: &str, signal: Signal) -> Result<()> {
        let id = self.id(name)?;
        docker(&["kill", "--signal", signal.as_str(), id])?;
        if signal == Signal::SIGKILL {
            docker(&["wait", id])?;
        }
        Ok(())
    }

    /// Starts one component again on its data and address, ending it first where it runs.
    pub fn restart(&self, name: &str) -> Result<()> {
        docker(&["restart", "--time", "20", self.id(name)?])?;
        self.wait_ready(name)
    }

    /// Removes every container, with its data.
    pub fn stop(&mut self) -> Result<()> {
        let running = std::mem::take(&mut self.running);
        for (_, container) in running.into_iter().rev() {
            self.block_on(container.rm())?
                .map_err(|error| Error::new(error.to_string()))?;
        }
        remove_containers(Some(&self.layout))
    }

    fn id(&self, name: &str) -> Result<&str> {
        let known = self.running.get(name).map(|container| container.id());
        known.ok_or_else(|| {
            Error::new(format!(
                "there is no component `{name}`: {}",
                self.names().join(", ")
            ))
        })
    }

    /// Waits for a future from wherever we are called: inside another runtime only another thread may block.
    fn block_on<F>(&self, future: F) -> Result<F::Output>
    where
        F: Future + Send,
        F::Output: Send,
    {
        let gone = || Error::new("the containers' runtime is gone");
        let runtime = self.runtime.as_ref().ok_or_else(gone)?;
        std::thread::scope(|scope| scope.spawn(|| runtime.block_on(future)).join()).map_err(|_| gone())
    }

    fn host(&self, name: &str) -> String {
        format!("{}-{name}", self.prefix)
    }

    fn request(&self, name: &str, source: Source) -> Result<ContainerRequest<GenericImage>> {
        let (image, tag) = source
            .image(image_of(name))
            .rsplit_once(':')
            .ok_or_else(|| Error::new(format!("the image of {name} has no tag")))?;
        let (inside, outside) = self.ports_of(name)?;
        let mut request = GenericImage::new(image, tag)
            .with_container_name(self.host(name))
            .with_network(&self.prefix)
            .with_label(LABEL, self.layout.root().display().to_string())
            .with_host_config_modifier(move |host| {
                let binding = PortBinding {
                    host_ip: Some("127.0.0.1".into()),
                    host_port: Some(outside.to_string()),
                };
                host.port_bindings = Some(HashMap::from([(inside.to_string(), Some(vec![binding]))]));
            })
            .with_mapped_port(outside, inside);
        for (variable, value) in self.env(name)? {
            request = request.with_env_var(variable, value);
        }
        Ok(match name {
            "postgres" => {
                let sql = include_bytes!("../../deploy/postgres-init.sql").to_vec();
                request.with_copy_to("/docker-entrypoint-initdb.d/tailwater.sql", sql)
            }
            "redis" => request.with_cmd(["redis-server", "--appendonly", "yes", "--protected-mode", "no"]),
            _ => request,
        })
    }

    /// The port inside the container, and the one on the host.
    fn ports_of(&self, name: &str) -> Result<(ContainerPort, u16)> {
        Ok(match name {
            "postgres" => (5432.tcp(), self.postgres),
            "redis" => (6379.tcp(), self.redis),
            "registry" => (8080.tcp(), self.registry),
            _ => (9092.tcp(), self.brokers[self.broker_index(name)?]),
        })
    }

    fn broker_index(&self, name: &str) -> Result<usize> {
        name.strip_prefix("kafka-")
            .and_then(|number| number.parse::<usize>().ok()?.checked_sub(1))
            .filter(|index| *index < self.brokers.len())
            .ok_or_else(|| Error::new(format!("there is no component `{name}`")))
    }

    fn env(&self, name: &str) -> Result<Vec<(String, String)>> {
        let pairs: Vec<(&str, String)> = match name {
            "postgres" => vec![
                ("POSTGRES_HOST_AUTH_METHOD", "trust".into()),
                ("POSTGRES_PASSWORD", "postgres".into()),
            ],
            "redis" => Vec::new(),
            "registry" => vec![
                ("APICURIO_STORAGE_KIND", "sql".into()),
                ("APICURIO_STORAGE_SQL_KIND", "postgresql".into()),
                (
                    "APICURIO_DATASOURCE_URL",
                    format!("jdbc:postgresql://{}:5432/registry", self.host("postgres")),
                ),
                ("APICURIO_DATASOURCE_USERNAME", "registry".into()),
                ("APICURIO_DATASOURCE_PASSWORD", "registry".into()),
            ],
            _ => return self.broker_env(self.broker_index(name)?),
        };
        Ok(pairs
            .into_iter()
            .map(|(variable, value)| (variable.to_owned(), value))
            .collect())
    }

    /// The brokers' settings are those of the processes; only listeners and folders differ.
    fn broker_env(&self, index: usize) -> Result<Vec<(String, String)>> {
        let hosts: Vec<String> = (1..=self.brokers.len())
            .map(|number| self.host(&format!("kafka-{number}")))
            .collect();
        let voters: Vec<String> = hosts
            .iter()
            .enumerate()
            .map(|(at, host)| format!("{}@{host}:9093", at + 1))
            .collect();
        let mut settings: BTreeMap<String, String> = kafka::shared_settings(self.brokers.len());
        let own = [
            ("node.id", (index + 1).to_string()),
            ("controller.quorum.voters", voters.join(",")),
            (
                "listeners",
                "CLIENT://:9092,BROKER://:9094,CONTROLLER://:9093".to_owned(),
            ),
            (
                "advertised.listeners",
                format!(
                    "CLIENT://127.0.0.1:{},BROKER://{}:9094",
                    self.brokers[index], hosts[index]
                ),
            ),
            (
                "listener.security.protocol.map",
                "CLIENT:PLAINTEXT,BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned(),
            ),
            ("log.dirs", "/var/lib/kafka/data".to_owned()),
        ];
        settings.extend(own.map(|(key, value)| (key.to_owned(), value)));
        let variable = |key: &str| format!("KAFKA_{}", key.to_uppercase().replace('.', "_"));
        let mut env: Vec<_> = settings
            .into_iter()
            .map(|(key, value)| (variable(&key), value))
            .collect();
        env.push(("CLUSTER_ID".to_owned(), kafka::cluster_id(&self.layout)?));
        env.push(("KAFKA_HEAP_OPTS".to_owned(), "-Xms128m -Xmx512m".to_owned()));
        env.push((
            "KAFKA_JVM_PERFORMANCE_OPTS".to_owned(),
            "-XX:+UseSerialGC -XX:TieredStopAtLevel=1".to_owned(),
        ));
        Ok(env)
    }

    fn wait_ready(&self, name: &str) -> Result<()> {
        let id = self.id(name)?;
        let ended =
            || docker(&["inspect", "--format", "{{.State.Running}}", id]).is_ok_and(|state| state == "false");
        if probe::wait(READY_DEADLINE, || self.ready(name), ended) {
            return Ok(());
        }
        let log = self.layout.log(name);
        let output = docker_logs(id)?;
        std::fs::write(&log, &output).context(format_args!("write {}", log.display()))?;
        let lines: Vec<&str> = output.lines().collect();
        let tail = lines[lines.len().saturating_sub(12)..].join("\n");
        Err(Error::new(format!(
            "the container of {name} is not ready; its last lines:\n{tail}"
        ))
        .log(&log))
    }

    fn ready(&self, name: &str) -> bool {
        match name {
            "postgres" => probe::postgres(self.postgres, "tailwater", "tailwater"),
            "redis" => probe::redis(self.redis),
            "registry" => probe::http_ok(self.registry, &format!("{}/subjects", registry::API)),
            _ => self.broker_index(name).is_ok_and(|index| {
                probe::kafka_brokers(self.brokers[index]).is_some_and(|brokers| brokers >= self.brokers.len())
            }),
        }
    }
}

impl Drop for Containers {
    fn drop(&mut self) {
        let _ = self.stop();
        // Dropping a runtime waits, which is forbidden inside another one.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn image_of(name: &str) -> &str {
    if name.starts_with("kafka-") { "kafka" } else { name }
}
