//! Generations in Redis: a field each in a hash, and in every partition's slot which one is read.
//!
//! Whatever concerns all of them is one script, so that it happens at one instant.

use std::time::Duration;

use ::redis::aio::ConnectionManager;
use ::redis::{AsyncCommands, Script};
use eventlog::{Checkpoint, LogId, Positions, TopicPartition};

use super::{Keys, RedisStore, connection, parse_watermark, watermark};
use crate::compare::{Comparison, Part};
use crate::generations::{Generation, Generations, MODEL_VERSION, live};
use crate::store::StoreError;

/// Begins a generation: registers it, and each partition at its beginning. ARGV: whether only where none ever was, the
/// watermark; KEYS: the registry, and each slot's `live`, which tells the slot.
const CREATE: &str = "\
if ARGV[1] == '1' and redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
local number = redis.call('HINCRBY', KEYS[1], 'made', 1)
redis.call('HSET', KEYS[1], number, 'filling')
for i = 2, #KEYS do
  redis.call('SET', string.gsub(KEYS[i], 'live$', number .. ':wm'), ARGV[2])
end
return number";

/// Filling becomes ready, if it is there.
const COMPLETE: &str = "\
if redis.call('HGET', KEYS[1], ARGV[1]) == 'filling' then redis.call('HSET', KEYS[1], ARGV[1], 'ready') end
return 1";

/// Makes one live in the registry and in all slots.
const SWITCH: &str = "\
local state = redis.call('HGET', KEYS[1], ARGV[1])
if state ~= 'ready' and state ~= 'kept' and state ~= 'live' then return 0 end
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  if all[i + 1] == 'live' then redis.call('HSET', KEYS[1], all[i], 'kept') end
end
redis.call('HSET', KEYS[1], ARGV[1], 'live')
for i = 2, #KEYS do redis.call('SET', KEYS[i], ARGV[1]) end
return 1";

/// Has every slot read the live one, if it still is that: somebody may have switched since it was looked at.
const MEND: &str = "\
if redis.call('HGET', KEYS[1], ARGV[1]) ~= 'live' then return 0 end
for i = 2, #KEYS do redis.call('SET', KEYS[i], ARGV[1]) end
return 1";

/// Takes one out of the registry, with its watermarks: nobody can write it from then on. ARGV: which, and whether it stays
/// where it is live.
const DISCARD: &str = "\
local state = redis.call('HGET', KEYS[1], ARGV[1])
if state == 'live' and ARGV[2] == '1' then return 0 end
redis.call('HDEL', KEYS[1], ARGV[1])
for i = 2, #KEYS do redis.call('UNLINK', KEYS[i]) end
return 1";

/// How many keys one command looks at: Redis serves nobody else meanwhile.
const CHUNK: usize = 1_000;

/// The generations of the model in Redis.
#[derive(Clone)]
pub struct RedisGenerations {
    url: String,
    prefix: String,
    pub(super) connection: ConnectionManager,
    pub(super) keys: Keys,
    partitions: i32,
}

impl std::fmt::Debug for RedisGenerations {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("RedisGenerations")
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}

impl RedisGenerations {
    /// Of a log with so many partitions. Connects when it is first used.
    pub fn new(redis_url: &str, prefix: &str, partitions: i32) -> Result<Self, StoreError> {
        Ok(Self {
            url: redis_url.to_owned(),
            prefix: prefix.to_owned(),
            connection: connection(redis_url, Duration::from_secs(5))?,
            keys: Keys::new(prefix),
            partitions,
        })
    }

    /// Notes which log the model is made from, for query services that start while Kafka is down.
    pub async fn store_deployment(&self, log_id: LogId) -> Result<(), StoreError> {
        let mut value = self.partitions.to_be_bytes().to_vec();
        value.extend(log_id.0);
        Ok(self.connection.clone().set(self.keys.deployment(), value).await?)
    }

    /// Calls a script with the registry and the keys that `of` makes for each partition.
    async fn call(
        &self,
        keys: &Keys,
        script: &str,
        of: impl Fn(&Keys, eventlog::TopicPartition) -> String,
        args: &[&str],
    ) -> Result<i64, StoreError> {
        let script = Script::new(script);
        let mut call = script.prepare_invoke();
        call.key(keys.registry());
        for partition in TopicPartition::all(self.partitions) {
            call.key(of(keys, partition));
        }
        for arg in args {
            call.arg(*arg);
        }
        Ok(call.invoke_async(&mut self.connection.clone()).await?)
    }

    async fn make(&self, first: bool) -> Result<i64, StoreError> {
        let args = [if first { "1" } else { "0" }, &watermark(Checkpoint::BEGINNING)];
        self.call(&self.keys, CREATE, Keys::live, &args).await
    }

    /// The generations of a version.
    async fn of_version(&self, version: i32) -> Result<Vec<Generation>, StoreError> {
        let registry = Keys::of_version(&self.prefix, version).registry();
        let fields: Vec<(String, String)> = self.connection.clone().hgetall(registry).await?;
        let mut all = Vec::new();
        for (field, state) in fields {
            if let Ok(number) = field.parse() {
                all.push(Generation {
                    number,
                    version,
                    state: state.parse()?,
                });
            }
        }
        all.sort_by_key(|one| one.number);
        Ok(all)
    }

