//! What a projector does with Redis: one script for each partition of a batch, all on their way at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ::redis::aio::ConnectionManager;
use ::redis::{AsyncCommands, Script};
use eventlog::{Checkpoint, Topic, TopicPartition};
use futures::FutureExt;
use futures::future::try_join_all;
use uuid::Uuid;

use super::keys::{Keys, KeysOf};
use super::{connection, parse_watermark, read_order, read_stock, watermark, write_order, write_stock};
use crate::store::{Batch, Committed, KeptEvent, Move, Store, StoreError, Storing};
use crate::view::{Order, Stock};

/// Stores documents and watermark where the watermark is the one that the batch starts from.
const COMMIT: &str = "\
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
local pairs = {}
for i = 2, #KEYS do
  pairs[#pairs + 1] = KEYS[i]
  pairs[#pairs + 1] = ARGV[i + 1]
  if #pairs == 2000 then redis.call('MSET', unpack(pairs)) pairs = {} end
end
if #pairs > 0 then redis.call('MSET', unpack(pairs)) end
redis.call('SET', KEYS[1], ARGV[2])
return 1";

/// Begins a partition that has no watermark, if its generation is registered; the watermark that there is then.
const BEGIN: &str = "\
if redis.call('HEXISTS', KEYS[2], ARGV[2]) == 0 then return false end
redis.call('SET', KEYS[1], ARGV[1], 'NX')
return redis.call('GET', KEYS[1])";

/// Takes the watermark away where it is still this one.
const FORGET: &str = "\
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 1";

/// Removes documents of a partition that has no watermark; one that has got one is somebody's work.
const PURGE: &str = "\
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
for i = 2, #KEYS do redis.call('UNLINK', KEYS[i]) end
return 1";

/// How many keys one command looks at: Redis serves nobody else meanwhile.
const CHUNK: usize = 500;

/// A generation of the model in Redis, for writing.
pub struct RedisStore {
    connection: ConnectionManager,
    keys: KeysOf,
    commit: Arc<Script>,
    begin: Script,
    forget: Script,
    purge: Script,
}

impl std::fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisStore")
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}

impl RedisStore {
    /// Of one generation. Connects when it is first used.
    pub fn new(redis_url: &str, prefix: &str, generation: i32) -> Result<Self, StoreError> {
        Ok(Self {
            connection: connection(redis_url, Duration::from_secs(5))?,
            keys: Keys::new(prefix).of(generation),
            commit: Arc::new(Script::new(COMMIT)),
            begin: Script::new(BEGIN),
            forget: Script::new(FORGET),
            purge: Script::new(PURGE),
        })
    }

    /// The stored watermark of a partition. Where there is none, the model was lost or never there: what is left of it must not
    /// shine through, and then it begins.
    async fn checkpoint(&mut self, partition: TopicPartition) -> Result<Checkpoint, StoreError> {
        let key = self.keys.watermark(partition);
        if let Some(text) = self.connection.get::<_, Option<String>>(&key).await? {
            return parse_watermark(&text);
        }
        self.purge(partition).await?;
        // Somebody else may have begun meanwhile.
        let text: Option<String> = self
            .begin
            .key(&key)
            .key(self.keys.shared().registry())
            .arg(watermark(Checkpoint::BEGINNING))
            .arg(self.keys.generation())
            .invoke_async(&mut self.connection)
            .await?;
        parse_watermark(&text.ok_or(StoreError::Absent)?)
    }

    /// Removes what a model that has no watermark left behind.
    async fn purge(&mut self, partition: TopicPartition) -> Result<(), StoreError> {
        let (pattern, watermark) = (self.keys.pattern(partition), self.keys.watermark(partition));
        let mut cursor = 0_u64;
        loop {
            let (next, found): (u64, Vec<String>) = ::redis::cmd("SCAN")
                .arg(cursor)
                .arg("MATCH")
                .arg(&pattern)
                .arg("COUNT")
                .arg(CHUNK)
                .query_async(&mut self.connection)
                .await?;
            if !found.is_empty() {
                let mut call = self.purge.prepare_invoke();
                call.key(&watermark);
                for key in &found {
                    call.key(key);
                }
                let _: i64 = call.invoke_async(&mut self.connection).await?;
            }
            if next == 0 {
                return Ok(());
            }
            cursor = next;
        }
    }

    /// The values of these keys that are there. They need not share a slot, so each is asked for by itself, all at once.
    async fn get_all(&self, keys: Vec<String>) -> Result<Vec<String>, StoreError> {
        let mut values = Vec::with_capacity(keys.len());
        for chunk in keys.chunks(CHUNK) {
            let found = chunk.iter().map(|key| {
                let mut connection = self.connection.clone();
                async move { connection.get::<_, Option<String>>(key).await }
            });
            values.extend(try_join_all(found).await?.into_iter().flatten());
        }
        Ok(values)
    }

    /// What the script is called with for one partition of a batch.
    fn call(&self, step: &Move, batch: &Batch<'_>) -> Result<Call, StoreError> {
        let number = step.partition.partition;
        let mut call = Call {
            keys: vec![self.keys.watermark(step.partition)],
            values: vec![watermark(step.from), watermark(step.to)],
        };
        match step.partition.topic {
            Topic::Orders => {
                let orders = batch.placed.iter().chain(&batch.orders);
                for (_, order) in orders.filter(|(partition, _)| *partition == number) {
                    call.keys.push(self.keys.order(number, order.view.order_id));
                    call.values.push(write_order(order)?);
                }
            }
            Topic::Stock => {
                for (_, stock) in batch.stock.iter().filter(|(partition, _)| *partition == number) {
                    call.keys.push(self.keys.stock(number, &stock.view.sku));
                    call.values.push(write_stock(stock)?);
                }
            }
        }
        Ok(call)
    }
}

/// The commit of one partition.
struct Call {
    keys: Vec<String>,
    values: Vec<String>,
}

impl Call {
    async fn make(self, script: &Script, connection: &ConnectionManager) -> Result<bool, StoreError> {
        let mut call = script.prepare_invoke();
        for key in self.keys {
            call.key(key);
        }
        for value in self.values {
            call.arg(value);
        }
        let stored: i64 = call.invoke_async(&mut connection.clone()).await?;
        Ok(stored == 1)
    }
}

impl Store for RedisStore {
    const MODEL: &'static str = "redis";
    const KEEPS_HISTORY: bool = false;
    /// A partition's share of it is one script, while which Redis serves nobody else.
    const HELD_WEIGHT_MAX: usize = 150_000;

    async fn checkpoints(
        &mut self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, Checkpoint>, StoreError> {
        let mut found = BTreeMap::new();
        for partition in partitions {
            found.insert(*partition, self.checkpoint(*partition).await?);
        }
        Ok(found)
    }

    async fn reset(&mut self, partition: TopicPartition, found: Checkpoint) -> Result<(), StoreError> {
        let mut call = self.forget.prepare_invoke();
        call.key(self.keys.watermark(partition)).arg(watermark(found));
        let _: i64 = call.invoke_async(&mut self.connection).await?;
        self.checkpoint(partition).await.map(|_| ())
    }

    async fn load_orders(&mut self, ids: &[(i32, Uuid)]) -> Result<Vec<Order>, StoreError> {
        let keys = ids
            .iter()
            .map(|(partition, id)| self.keys.order(*partition, *id))
            .collect();
        self.get_all(keys)
            .await?
            .iter()
            .map(|text| read_order(text))
            .collect()
    }

    async fn load_stock(&mut self, skus: &[(i32, String)]) -> Result<Vec<Stock>, StoreError> {
        let keys = skus
            .iter()
            .map(|(partition, sku)| self.keys.stock(*partition, sku))
            .collect();
        self.get_all(keys)
            .await?
            .iter()
            .map(|text| read_stock(text))
            .collect()
    }

    async fn take_in(&mut self, _events: &[KeptEvent<'_>]) -> Result<(), StoreError> {
        Ok(())
    }

    fn prepare(&mut self, batch: &Batch<'_>) -> Result<Storing, StoreError> {
        let calls: Vec<Call> = batch
            .moves
            .iter()
            .map(|step| self.call(step, batch))
            .collect::<Result<_, _>>()?;
        let (script, connection) = (Arc::clone(&self.commit), self.connection.clone());
        Ok(async move {
            let stored = calls.into_iter().map(|call| call.make(&script, &connection));
            Ok(if try_join_all(stored).await?.into_iter().all(|stored| stored) {
                Committed::Yes
            } else {
                Committed::Superseded
            })
        }
        .boxed())
    }
}
