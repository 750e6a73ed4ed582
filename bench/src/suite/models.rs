//! How far the read models are, and how far the log goes.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use devstack::services::Services;
use eventlog::{LogReader, TopicPartition};
use read_model::{
    Generations,
    generations::{Generation, live},
    postgres::PostgresGenerations,
    redis::RedisGenerations,
};

use super::rig::{PARTITIONS, PREFIX, Rig};

/// How long Kafka may take to say how far it goes.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long the models may take to have everything.
const PATIENCE: Duration = Duration::from_mins(3);

/// Both models' generations.
#[derive(Clone)]
pub struct Models {
    /// Those in Postgres.
    pub postgres: PostgresGenerations,
    /// Those in Redis.
    pub redis: RedisGenerations,
}

impl Models {
    /// Those that these services write and read.
    pub fn of(services: &Services) -> anyhow::Result<Self> {
        let env = services.env();
        let prefix = env.get("TAILWATER_REDIS_PREFIX").map_or(PREFIX, String::as_str);
        Ok(Self {
            postgres: PostgresGenerations::new(&env["TAILWATER_DATABASE_URL"], "bench")?,
            redis: RedisGenerations::new(&env["TAILWATER_REDIS_URL"], prefix, PARTITIONS)?,
        })
    }

    /// How many records of each model are examined, where something is read.
    pub async fn examined(&self) -> anyhow::Result<BTreeMap<&'static str, u64>> {
        let (postgres, redis) = tokio::join!(examined(&self.postgres), examined(&self.redis));
        Ok(BTreeMap::from([("postgres", postgres?), ("redis", redis?)]))
    }

    /// Waits until what is read of both has so many records.
    pub async fn follow(&self, records: u64) -> anyhow::Result<()> {
        let begun = Instant::now();
        while self
            .examined()
            .await?
            .values()
            .any(|examined| *examined < records)
        {
            ensure!(begun.elapsed() < PATIENCE, "the models do not follow the log");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// What is read of Postgres.
    pub async fn live(&self) -> anyhow::Result<Generation> {
        live(&self.postgres.list().await?).context("one is live")
    }
}

/// How many records what is read has examined; 0 where nothing is read yet.
pub async fn examined<G: Generations>(generations: &G) -> anyhow::Result<u64> {
    let Some(live) = live(&generations.list().await?) else {
        return Ok(0);
    };
    let positions = generations.positions(live).await?;
    Ok(positions.iter().map(|(_, offset)| offset.unsigned_abs()).sum())
}

/// Asks how many records the log has.
pub struct LogEnd(Arc<LogReader>);

impl LogEnd {
    /// Of the stack's log.
    pub fn of(rig: &Rig) -> anyhow::Result<Self> {
        Ok(Self(Arc::new(LogReader::new(&rig.log(), "bench-ends")?)))
    }

    /// How many records there are.
    pub async fn records(&self) -> anyhow::Result<u64> {
        let reader = Arc::clone(&self.0);
        tokio::task::spawn_blocking(move || {
            let ends = reader.ends(TopicPartition::all(PARTITIONS), TIMEOUT)?;
            Ok(ends.values().map(|end| end.unsigned_abs()).sum())
        })
        .await
        .context("a thread that asks Kafka panicked")?
    }
}
