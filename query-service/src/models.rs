//! The two models, asked the same way, and what is known of how they are.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use eventlog::{Positions, Topic, TopicPartition, partition_of};
use read_model::deployment::Deployment;
use read_model::postgres::{After, Filter, Page, PostgresReader};
use read_model::redis::RedisReader;
use read_model::{Document, Reading, StoreError};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::metrics;
use crate::watcher::Watcher;

/// How long Redis may take while Postgres could answer.
const REDIS_PATIENCE: Duration = Duration::from_millis(250);
/// How long a model that failed is asked only where no other can answer.
const SPARE_MS: u64 = 500;

/// A read model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Model {
    Redis,
    Postgres,
}

impl Model {
    pub(crate) const ALL: [Self; 2] = [Self::Redis, Self::Postgres];

    /// As in `Served-From`.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Postgres => "postgres",
        }
    }
}

/// What is asked of a model.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Query<'a> {
    Order(Uuid),
    Stock(&'a str),
    Customer {
        id: &'a str,
        filter: &'a Filter,
        after: Option<After>,
        limit: u32,
    },
}

impl Query<'_> {
    /// Whether a model has what it takes to answer.
    pub(crate) const fn can_ask(&self, model: Model) -> bool {
        match self {
            Self::Order(_) | Self::Stock(_) => true,
            Self::Customer { .. } => matches!(model, Model::Postgres),
        }
    }

    /// The partitions that the answer depends on.
    pub(crate) fn partitions(&self, count: i32) -> Vec<TopicPartition> {
        match self {
            Self::Order(id) => vec![order_partition(*id, count)],
            Self::Stock(sku) => vec![stock_partition(sku, count)],
            Self::Customer { .. } => (0..count)
                .map(|partition| TopicPartition {
                    topic: Topic::Orders,
                    partition,
                })
                .collect(),
        }
    }
}

fn order_partition(id: Uuid, count: i32) -> TopicPartition {
    let mut buffer = Uuid::encode_buffer();
    let key = id.hyphenated().encode_lower(&mut buffer);
    TopicPartition {
        topic: Topic::Orders,
        partition: partition_of(key.as_bytes(), count),
    }
}

fn stock_partition(sku: &str, count: i32) -> TopicPartition {
    TopicPartition {
        topic: Topic::Stock,
        partition: partition_of(sku.as_bytes(), count),
    }
}

/// What a model answers, and the positions that it is as of.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) positions: Positions,
    pub(crate) body: Body,
}

/// What was found.
#[derive(Debug)]
pub(crate) enum Body {
    Document(Option<Document>),
    Page(Page),
}

/// The models of one system.
#[derive(Clone, Debug)]
pub(crate) struct Models {
    redis: RedisReader,
    postgres: PostgresReader,
    pub(crate) watchers: [Arc<Watcher>; 2],
    started: Instant,
    /// When each model failed last, in milliseconds since `started`; 0 for never.
    failed_at_ms: Arc<[AtomicU64; 2]>,
}

impl Models {
    pub(crate) fn new(
        database_url: &str,
        redis_url: &str,
        redis_prefix: &str,
        shutdown: &CancellationToken,
    ) -> Result<Self, StoreError> {
        let models = Self {
            redis: RedisReader::new(redis_url, redis_prefix)?,
            postgres: PostgresReader::new(database_url)?,
            watchers: [Arc::default(), Arc::default()],
            started: Instant::now(),
            failed_at_ms: Arc::default(),
        };
        for model in Model::ALL {
            let (watcher, asked, shutdown) = (
                Arc::clone(models.watcher(model)),
                models.clone(),
                shutdown.clone(),
            );
            tokio::spawn(async move {
                let watching = watcher.watch(|partitions| asked.positions(model, partitions));
                tokio::select! {
                    () = watching => {}
                    () = shutdown.cancelled() => {}
                }
            });
        }
        Ok(models)
    }

    pub(crate) const fn watcher(&self, model: Model) -> &Arc<Watcher> {
        &self.watchers[model as usize]
    }

    /// Whether a model failed a moment ago, so that another one is asked first.
    pub(crate) fn is_spared(&self, model: Model) -> bool {
        let failed = self.failed_at_ms[model as usize].load(Ordering::Relaxed);
        failed > 0 && self.now_ms() < failed + SPARE_MS
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Asks one model. `alone` where no other can answer.
    pub(crate) async fn ask(
        &self,
        model: Model,
        query: &Query<'_>,
        count: i32,
        alone: bool,
    ) -> Result<Found, StoreError> {
        let asked = match model {
            Model::Redis if !alone => {
                match tokio::time::timeout(REDIS_PATIENCE, self.ask_now(model, query, count)).await {
                    Ok(answer) => answer,
                    Err(_) => Err(StoreError::Slow),
                }
            }
            Model::Redis | Model::Postgres => self.ask_now(model, query, count).await,
        };
        if let Err(error) = &asked {
            metrics::failed(model);
            let before = self.failed_at_ms[model as usize].swap(self.now_ms().max(1), Ordering::Relaxed);
            if self.now_ms().saturating_sub(before) > 10_000 || before == 0 {
                tracing::warn!(model = model.name(), %error, "query.model.failed");
            }
        }
        asked
    }

    async fn ask_now(&self, model: Model, query: &Query<'_>, count: i32) -> Result<Found, StoreError> {
        match *query {
            Query::Order(id) => {
                let partition = order_partition(id, count);
                let reading = match model {
                    Model::Redis => self.redis.order(partition.partition, id).await?,
                    Model::Postgres => self.postgres.order(partition.partition, id).await?,
                };
                Ok(found(partition, reading))
            }
            Query::Stock(sku) => {
                let partition = stock_partition(sku, count);
                let reading = match model {
                    Model::Redis => self.redis.stock(partition.partition, sku).await?,
                    Model::Postgres => self.postgres.stock(partition.partition, sku).await?,
                };
                Ok(found(partition, reading))
            }
            Query::Customer {
                id,
                filter,
                after,
                limit,
            } => {
                let page = self.postgres.customer_orders(id, filter, after, limit).await?;
                Ok(Found {
                    positions: page.positions.clone(),
                    body: Body::Page(page),
                })
            }
        }
    }

    async fn positions(&self, model: Model, partitions: i32) -> Result<Positions, StoreError> {
        match model {
            Model::Redis => self.redis.positions(partitions).await,
            Model::Postgres => self.postgres.positions().await,
        }
    }

    /// Which log the models are made from, as either of them noted it.
    pub(crate) async fn deployment(&self) -> Option<Deployment> {
        match self.redis.deployment().await {
            Ok(Some(found)) => Some(found),
            _ => self.postgres.deployment().await.ok().flatten(),
        }
    }

    /// Whether any model answers; if not, why.
    pub(crate) async fn any_answers(&self, partitions: i32) -> Result<(), String> {
        let Err(redis) = self.positions(Model::Redis, partitions).await else {
            return Ok(());
        };
        let Err(postgres) = self.positions(Model::Postgres, partitions).await else {
            return Ok(());
        };
        Err(format!("{redis}; {postgres}"))
    }
}

fn found(partition: TopicPartition, reading: Reading) -> Found {
    let mut positions = Positions::new();
    positions.observe(partition, reading.position);
    Found {
        positions,
        body: Body::Document(reading.document),
    }
}
