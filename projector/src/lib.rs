//! Folds the events into the Postgres and Redis read models.
//!
//! Each model has generations (`generations`): the live one, and any that are filled beside it or kept. For each of them there is
//! one task (`session`: views, one commit for each batch). Near the end of the log all are fed by one
//! `reader` thread (Kafka, the chain rule, decoding) through a bounded `ring`; one that is behind reads by itself until
//! it has caught up (`feeds`). So neither waits for the other: Redis may be down for a day, and Postgres is up to date.
//!
//! Several projectors divide the partitions (`division`); a session works on those that are its projector's.
//!
//! What it deliberately does not do: decide anything. A void record is counted and passed over, a lost checkpoint is
//! made again from the log, and an event that cannot be read stops its partition, loudly, and no other.

mod cache;
mod config;
mod division;
mod feed;
mod feeds;
mod fold;
mod generations;
mod halts;
mod lag;
mod metrics;
mod reader;
mod ring;
mod session;
mod step;
mod traffic;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use eventlog::registry::{self, RegistryError};
use eventlog::{LogConfig, topics};
use read_model::generations::MODEL_VERSION;
use read_model::postgres::PostgresGenerations;
use read_model::redis::RedisGenerations;
use schemas::Codec;
use service_kit::basics::{self, Basics};
use service_kit::health::START;
use service_kit::{Health, run::Context, serve};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use config::ProjectorConfig;

use crate::division::Division;
use crate::feeds::Feeds;
use crate::generations::Shared;
use crate::halts::Halts;

/// How long Kafka may take to say what it has.
const METADATA_TIMEOUT: Duration = Duration::from_secs(5);
/// How often something that is down at the start is asked again.
const RETRY_EVERY: Duration = Duration::from_millis(500);

/// Runs the projector until it is told to stop.
///
/// # Errors
/// Where the schema registry lacks a subject or has another schema, where the topics are not as they must be, or where the
/// address to listen on is taken.
pub async fn run(context: Context<ProjectorConfig>) -> anyhow::Result<()> {
    let Context {
        config,
        health,
        metrics,
        shutdown,
        ..
    } = context;
    let listener = serve::bind(config.listen).await?;
    let basics = Basics {
        health: health.clone(),
        metrics,
        openapi: None,
        problems: Vec::new(),
        leaving: basics::Leaving::default(),
        streams: &[],
    };
    let router = basics::finish(axum::Router::new(), basics);
    let mut tasks = JoinSet::new();
    tasks.spawn(serve::serve(listener, router, shutdown.clone()));

    let log = LogConfig {
        bootstrap: config.kafka.bootstrap.clone(),
        prefix: config.kafka.prefix.clone(),
    };
    let started = tokio::select! {
        started = begin(&config, &log, &health) => started?,
        () = shutdown.cancelled() => return drain(tasks).await,
    };
    let (codec, partitions) = started;
    crate::metrics::describe();
    let division = Division::start(&log, &models(&config), partitions)?;
    let read = log.clone();
    let feeds = Arc::new(Feeds::new(move |model, starts, publisher| {
        reader::spawn(model, read.clone(), Arc::clone(&codec), starts, publisher)
    }));
    let watched = lag::Watched::default();
    lag::watch(log.clone(), watched.clone(), shutdown.clone());
    let shared = Shared {
        log: log.clone(),
        feeds,
        shares: division.shares(),
        halts: Halts::new(health.clone()),
        health,
        shutdown: shutdown.clone(),
        watched,
        traffic: Arc::default(),
        count: partitions,
    };
    let database = PostgresGenerations::new(config.database.url.expose(), "tailwater-projector")?;
    let memory = RedisGenerations::new(config.redis.url.expose(), &config.redis.prefix, partitions)?;
    tasks.spawn(note_deployment(memory.clone(), log, shutdown));
    tasks.spawn(async move {
        let kept = tokio::try_join!(
            generations::keep(database, shared.clone()),
            generations::keep(memory, shared)
        );
        // Not before: who takes over begins where these ended.
        division.leave().await;
        kept.map(|_| ())
    });
    drain(tasks).await
}

/// Names what is projected into: projectors divide the partitions among those into the same stores, of the same version. Hosts
/// are left out, as they may have other names elsewhere.
fn models(config: &ProjectorConfig) -> String {
    let database = config.database.url.expose();
    let (_, database) = database.rsplit_once('/').unwrap_or_default();
    let database = database.split('?').next().unwrap_or_default();
    format!("{MODEL_VERSION}/{}/{database}", config.redis.prefix)
}

/// Waits for all tasks; the first that fails ends the process.
async fn drain(mut tasks: JoinSet<anyhow::Result<()>>) -> anyhow::Result<()> {
    while let Some(ended) = tasks.join_next().await {
        ended.context("a task of the projector panicked")??;
    }
    Ok(())
}

/// What must be known before the first record: how to decode, and which partitions there are. Waits for what is down.
async fn begin(
    config: &ProjectorConfig,
    log: &LogConfig,
    health: &Health,
) -> anyhow::Result<(Arc<Codec>, i32)> {
    health.down(START, "schemas and topics are being looked up");
    let codec = loop {
        match registry::load_codec(
            config.registry.url.expose(),
            &log.prefix,
            config.data_dir.as_deref(),
        )
        .await
        {
            Ok(codec) => break codec,
            Err(error @ RegistryError::Unreachable { .. }) => {
                tracing::warn!(%error, "projector.registry.wait");
                tokio::time::sleep(RETRY_EVERY).await;
            }
            Err(error) => return Err(error.into()),
        }
    };
    let count = loop {
        let asked = log.clone();
        match tokio::task::spawn_blocking(move || topics::partition_count(&asked, METADATA_TIMEOUT)).await? {
            Ok(count) => break count,
            Err(error) if error.is_fatal() => return Err(error.into()),
            Err(error) => {
                tracing::warn!(%error, "projector.kafka.wait");
                tokio::time::sleep(RETRY_EVERY).await;
            }
        }
    };
    health.up(START);
    Ok((Arc::new(codec), count))
}

/// Tells Redis which log it is made from, for query services that start while Kafka and Postgres are down.
async fn note_deployment(
    redis: RedisGenerations,
    log: LogConfig,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let mut noted = false;
    loop {
        let asked = log.clone();
        let found = tokio::task::spawn_blocking(move || topics::log_id(&asked, METADATA_TIMEOUT)).await?;
        if let Ok(log_id) = found {
            noted = redis.store_deployment(log_id).await.is_ok();
        }
        // Again now and then: a Redis that lost everything has lost this as well.
        let pause = if noted {
            Duration::from_mins(1)
        } else {
            Duration::from_secs(1)
        };
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = tokio::time::sleep(pause) => {}
        }
    }
}
