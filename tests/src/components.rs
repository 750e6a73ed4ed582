//! The components that all tests share: started by the first test, kept for the next run, stopped by `cargo xtask test`.

use std::path::PathBuf;
use std::sync::OnceLock;

use devstack::containers::Containers;
use devstack::images::Source;
use devstack::layout::workspace;
use devstack::{Endpoints, Options, Signal, Stack};

use crate::DEADLINE;

/// Kafka, the registry, Postgres and Redis, in one of two forms.
pub enum Components {
    /// As private processes.
    Processes(Stack),
    /// As containers.
    Containers(Containers),
}

/// The shared components.
pub fn components() -> &'static Components {
    static COMPONENTS: OnceLock<Components> = OnceLock::new();
    COMPONENTS.get_or_init(|| {
        let kind = kind();
        println!("components run as {kind}");
        let options = Options {
            keep: true,
            ..Options::for_test(root())
        };
        match kind.as_str() {
            "processes" => Components::Processes(Stack::start(options).expect("the components start")),
            "containers" => {
                let containers = Containers::start(&options, Source::from_env());
                Components::Containers(containers.expect("the containers start"))
            }
            other => panic!("TAILWATER_TEST_STACK is `{other}`, not processes or containers"),
        }
    })
}

/// On what the suite runs.
fn kind() -> String {
    std::env::var("TAILWATER_TEST_STACK").unwrap_or_else(|_| "processes".to_owned())
}

/// The folder of everything that tests start.
pub fn root() -> PathBuf {
    workspace().join(".local/test").join(kind())
}

impl Components {
    /// Where they are.
    pub fn endpoints(&self) -> Endpoints {
        match self {
            Self::Processes(stack) => stack.endpoints(),
            Self::Containers(stack) => stack.endpoints(),
        }
    }

    /// Their names.
    pub fn names(&self) -> Vec<String> {
        match self {
            Self::Processes(stack) => stack.names(),
            Self::Containers(stack) => stack.names(),
        }
    }

    /// Ends one at once, as `kill -9` does.
    pub fn kill(&self, name: &str) {
        let killed = match self {
            Self::Processes(stack) => stack.kill(name, Signal::SIGKILL),
            Self::Containers(stack) => stack.kill(name, Signal::SIGKILL),
        };
        killed.expect("the component runs");
    }

    /// Starts one again, on its data and address.
    pub fn restart(&self, name: &str) {
        let restarted = match self {
            Self::Processes(stack) => stack.restart(name),
            Self::Containers(stack) => stack.restart(name),
        };
        restarted.expect("the component starts again");
    }
}

/// Empties Redis of everything, as a disk that was lost would.
pub async fn flush_redis() {
    let url = components().endpoints().redis_url;
    let address = url
        .trim_start_matches("redis://")
        .trim_end_matches('/')
        .to_owned();
    let answer = tokio::task::spawn_blocking(move || -> std::io::Result<String> {
        use std::io::{Read, Write};
        let mut connection = std::net::TcpStream::connect(address)?;
        connection.write_all(b"FLUSHALL\r\n")?;
        let mut answer = [0; 5];
        connection.read_exact(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    });
    assert_eq!(answer.await.expect("a thread").expect("Redis answers"), "+OK\r\n");
}

/// Empties Redis of everything that one pipeline has there, at one instant.
pub async fn forget_in_redis(prefix: &str) {
    let client = redis::Client::open(components().endpoints().redis_url).expect("Redis has an address");
    // It looks at all keys there are, of all pipelines, and a busy machine takes its time.
    let patient = redis::AsyncConnectionConfig::new()
        .set_connection_timeout(Some(DEADLINE))
        .set_response_timeout(Some(DEADLINE));
    let mut connection = client
        .get_multiplexed_async_connection_with_config(&patient)
        .await
        .expect("Redis answers");
    let script = redis::Script::new(
        "local keys = redis.call('KEYS', ARGV[1]) for _, key in ipairs(keys) do redis.call('DEL', key) end return #keys",
    );
    let _: usize = script
        .arg(format!("*{prefix}:*"))
        .invoke_async(&mut connection)
        .await
        .expect("Redis forgets");
}
