//! Batches, against a Redis that is a map.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use ::redis::{Arg, Cmd, ErrorKind, RedisError, RedisFuture, Value};
use eventlog::{Checkpoint, Link, Topic};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::*;
use crate::redis::watermark;

const PATIENCE: Duration = Duration::from_secs(10);

/// Values by their keys, the commands that were sent, each with its keys, and how many pipelines may be answered.
#[derive(Clone)]
struct Fake {
    values: Arc<Mutex<HashMap<String, String>>>,
    sent: Arc<Mutex<Vec<Vec<Vec<String>>>>>,
    gate: Arc<Semaphore>,
    breaks: Arc<Mutex<bool>>,
}

impl ConnectionLike for Fake {
    fn req_packed_command<'a>(&'a mut self, _: &'a Cmd) -> RedisFuture<'a, Value> {
        unreachable!("batches are pipelines")
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        _: usize,
        _: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        let commands: Vec<Vec<String>> = pipeline.cmd_iter().map(words).collect();
        self.sent.lock().unwrap().push(commands.clone());
        Box::pin(async move {
            self.gate.acquire().await.unwrap().forget();
            if *self.breaks.lock().unwrap() {
                return Err(RedisError::from((ErrorKind::Io, "it is gone")));
            }
            let values = self.values.lock().unwrap();
            let value = |key: &String| match values.get(key) {
                Some(value) => Value::BulkString(value.clone().into_bytes()),
                None => Value::Nil,
            };
            let reply = |command: &Vec<String>| Value::Array(command[1..].iter().map(value).collect());
            Ok(commands.iter().map(reply).collect())
        })
    }

    fn get_db(&self) -> i64 {
        0
    }
}

