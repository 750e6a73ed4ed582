//! Around every service's `main`: configuration, telemetry, signals, exit codes.
//!
//! Exit codes: 0 stopped as asked, 1 failed, 2 the configuration or the command line is wrong. An error is one line that says what to do.

use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::Health;
use crate::config::{Config, ConfigError, NAMES, Settings, TelemetryConfig};
use crate::telemetry::{Metrics, init_logs};

/// How long a service may take to stop before it is left where it stands. What matters is in the log, so that is safe.
const STOP_WITHIN: Duration = Duration::from_millis(4_500);

/// What a service gets to work with.
#[derive(Debug)]
pub struct Context<C> {
    /// The service's name, as in logs.
    pub name: &'static str,
    /// Its configuration.
    pub config: C,
    /// What makes it unready.
    pub health: Health,
    /// Where its metrics are.
    pub metrics: Metrics,
    /// Cancelled when it is asked to stop.
    pub shutdown: CancellationToken,
}

/// Runs a service until it ends, or until SIGTERM or SIGINT and at most five seconds more.
pub fn main<C, F>(name: &'static str, service: impl FnOnce(Context<C>) -> F) -> ExitCode
where
    C: Config,
    F: Future<Output = anyhow::Result<()>>,
{
    match std::env::args().nth(1).as_deref() {
        None => {}
        Some("--version" | "-V") => {
            println!("{name} {}", env!("CARGO_PKG_VERSION"));
            return ExitCode::SUCCESS;
        }
        Some("--help" | "-h") => {
            println!(
                "{name}: configured by the environment, or by a TOML file that TAILWATER_CONFIG names.\n\n  {}",
                NAMES.join("\n  ")
            );
            return ExitCode::SUCCESS;
        }
        Some(other) => {
            eprintln!("{name}: unknown argument {other}; try --help");
            return ExitCode::from(2);
        }
    }
    let (settings, config) = match configure::<C>() {
        Ok(configured) => configured,
        Err(error) => {
            eprintln!("{name}: {error}");
            return ExitCode::from(2);
        }
    };
    match start(name, &settings, config, service) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(service = name, "{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn configure<C: Config>() -> Result<(Settings, C), ConfigError> {
    let settings = Settings::load()?;
    init_logs(&TelemetryConfig::read(&settings)?)?;
    let config = C::read(&settings)?;
    Ok((settings, config))
}

fn start<C, F>(
    name: &'static str,
    settings: &Settings,
    config: C,
    service: impl FnOnce(Context<C>) -> F,
) -> anyhow::Result<()>
where
    C: Config,
    F: Future<Output = anyhow::Result<()>>,
{
    let metrics = Metrics::install()?;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let threads: usize = settings.parse_or("TAILWATER_WORKER_THREADS", 0)?;
    if threads > 0 {
        runtime.worker_threads(threads);
    }
    let runtime = runtime.enable_all().thread_name(name).build()?;
    let outcome = runtime.block_on(async {
        tracing::info!(
            service = name,
            version = env!("CARGO_PKG_VERSION"),
            ?config,
            "starting"
        );
        let (shutdown, health) = (CancellationToken::new(), Health::starting());
        tokio::spawn(metrics.clone().upkeep());
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let context = Context {
            name,
            config,
            health: health.clone(),
            metrics,
            shutdown: shutdown.clone(),
        };
        let service = service(context);
        tokio::pin!(service);
        tokio::select! {
            outcome = &mut service => return outcome,
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!(service = name, "stopping");
        health.down("process", "it is stopping");
        shutdown.cancel();
        if let Ok(outcome) = tokio::time::timeout(STOP_WITHIN, &mut service).await {
            return outcome;
        }
        tracing::warn!(
            service = name,
            "did not stop in time; left where it stands, which is safe"
        );
        Ok(())
    });
    runtime.shutdown_timeout(Duration::from_millis(200));
    outcome
}
