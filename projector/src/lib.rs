//! Folds the events into the Postgres and Redis read models.
//!
//! For each model there is one task (`session`: views, one commit for each batch). Near the end of the log both are fed by one
//! `reader` thread (Kafka, the chain rule, decoding) through a bounded `ring`; a model that is behind reads by itself until
//! it has caught up (`feeds`). So neither waits for the other: Redis may be down for a day, and Postgres is up to date.
//!
//! What it deliberately does not do: decide anything. A void record is counted and passed over, a lost checkpoint is
//! made again from the log, and an event that cannot be read stops its partition, loudly, and no other.

mod cache;
mod config;
mod feed;
mod feeds;
mod fold;
mod lag;
mod metrics;
mod reader;
mod ring;
mod session;
mod step;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use eventlog::registry::{self, RegistryError};
use eventlog::{LogConfig, Topic, TopicPartition, topics};
use read_model::postgres::PostgresStore;
use read_model::redis::RedisStore;
use schemas::Codec;
use service_kit::basics::{self, Basics};
use service_kit::{Health, run::Context, serve};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use config::ProjectorConfig;

use crate::feeds::Feeds;
use crate::session::Projection;

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
    let read = log.clone();
    let feeds = Arc::new(Feeds::new(move |model, starts, publisher| {
        reader::spawn(model, read.clone(), Arc::clone(&codec), starts, publisher)
    }));
    let projection = |name: &'static str| Projection {
        log: log.clone(),
        feeds: Arc::clone(&feeds),
        partitions: partitions.clone(),
        health: health.clone(),
        shutdown: shutdown.clone(),
        progress: lag::Progress::new(name),
    };
    let database = PostgresStore::new(config.database.url.expose())?;
    let memory = RedisStore::new(config.redis.url.expose(), &config.redis.prefix)?;
    let (to_database, to_memory) = (projection("postgres"), projection("redis"));
    lag::watch(
        log.clone(),
        vec![to_database.progress.clone(), to_memory.progress.clone()],
        shutdown.clone(),
    );
    tasks.spawn(note_deployment(
        config.clone(),
        log.clone(),
        partitions.clone(),
        shutdown.clone(),
    ));
    tasks.spawn(session::keep_projecting(database, to_database));
    tasks.spawn(session::keep_projecting(memory, to_memory));
    drain(tasks).await
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
) -> anyhow::Result<(Arc<Codec>, Vec<TopicPartition>)> {
    health.down("start", "schemas and topics are being looked up");
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
    health.up("start");
    let partitions = Topic::ALL
        .into_iter()
        .flat_map(|topic| (0..count).map(move |partition| TopicPartition { topic, partition }))
        .collect();
    Ok((Arc::new(codec), partitions))
}

/// Tells Redis which log it is made from, for query services that start while Kafka and Postgres are down.
async fn note_deployment(
    config: ProjectorConfig,
    log: LogConfig,
    partitions: Vec<TopicPartition>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let count = partitions
        .iter()
        .map(|partition| partition.partition + 1)
        .max()
        .unwrap_or_default();
    let mut store = RedisStore::new(config.redis.url.expose(), &config.redis.prefix)?;
    let mut noted = false;
    loop {
        let asked = log.clone();
        let found = tokio::task::spawn_blocking(move || topics::log_id(&asked, METADATA_TIMEOUT)).await?;
        if let Ok(log_id) = found {
            noted = store.store_deployment(log_id, count).await.is_ok();
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