fn words(command: &Cmd) -> Vec<String> {
    let word = |arg: Arg<&[u8]>| match arg {
        Arg::Simple(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
        _ => unreachable!("names of keys are all there is"),
    };
    command.args_iter().map(word).collect()
}

fn at(partition: i32) -> TopicPartition {
    let topic = Topic::Stock;
    TopicPartition { topic, partition }
}

fn stored(position: i64, text: Option<&str>) -> Stored {
    let text = text.map(str::to_owned);
    Stored { position, text }
}

impl Fake {
    /// Generation 1 is live in two partitions, at 10 and 11, with SKU `a` in the first.
    fn new(permits: usize) -> Self {
        let fake = Self {
            values: Arc::default(),
            sent: Arc::default(),
            gate: Arc::new(Semaphore::new(permits)),
            breaks: Arc::default(),
        };
        let keys = Keys::new("t").of(1);
        for (partition, next_offset) in [(0, 10), (1, 11)] {
            let checkpoint = Checkpoint {
                next_offset,
                last_offset: 0,
                link: Link([1; 16]),
            };
            fake.set(keys.shared().live(at(partition)), "1");
            fake.set(keys.watermark(at(partition)), &watermark(checkpoint));
        }
        fake.set(keys.stock(0, "a"), "of a");
        fake
    }

    fn set(&self, key: String, value: &str) {
        self.values.lock().unwrap().insert(key, value.to_owned());
    }

    fn begin(&self, live: i32) -> Batches {
        Batches::begin(self, &Keys::new("t"), &Arc::new(AtomicI32::new(live)))
    }

    /// Waits until so many pipelines were sent.
    async fn until_sent(&self, pipelines: usize) {
        while self.sent.lock().unwrap().len() < pipelines {
            tokio::task::yield_now().await;
        }
    }
}

fn spawn(batches: &Batches, partition: i32, id: &str) -> JoinHandle<Answer> {
    let (batches, id) = (batches.clone(), id.to_owned());
    tokio::spawn(async move { batches.ask(at(partition), id).await })
}

#[tokio::test]
async fn reads_of_one_moment_share_one_mget_for_each_partition() {
    let fake = Fake::new(1);
    let batches = fake.begin(1);
    let reads =
        [(0, "a"), (1, "x"), (0, "b"), (0, "a")].map(|(partition, id)| spawn(&batches, partition, id));
    let [a, x, b, again] = reads;
    assert_eq!(a.await.unwrap().unwrap(), Some(stored(10, Some("of a"))));
    assert_eq!(x.await.unwrap().unwrap(), Some(stored(11, None)));
    assert_eq!(b.await.unwrap().unwrap(), Some(stored(10, None)));
    assert_eq!(again.await.unwrap().unwrap(), Some(stored(10, Some("of a"))));
    let sent = fake.sent.lock().unwrap().clone();
    assert_eq!(sent.len(), 1, "one pipeline: {sent:?}");
    let keys = Keys::new("t").of(1);
    for (command, (partition, documents)) in sent[0].iter().zip([(0, 3), (1, 1)]) {
        let shared = [
            "MGET".to_owned(),
            keys.shared().live(at(partition)),
            keys.watermark(at(partition)),
        ];
        assert_eq!(command[..3], shared);
        assert_eq!(command.len(), 3 + documents);
    }
}

#[tokio::test]
async fn who_goes_away_harms_nobody_and_is_not_asked_for() {
    let fake = Fake::new(0);
    let batches = fake.begin(1);
    let mut hanging = Vec::new();
    for batch in 1..=UNDER_WAY {
        hanging.push(spawn(&batches, 0, "a"));
        fake.until_sent(batch).await;
    }
    let gone = [spawn(&batches, 0, "gone"), spawn(&batches, 1, "gone")];
    let stays = spawn(&batches, 1, "stays");
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    gone.iter().for_each(JoinHandle::abort);
    hanging[0].abort();
    for gone in gone {
        assert!(gone.await.unwrap_err().is_cancelled());
    }
    fake.gate.add_permits(UNDER_WAY + 1);
    let answer = tokio::time::timeout(PATIENCE, stays).await.unwrap();
    assert_eq!(answer.unwrap().unwrap(), Some(stored(11, None)));
    let sent = fake.sent.lock().unwrap().clone();
    let keys: Vec<&String> = sent.iter().flatten().flatten().collect();
    assert!(keys.iter().any(|key| key.ends_with(":stays")));
    assert!(!keys.iter().any(|key| key.ends_with(":gone")), "{keys:?}");
}

#[tokio::test]
async fn an_error_is_told_to_all_of_the_batch_and_the_next_one_goes() {
    let fake = Fake::new(1);
    *fake.breaks.lock().unwrap() = true;
    let batches = fake.begin(1);
    for read in [spawn(&batches, 0, "a"), spawn(&batches, 1, "b")] {
        assert!(matches!(read.await.unwrap(), Err(StoreError::Redis(_))));
    }
    *fake.breaks.lock().unwrap() = false;
    fake.gate.add_permits(1);
    let answer = batches.ask(at(0), "a".to_owned()).await.unwrap();
    assert_eq!(answer, Some(stored(10, Some("of a"))));
}

#[tokio::test]
async fn what_is_of_another_generation_or_of_none_is_no_answer() {
    let fake = Fake::new(100);
    let keys = Keys::new("t");
    fake.values.lock().unwrap().remove(&keys.live(at(1)));
    let batches = fake.begin(0);
    let [moved, absent] = [spawn(&batches, 0, "a"), spawn(&batches, 1, "a")];
    assert_eq!(
        moved.await.unwrap().unwrap(),
        None,
        "nobody knew which one is live"
    );
    assert!(matches!(absent.await.unwrap(), Err(StoreError::Absent)));
    let again = batches.ask(at(0), "a".to_owned()).await.unwrap();
    assert_eq!(again, Some(stored(10, Some("of a"))));

    fake.set(keys.live(at(0)), "2");
    fake.set(keys.of(2).stock(0, "a"), "of another");
    assert_eq!(batches.ask(at(0), "a".to_owned()).await.unwrap(), None);
    let without_watermark = batches.ask(at(0), "a".to_owned()).await;
    assert!(matches!(without_watermark, Err(StoreError::Absent)));
}

#[tokio::test]
async fn more_than_a_batch_holds_goes_with_the_next_ones() {
    let fake = Fake::new(100);
    let batches = fake.begin(1);
    let reads: Vec<_> = (0..3 * BATCH_MAX)
        .map(|read| spawn(&batches, 0, &read.to_string()))
        .collect();
    for read in reads {
        assert_eq!(read.await.unwrap().unwrap(), Some(stored(10, None)));
    }
    let sent = fake.sent.lock().unwrap().clone();
    assert!(sent.len() >= 3, "{} batches", sent.len());
    assert!(
        sent.iter()
            .flatten()
            .all(|command| command.len() <= 3 + BATCH_MAX)
    );
}
