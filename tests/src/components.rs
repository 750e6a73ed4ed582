//! The components that all tests share: started by the first test, kept for the next run, stopped by `cargo xtask test`.

use std::path::PathBuf;
use std::sync::OnceLock;

use devstack::layout::workspace;
use devstack::{Endpoints, Options, Signal, Stack};

/// Kafka, the registry, Postgres and Redis, in one of two forms.
pub enum Components {
    /// As private processes.
    Processes(Stack),
}

/// The shared components.
pub fn components() -> &'static Components {
    static COMPONENTS: OnceLock<Components> = OnceLock::new();
    COMPONENTS.get_or_init(|| {
        let kind = std::env::var("TAILWATER_TEST_STACK").unwrap_or_else(|_| "processes".to_owned());
        println!("components: {kind}");
        match kind.as_str() {
            "processes" => {
                let options = Options {
                    keep: true,
                    ..Options::for_test(root())
                };
                Components::Processes(Stack::start(options).expect("the components start"))
            }
            other => panic!("TAILWATER_TEST_STACK is `{other}`, not processes or containers"),
        }
    })
}

/// The folder of everything that tests start.
pub fn root() -> PathBuf {
    std::env::var_os("TAILWATER_TEST_ROOT")
        .map_or_else(|| workspace().join(".local/test/processes"), PathBuf::from)
}

impl Components {
    /// Where they are.
    pub fn endpoints(&self) -> Endpoints {
        match self {
            Self::Processes(stack) => stack.endpoints(),
        }
    }

    /// Their names.
    pub fn names(&self) -> Vec<String> {
        match self {
            Self::Processes(stack) => stack.names(),
        }
    }

    /// Ends one at once, as `kill -9` does.
    pub fn kill(&self, name: &str) {
        match self {
            Self::Processes(stack) => stack.kill(name, Signal::SIGKILL).expect("the component runs"),
        }
    }

    /// Starts one again, on its data and address.
    pub fn restart(&self, name: &str) {
        match self {
            Self::Processes(stack) => stack.restart(name).expect("the component starts again"),
        }
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
