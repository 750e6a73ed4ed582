//! REST writes, decided against aggregates and appended to Kafka.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use command_service::config::CommandConfig;
use command_service::engine::{self, Engine, EngineConfig, Handle};
use command_service::{http, metrics};
use eventlog::{LogConfig, TokenKey, registry, topics};
use service_kit::basics::{Basics, finish};
use service_kit::rate_limit::{self, RateLimit};
use service_kit::{Health, run, serve};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    run::main("command-service", command_service)
}

async fn command_service(context: run::Context<CommandConfig>) -> anyhow::Result<()> {
    let run::Context {
        config,
        health,
        shutdown,
        metrics: exporter,
        ..
    } = context;
    health.down("writers", "the log is being folded");
    metrics::describe();
    let log = LogConfig {
        bootstrap: config.kafka.bootstrap.clone(),
        prefix: config.kafka.prefix.clone(),
    };
    let codec =
        registry::load_codec(config.registry.url.expose(), &log.prefix, Some(&config.data_dir)).await?;
    let listener = serve::bind(config.listen).await?;
    let (partitions, log_id) = find_log(&log).await?;
    let tokens = TokenKey::new(config.token.key.expose().as_bytes(), log_id);
    let prefix = log.prefix.as_str().into();
    let mut engine_config = EngineConfig::new(log, log_id, partitions);
    engine_config.payment_window_micros = config.payment_window_micros;
    engine_config.admission.target_ms = config.latency_target_ms;
    let Engine {
        handle: writers,
        errands,
        thread,
    } = engine::start(engine_config, codec)?;
    writers.own_everything();
    tokio::spawn(watch(writers.clone(), health.clone()));
    let api = http::Api {
        writers,
        tokens,
        query_url: config.query_url.into(),
        prefix,
    };
    drop(errands);
    let basics = Basics {
        health,
        metrics: exporter,
        openapi: Some(http::document()),
        problems: http::problems(),
    };
    let mut routes = http::routes(api);
    if let Some(requests) = config.rate_limit {
        let limit = RateLimit::per_second(requests);
        routes = routes.route_layer(axum::middleware::from_fn_with_state(limit, rate_limit::enforce));
    }
    serve::serve(listener, finish(routes, basics), shutdown).await?;
    // Every handle is gone with the router; what is in flight is in the log, or will be asked for again.
    drop(thread);
    Ok(())
}

/// Asks Kafka for the topics and the log's identity, for as long as it takes: the service may start before Kafka does.
async fn find_log(log: &LogConfig) -> anyhow::Result<(i32, eventlog::LogId)> {
    loop {
        let asked = log.clone();
        let found = tokio::task::spawn_blocking(move || {
            let timeout = Duration::from_secs(5);
            Ok::<_, eventlog::LogError>((
                topics::partition_count(&asked, timeout)?,
                topics::log_id(&asked, timeout)?,
            ))
        });
        match found.await.context("asking Kafka")? {
            Ok(found) => return Ok(found),
            Err(error) if error.is_fatal() => return Err(error.into()),
            Err(error) => tracing::warn!(%error, "writer.log.find: trying again"),
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

/// Says when every writer has folded its log.
async fn watch(writers: Handle, health: Health) {
    while !writers.is_ready() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tracing::info!("writer.log.folded: ready");
    health.up("writers");
}
