//! REST writes, decided against aggregates and appended to Kafka.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use command_service::cluster::ClusterConfig;
use command_service::config::CommandConfig;
use command_service::engine::{CheckpointConfig, EngineConfig, slot_count};
use command_service::instance::Instance;
use command_service::{http, metrics};
use eventlog::{LogConfig, TokenKey, registry, topics};
use service_kit::auth::ServiceKey;
use service_kit::basics::{Basics, Leaving, finish};
use service_kit::health::START;
use service_kit::rate_limit::{self, RateLimit};
use service_kit::{Health, run, serve};
use tokio_util::sync::CancellationToken;

/// How long clients are told, with each answer, to make their next connection elsewhere.
const LAME_DUCK: Duration = Duration::from_millis(500);

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long the last checkpoints may take.
const END_TIMEOUT: Duration = Duration::from_secs(1);

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
    health.down(START, "the log is being folded");
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
    let cluster = ClusterConfig {
        log: log.clone(),
        slots: slot_count(partitions),
        name: config.listen.to_string(),
        listen: config.peers.listen,
        host: config.peers.host.clone(),
        http: config.peers.http(config.listen),
        secret: config.token.key.clone(),
    };
    let mut engine = EngineConfig::new(log, log_id, partitions);
    engine.payment_window_micros = config.payment_window_micros;
    engine.admission.target_ms = config.latency_target_ms;
    engine.checkpoints = Some(CheckpointConfig {
        hot_aggregates: config.hot_aggregates,
        cache_bytes: config.store_cache_mib.saturating_mul(1 << 20),
        every: Duration::from_millis(config.checkpoint_every_ms),
        ..CheckpointConfig::new(config.data_dir)
    });
    // Other instances are answered until this one has left.
    let left = CancellationToken::new();
    let instance = Instance::start(engine, codec, cluster, left.clone()).await?;
    tokio::spawn(watch(instance.clone(), health.clone()));
    let leaving = Leaving::default();
    tokio::spawn(leave(instance.clone(), leaving.clone(), shutdown, left.clone()));
    let ending = instance.clone();
    let services = ServiceKey::new(config.token.key.expose().as_bytes());
    let api = Arc::new(http::Api {
        instance,
        tokens,
        query_url: config.query_url.into(),
        prefix,
    });
    let basics = Basics {
        health,
        metrics: exporter,
        openapi: Some(http::document()),
        problems: http::problems(),
        leaving,
        streams: &[],
    };
    let mut routes = http::routes(Arc::clone(&api));
    if let Some(requests) = config.rate_limit {
        let limit = RateLimit::per_second(requests);
        routes = routes.route_layer(axum::middleware::from_fn_with_state(limit, rate_limit::enforce));
    }
    // Beside the limit, which is for clients.
    let routes = routes.merge(http::internal::routes(api, services));
    serve::serve(listener, finish(routes, basics), left).await?;
    // What is in flight is in the log, or will be asked for again. The last checkpoints are worth a moment.
    if !ending.end(END_TIMEOUT).await {
        tracing::warn!(
            "writer.checkpoint.end: the last checkpoints are not written; the next start reads more of the log"
        );
    }
    Ok(())
}

/// When the process is told to stop: hands over, and only then stops to answer. Whoever has a connection is told to make its
/// next one elsewhere.
async fn leave(instance: Instance, leaving: Leaving, shutdown: CancellationToken, left: CancellationToken) {
    shutdown.cancelled().await;
    leaving.begin();
    tokio::join!(instance.leave(), tokio::time::sleep(LAME_DUCK));
    left.cancel();
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

/// Says when every writer that is this instance's affair has folded its log.
async fn watch(instance: Instance, health: Health) {
    while !instance.is_ready() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tracing::info!("writer.log.folded: ready");
    instance.ready();
    health.up(START);
}
