//! Reads that are asked for at the same moment go to Redis together.
//!
//! A read by itself costs little at Redis and much on the way: a message to the connection's task, two wake-ups, a system call
//! each way. Under load many are asked for while one is on its way, so whoever takes the next batch takes all of them. There
//! is no waiting for more to come: a read that is alone goes alone.
//!
//! A batch is one pipeline, with one `MGET` for each partition in it: which generation is live, the watermark, and every document
//! that is asked for. So each document still comes from the same moment as what it is judged by.
//!
//! Everything is bounded: the reads that wait, those of a batch, and the batches under way. Where Redis hangs, a batch ends with the
//! connection's timeout, and by then those who gave up are not asked for any more. What went wrong is told to all in the batch.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use ::redis::aio::ConnectionLike;
use ::redis::{Pipeline, RedisResult};
use eventlog::TopicPartition;
use tokio::sync::{Mutex, mpsc, oneshot};

use super::keys::KeysOf;
use super::{Keys, parse_watermark};
use crate::store::StoreError;

/// Reads of one batch. More would cost hardly less each, and while Redis looks up all that anybody asked for, nobody is
/// left to answer in the meantime.
const BATCH_MAX: usize = 32;
/// Reads that wait for one. Who comes then waits for room.
const WAITING_MAX: usize = 1024;
/// Batches that are under way at the same time: while Redis answers one, the next is made.
const UNDER_WAY: usize = 2;

/// What is stored of a document, and where the model stood.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stored {
    /// The first offset that the model had not examined.
    pub(super) position: i64,
    /// The document as it is stored, if there is one.
    pub(super) text: Option<String>,
}

/// None where another generation is live than the one that was looked at.
type Answer = Result<Option<Stored>, StoreError>;

struct Ask {
    partition: TopicPartition,
    /// What the document's key ends with.
    id: String,
    answer: oneshot::Sender<Answer>,
}

/// Takes reads. They are carried out as long as there is one of these.
#[derive(Clone, Debug)]
pub(super) struct Batches(mpsc::Sender<Ask>);

impl Batches {
    /// Begins, on the runtime that it is called on. `live` is the generation that was live when somebody last looked.
    pub(super) fn begin<C>(connection: &C, keys: &Keys, live: &Arc<AtomicI32>) -> Self
    where
        C: ConnectionLike + Clone + Send + 'static,
    {
        let (asks, taken) = mpsc::channel(WAITING_MAX);
        let taken = Arc::new(Mutex::new(taken));
        for _ in 0..UNDER_WAY {
            let batch = Batch {
                names: Names::new(keys.of(live.load(Ordering::Relaxed))),
                connection: connection.clone(),
                live: Arc::clone(live),
            };
            tokio::spawn(carry_out(Arc::clone(&taken), batch));
        }
        Self(asks)
    }

    /// A document of a partition, by what its key ends with; none where another generation is live than before.
    pub(super) async fn ask(&self, partition: TopicPartition, id: String) -> Answer {
        let (answer, answered) = oneshot::channel();
        let ask = Ask {
            partition,
            id,
            answer,
        };
        // Both fail only where the runtime ends.
        self.0.send(ask).await.map_err(|_| StoreError::Slow)?;
        answered.await.unwrap_or(Err(StoreError::Slow))
    }
}

/// One batch after the other, until nobody can ask any more.
async fn carry_out<C: ConnectionLike>(taken: Arc<Mutex<mpsc::Receiver<Ask>>>, mut batch: Batch<C>) {
    let mut asks = Vec::with_capacity(BATCH_MAX);
    loop {
        {
            let mut taken = taken.lock().await;
            if taken.recv_many(&mut asks, BATCH_MAX).await == 0 {
                return;
            }
            // Requests that are ready to run get to ask, too.
            tokio::task::yield_now().await;
            while asks.len() < BATCH_MAX
                && let Ok(more) = taken.try_recv()
            {
                asks.push(more);
            }
        }
        asks.retain(|ask| !ask.answer.is_closed());
        asks.sort_unstable_by_key(|ask| ask.partition);
        if !asks.is_empty() {
            batch.answer(&mut asks).await;
        }
    }
}

