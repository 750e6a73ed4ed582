//! The two models, asked the same way, and what is known of how they are. [`query`] is what can be asked.

mod query;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use eventlog::{Checkpoint, Positions, Topic, TopicPartition};
use read_model::deployment::Deployment;
use read_model::postgres::{Events, Page, PostgresReader};
use read_model::redis::RedisReader;
use read_model::{Document, Reading, StoreError};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub(crate) use query::{Query, order_partition};

use crate::documents;
use crate::metrics;
use crate::watcher::Watcher;
use query::stock_partition;

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
    /// What is of no single aggregate.
    Json(String),
}

/// The models of one system.
#[derive(Clone, Debug)]
pub(crate) struct Models {
    redis: RedisReader,
    postgres: PostgresReader,
    /// What the topics' names begin with.
    topics_prefix: Arc<str>,
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
        topics_prefix: &str,
        shutdown: &CancellationToken,
    ) -> Result<Self, StoreError> {
        let models = Self {
            redis: RedisReader::new(redis_url, redis_prefix)?,
            postgres: PostgresReader::new(database_url)?,
            topics_prefix: topics_prefix.into(),
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

    /// The event topic of that name.
    pub(crate) fn topic(&self, name: &str) -> Option<Topic> {
        Topic::ALL
            .into_iter()
            .find(|topic| topic.name(&self.topics_prefix) == name)
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
        query: &Query,
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

    async fn ask_now(&self, model: Model, query: &Query, count: i32) -> Result<Found, StoreError> {
        match query {
            Query::Order(id) => {
                let (id, partition) = (*id, order_partition(*id, count));
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
                // One more than the page, to know whether there is another.
                let page = self
                    .postgres
                    .customer_orders(id, filter, *after, limit + 1)
                    .await?;
                Ok(Found {
                    positions: page.positions.clone(),
                    body: Body::Page(page),
                })
            }
            Query::History(id) => {
                let (id, partition) = (*id, order_partition(*id, count));
                let history = self.postgres.history(partition.partition, id).await?;
                let reading = Reading {
                    position: history.position,
                    document: documents::history(&history.events, &self.topics_prefix)?,
                };
                Ok(found(partition, reading))
            }
            Query::OrderAt(id, at) => {
                let (id, partition) = (*id, order_partition(*id, count));
                let reading = self.postgres.order_at(partition.partition, id, *at).await?;
                Ok(found(partition, reading))
            }
            Query::Positions(topic) => {
                let places = match model {
                    Model::Redis => self.redis.positions_with_links(*topic, count).await?,
                    Model::Postgres => self.postgres.positions_with_links(*topic).await?,
                };
                let at = |(partition, place): &(i32, Checkpoint)| {
                    let (topic, partition) = (*topic, *partition);
                    (TopicPartition { topic, partition }, place.next_offset)
                };
                Ok(Found {
                    positions: places.iter().map(at).collect(),
                    body: Body::Json(documents::positions(*topic, &self.topics_prefix, &places, count)?),
                })
            }
            Query::Sales { sku, from, to } => {
                let sales = self.postgres.sales(sku, *from, *to).await?;
                Ok(Found {
                    positions: sales.positions,
                    body: Body::Json(documents::sales(sku, sales.days)?),
                })
            }
            Query::Top(period) => {
                let top = self.postgres.top(*period).await?;
                Ok(Found {
                    positions: top.positions,
                    body: Body::Json(documents::top(*period, top.products)?),
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

    /// How far a model is in each partition, with the link that says of which log.
    pub(crate) async fn checkpoints(
        &self,
        model: Model,
        partitions: i32,
    ) -> Result<BTreeMap<TopicPartition, Checkpoint>, StoreError> {
        match model {
            Model::Redis => self.redis.checkpoints(partitions).await,
            Model::Postgres => self.postgres.checkpoints().await,
        }
    }

    /// The next kept events of a partition, or of one order in it, from an offset on, at most so many.
    pub(crate) async fn events(
        &self,
        order: Option<Uuid>,
        partition: i32,
        from: i64,
        limit: u32,
    ) -> Result<Events, StoreError> {
        match order {
            Some(id) => self.postgres.order_events_after(id, partition, from, limit).await,
            None => self.postgres.events_after(partition, from, limit).await,
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
