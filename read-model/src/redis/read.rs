//! What queries ask of Redis. Watermark and document come from one `MGET`, and so from one moment.

use std::time::Duration;

use ::redis::AsyncCommands;
use ::redis::aio::ConnectionManager;
use eventlog::{Positions, Topic, TopicPartition};
use uuid::Uuid;

use super::{Keys, connection, document, parse_watermark};
use crate::deployment::{self, Deployment};
use crate::reading::Reading;
use crate::store::StoreError;

/// The model in Redis, for reading. Lists of a customer are not in it.
#[derive(Clone)]
pub struct RedisReader {
    connection: ConnectionManager,
    keys: Keys,
}

impl std::fmt::Debug for RedisReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisReader")
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}

impl RedisReader {
    /// Connects when it is first used.
    pub fn new(redis_url: &str, prefix: &str) -> Result<Self, StoreError> {
        Ok(Self {
            connection: connection(redis_url, Duration::from_secs(1))?,
            keys: Keys::new(prefix),
        })
    }

    /// An order with its notes.
    pub async fn order(&self, partition: i32, order_id: Uuid) -> Result<Reading, StoreError> {
        self.read(
            TopicPartition {
                topic: Topic::Orders,
                partition,
            },
            self.keys.order(partition, order_id),
        )
        .await
    }

    /// The stock of a SKU.
    pub async fn stock(&self, partition: i32, sku: &str) -> Result<Reading, StoreError> {
        self.read(
            TopicPartition {
                topic: Topic::Stock,
                partition,
            },
            self.keys.stock(partition, sku),
        )
        .await
    }

    async fn read(&self, partition: TopicPartition, key: String) -> Result<Reading, StoreError> {
        let (watermark, text): (Option<String>, Option<String>) = self
            .connection
            .clone()
            .mget(&[self.keys.watermark(partition), key])
            .await?;
        // Without a watermark there is no model, whatever is left of one: another model must answer.
        let watermark = watermark.ok_or(StoreError::Absent)?;
        let position = parse_watermark(&watermark)?.next_offset;
        let document = text.map(|text| document(&text)).transpose()?;
        Ok(Reading { position, document })
    }

    /// How far the model is, over all partitions.
    pub async fn positions(&self, partitions: i32) -> Result<Positions, StoreError> {
        let all: Vec<TopicPartition> = Topic::ALL
            .into_iter()
            .flat_map(|topic| (0..partitions).map(move |partition| TopicPartition { topic, partition }))
            .collect();
        let mut pipeline = ::redis::pipe();
        for partition in &all {
            pipeline.get(self.keys.watermark(*partition));
        }
        let texts: Vec<Option<String>> = pipeline.query_async(&mut self.connection.clone()).await?;
        let mut positions = Positions::new();
        for (partition, text) in all.into_iter().zip(texts) {
            if let Some(text) = text {
                positions.observe(partition, parse_watermark(&text)?.next_offset);
            }
        }
        Ok(positions)
    }

    /// Which log the model is made from.
    pub async fn deployment(&self) -> Result<Option<Deployment>, StoreError> {
        let value: Option<Vec<u8>> = self.connection.clone().get(self.keys.deployment()).await?;
        let Some(value) = value else { return Ok(None) };
        let (partitions, id) = value
            .split_first_chunk::<4>()
            .ok_or_else(|| StoreError::Corrupt("the deployment is too short".to_owned()))?;
        deployment::of(id, i32::from_be_bytes(*partitions)).map(Some)
    }
}