    /// How far a generation is.
    pub(super) async fn place(&self, keys: &Keys, number: i32) -> Result<Positions, StoreError> {
        let keys = keys.of(number);
        let names: Vec<String> = TopicPartition::all(self.partitions)
            .map(|at| keys.watermark(at))
            .collect();
        let texts: Vec<Option<String>> = self.connection.clone().mget(names).await?;
        let mut positions = Positions::new();
        for (partition, text) in TopicPartition::all(self.partitions).zip(texts) {
            if let Some(text) = text {
                positions.observe(partition, parse_watermark(&text)?.next_offset);
            }
        }
        Ok(positions)
    }

    /// Removes what no generation owns that there is.
    async fn sweep(&self, version: i32) -> Result<(), StoreError> {
        let mut connection = self.connection.clone();
        let keys = Keys::of_version(&self.prefix, version);
        let there: Vec<i32> = self
            .of_version(version)
            .await?
            .iter()
            .map(|one| one.number)
            .collect();
        let mut cursor = 0_u64;
        loop {
            let (next, found): (u64, Vec<String>) = ::redis::cmd("SCAN")
                .arg(cursor)
                .arg("MATCH")
                .arg(keys.all())
                .arg("COUNT")
                .arg(CHUNK)
                .query_async(&mut connection)
                .await?;
            let strays: Vec<String> = found
                .into_iter()
                .filter(|key| Keys::generation(key).is_some_and(|number| !there.contains(&number)))
                .collect();
            if !strays.is_empty() {
                let _: i64 = connection.unlink(strays).await?;
            }
            if next == 0 {
                return Ok(());
            }
            cursor = next;
        }
    }
}

impl Generations for RedisGenerations {
    const MODEL: &'static str = "redis";
    type Store = RedisStore;

    fn store(&self, number: i32) -> Result<RedisStore, StoreError> {
        RedisStore::new(&self.url, &self.prefix, number)
    }

    async fn list(&self) -> Result<Vec<Generation>, StoreError> {
        let mut all = Vec::new();
        for version in 1..=MODEL_VERSION {
            all.extend(self.of_version(version).await?);
        }
        Ok(all)
    }

    /// The first one is filled before it is read, as it may be the first one after everything was lost.
    async fn begin(&self) -> Result<(), StoreError> {
        self.make(true).await.map(|_| ())
    }

    async fn create(&self) -> Result<i32, StoreError> {
        let number = self.make(false).await?;
        i32::try_from(number).map_err(|_| StoreError::Corrupt(format!("generation {number}")))
    }

    async fn positions(&self, one: Generation) -> Result<Positions, StoreError> {
        let keys = Keys::of_version(&self.prefix, one.version);
        self.place(&keys, one.number).await
    }

    async fn complete(&self, number: i32) -> Result<(), StoreError> {
        let number = number.to_string();
        self.call(&self.keys, COMPLETE, Keys::live, &[&number])
            .await
            .map(|_| ())
    }

    async fn is_whole(&self, number: i32) -> Result<bool, StoreError> {
        let names: Vec<String> = TopicPartition::all(self.partitions)
            .map(|at| self.keys.live(at))
            .collect();
        let found: Vec<Option<i32>> = self.connection.clone().mget(names).await?;
        Ok(found.iter().all(|found| *found == Some(number)))
    }

    async fn mend(&self, live: i32) -> Result<(), StoreError> {
        self.call(&self.keys, MEND, Keys::live, &[&live.to_string()])
            .await
            .map(|_| ())
    }

    /// There are no sums in it.
    async fn compare(
        &self,
        old: i32,
        new: i32,
        part: Part,
        ready: impl Future<Output = ()> + Send,
    ) -> Result<Comparison, StoreError> {
        match part {
            Part::Rows => self.compared(old, new, ready).await,
            Part::Sums => Ok(Comparison::default()),
        }
    }

    async fn switch(&self, number: i32) -> Result<(), StoreError> {
        let text = number.to_string();
        match self.call(&self.keys, SWITCH, Keys::live, &[&text]).await? {
            1 => Ok(()),
            _ => Err(StoreError::Refused(format!(
                "generation {number} is not ready to be read"
            ))),
        }
    }

    async fn discard(&self, one: Generation) -> Result<(), StoreError> {
        let live = live(&self.list().await?);
        if live.is_none_or(|live| live == one) {
            return Err(StoreError::Refused(format!(
                "generation {} stays, as it is read, or nothing else can be read yet",
                one.number
            )));
        }
        let (keys, number) = (Keys::of_version(&self.prefix, one.version), one.number);
        let of = |keys: &Keys, partition| keys.of(number).watermark(partition);
        let ours = if one.is_ours() { "1" } else { "0" };
        let args = [number.to_string(), ours.to_owned()];
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        match self.call(&keys, DISCARD, of, &args).await? {
            1 => self.sweep(one.version).await,
            _ => Err(StoreError::Refused(format!(
                "generation {number} stays, as it is read"
            ))),
        }
    }
}