/// What batches are made with.
struct Batch<C> {
    connection: C,
    names: Names,
    live: Arc<AtomicI32>,
}

impl<C: ConnectionLike> Batch<C> {
    /// Answers all of them, which are in the order of their partitions. None is left over.
    async fn answer(&mut self, asks: &mut Vec<Ask>) {
        let generation = self.live.load(Ordering::Relaxed);
        self.names.turn_to(generation);
        let pipeline = self.names.pipeline(asks);
        let replies: RedisResult<Vec<Vec<Option<String>>>> = pipeline.query_async(&mut self.connection).await;
        let replies = match replies {
            Ok(replies) => replies,
            Err(error) => {
                for ask in asks.drain(..) {
                    // Here and below: who asked may have gone.
                    let _ = ask.answer.send(Err(error.clone().into()));
                }
                return;
            }
        };
        let mut asks = asks.drain(..).peekable();
        for reply in replies {
            let mut reply = reply.into_iter();
            let (live, watermark) = (reply.next().flatten(), reply.next().flatten());
            let Some(partition) = asks.peek().map(|ask| ask.partition) else {
                return;
            };
            let judge = || self.judge(generation, live.as_deref(), watermark.as_deref());
            let position = judge();
            while let Some(ask) = asks.next_if(|ask| ask.partition == partition) {
                let answer = match (&position, reply.next()) {
                    (Ok(Some(position)), Some(text)) => Ok(Some(Stored {
                        position: *position,
                        text,
                    })),
                    (Ok(Some(_)), None) => Err(StoreError::Corrupt("a reply is too short".to_owned())),
                    // An error cannot be copied; it is there again.
                    (Ok(None) | Err(_), _) => judge().map(|_| None),
                };
                let _ = ask.answer.send(answer);
            }
        }
    }

    /// As of where it is what was read of a generation; none where that is not the live one.
    ///
    /// # Errors
    /// [`StoreError::Absent`] where none is: the model was lost, and is being made again. Without a watermark there is no model,
    /// either, whatever is left of one.
    fn judge(
        &self,
        generation: i32,
        live: Option<&str>,
        watermark: Option<&str>,
    ) -> Result<Option<i64>, StoreError> {
        let live = live.ok_or(StoreError::Absent)?;
        let live = live
            .parse()
            .map_err(|_| StoreError::Corrupt(format!("the live generation {live:?}")))?;
        self.live.store(live, Ordering::Relaxed);
        if live != generation {
            return Ok(None);
        }
        let watermark = parse_watermark(watermark.ok_or(StoreError::Absent)?)?;
        Ok(Some(watermark.next_offset))
    }
}

/// The names of keys, of one generation: those that every read of a partition needs are made once.
struct Names {
    keys: KeysOf,
    partitions: BTreeMap<TopicPartition, OfPartition>,
}

struct OfPartition {
    live: String,
    watermark: String,
    /// What the documents' names begin with.
    documents: String,
}

impl Names {
    const fn new(keys: KeysOf) -> Self {
        Self {
            keys,
            partitions: BTreeMap::new(),
        }
    }

    fn turn_to(&mut self, generation: i32) {
        if generation != self.keys.generation() {
            *self = Self::new(self.keys.shared().of(generation));
        }
    }

    /// One `MGET` for each partition.
    fn pipeline(&mut self, asks: &[Ask]) -> Pipeline {
        let of_partition = asks.chunk_by(|one, next| one.partition == next.partition);
        let (mut pipeline, mut name) = (::redis::pipe(), String::new());
        for asks in of_partition {
            let partition = asks[0].partition;
            let keys = &self.keys;
            let names = self.partitions.entry(partition).or_insert_with(|| OfPartition {
                live: keys.shared().live(partition),
                watermark: keys.watermark(partition),
                documents: keys.documents(partition),
            });
            let command = pipeline.cmd("MGET").arg(&names.live).arg(&names.watermark);
            for ask in asks {
                name.clear();
                name.push_str(&names.documents);
                name.push_str(&ask.id);
                command.arg(&name);
            }
        }
        pipeline
    }
}

#[cfg(test)]
mod tests;
