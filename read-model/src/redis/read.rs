//! What queries ask of Redis. Which generation is live, its watermark and the document come from one `MGET`, and so from one
//! moment; reads of the same moment share it ([`super::batch`]).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ::redis::AsyncCommands;
use ::redis::aio::ConnectionManager;
use eventlog::{Checkpoint, Positions, Topic, TopicPartition};
use uuid::Uuid;

use super::batch::{Batches, Stored};
use super::keys::KeysOf;
use super::{Keys, connection, document, parse_watermark};
use crate::deployment::{self, Deployment};
use crate::reading::Reading;
use crate::store::StoreError;

/// How often a read that finds another generation live goes after it.
const ATTEMPTS_MAX: usize = 4;

/// The live generation of the model in Redis, for reading. Lists of a customer are not in it.
#[derive(Clone)]
pub struct RedisReader {
    connection: ConnectionManager,
    keys: Keys,
    /// The generation that was live when somebody last looked. Numbers begin with one.
    live: Arc<AtomicI32>,
    /// Begun with the first read.
    batches: Arc<OnceLock<Batches>>,
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
            live: Arc::default(),
            batches: Arc::default(),
        })
    }

    /// An order with its notes.
    pub async fn order(&self, partition: i32, order_id: Uuid) -> Result<Reading, StoreError> {
        let topic = Topic::Orders;
        self.read(TopicPartition { topic, partition }, &order_id).await
    }

    /// The stock of a SKU.
    pub async fn stock(&self, partition: i32, sku: &str) -> Result<Reading, StoreError> {
        let topic = Topic::Stock;
        self.read(TopicPartition { topic, partition }, &sku).await
    }

    async fn read(&self, partition: TopicPartition, id: &impl ToString) -> Result<Reading, StoreError> {
        let begin = || Batches::begin(&self.connection, &self.keys, &self.live);
        let batches = self.batches.get_or_init(begin);
        for _ in 0..ATTEMPTS_MAX {
            let Some(Stored { position, text }) = batches.ask(partition, id.to_string()).await? else {
                continue;
            };
            let document = text.map(|text| document(&text)).transpose()?;
            return Ok(Reading { position, document });
        }
        Err(StoreError::Moving)
    }

    /// Whether what was read with these keys is live; if not, the next ones are.
    ///
    /// # Errors
    /// [`StoreError::Absent`] where none is: the model was lost, and is being made again.
    fn is_live(&self, keys: &KeysOf, live: Option<i32>) -> Result<bool, StoreError> {
        let live = live.ok_or(StoreError::Absent)?;
        self.live.store(live, Ordering::Relaxed);
        Ok(live == keys.generation())
    }

    /// How far the model is, over all partitions.
    pub async fn positions(&self, partitions: i32) -> Result<Positions, StoreError> {
        let checkpoints = self.checkpoints(partitions).await?;
        Ok(checkpoints
            .into_iter()
            .map(|(partition, checkpoint)| (partition, checkpoint.next_offset))
            .collect())
    }

    /// Every watermark of the model: how far it is, with the link of the last effective record. A partition that is not there
    /// (yet) is not named.
    ///
    /// # Errors
    /// [`StoreError::Absent`] where none is: the model was lost, and is being made again.
    pub async fn checkpoints(&self, count: i32) -> Result<BTreeMap<TopicPartition, Checkpoint>, StoreError> {
        for _ in 0..ATTEMPTS_MAX {
            let keys = self.keys.of(self.live.load(Ordering::Relaxed));
            let mut pipeline = ::redis::pipe();
            for partition in TopicPartition::all(count) {
                pipeline.mget(&[self.keys.live(partition), keys.watermark(partition)]);
            }
            let found: Vec<(Option<i32>, Option<String>)> =
                pipeline.query_async(&mut self.connection.clone()).await?;
            if found.iter().all(|(live, _)| live.is_none()) {
                return Err(StoreError::Absent);
            }
            let (mut checkpoints, mut moved) = (BTreeMap::new(), false);
            for (partition, (live, text)) in TopicPartition::all(count).zip(found) {
                let Some(live) = live else { continue };
                moved |= !self.is_live(&keys, Some(live))?;
                if let Some(text) = text {
                    checkpoints.insert(partition, parse_watermark(&text)?);
                }
            }
            if !moved {
                return Ok(checkpoints);
            }
        }
        Err(StoreError::Moving)
    }

    /// How far a topic's partitions have been examined, with the link of the last effective record of each, by partition.
    ///
    /// # Errors
    /// [`StoreError::Absent`] where a partition has no watermark: the model was lost, or is being begun.
    pub async fn positions_with_links(
        &self,
        topic: Topic,
        count: i32,
    ) -> Result<Vec<(i32, Checkpoint)>, StoreError> {
        let mut found = self.checkpoints(count).await?;
        (0..count)
            .map(|partition| {
                let checkpoint = found.remove(&TopicPartition { topic, partition });
                Ok((partition, checkpoint.ok_or(StoreError::Absent)?))
            })
            .collect()
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
