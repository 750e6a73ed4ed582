//! Aggregates for readers in other services: as a writer has folded them, encoded once, and passed on as bytes from there.
//!
//! What an order takes has no bound (it may have thousands of notes), so what is encoded and not sent yet has one.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use domain::State;
use eventlog::internal::{AggregateAnswer, AggregateQuestion};
use eventlog::{TopicPartition, partition_of};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::engine::slots::slot_of;
use crate::engine::{Handle, NotAnswered, Reading};
use crate::shop::Key;

/// What may be encoded and not sent, in KiB. Something larger has all of it.
const ENCODED_KIB_MAX: u32 = 64 * 1024;

/// From that size on it is encoded where nobody has to wait for it, in KiB.
const LARGE_KIB: u32 = 256;

/// Bounds what is encoded. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct States(Arc<Semaphore>);

/// An answer, and its share of what may be encoded, until it is sent.
struct Held {
    body: Vec<u8>,
    _share: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

impl States {
    pub(crate) fn new() -> Self {
        let permits = usize::try_from(ENCODED_KIB_MAX).unwrap_or(usize::MAX);
        Self(Arc::new(Semaphore::new(permits)))
    }

    /// The state of an aggregate as `writers` have folded it, as an [`AggregateAnswer`] in JSON.
    pub(crate) async fn read(
        &self,
        writers: &Handle,
        partitions: i32,
        question: AggregateQuestion,
        timeout: Duration,
    ) -> Result<Bytes, NotAnswered> {
        // Whoever asks has looked at it; another version may see it differently.
        let key = Key::of(question.topic, &question.key).ok_or(NotAnswered::Unavailable)?;
        let partition = partition_for(&question, partitions);
        let read = async {
            let slot = slot_of(partition, partitions);
            let reading = writers.read(slot, key, question.at_least, timeout).await?;
            let kib = reading
                .aggregate
                .as_ref()
                .map_or(0, |aggregate| aggregate.bytes())
                >> 10;
            let kib = u32::try_from(kib).unwrap_or(u32::MAX).clamp(1, ENCODED_KIB_MAX);
            let share = Arc::clone(&self.0).acquire_many_owned(kib).await;
            // Nobody closes it.
            let share = share.map_err(|_| NotAnswered::Unavailable)?;
            let encode = move || encode(partition, reading, share);
            if kib < LARGE_KIB {
                encode()
            } else {
                let encoded = tokio::task::spawn_blocking(encode).await;
                encoded.unwrap_or(Err(NotAnswered::Unavailable))
            }
        };
        tokio::time::timeout(timeout, read)
            .await
            .unwrap_or(Err(NotAnswered::TimedOut))
    }
}

/// Where the aggregate is that a question is about.
pub(crate) fn partition_for(question: &AggregateQuestion, partitions: i32) -> TopicPartition {
    TopicPartition {
        topic: question.topic,
        partition: partition_of(question.key.as_bytes(), partitions),
    }
}

fn encode(
    partition: TopicPartition,
    reading: Reading,
    share: OwnedSemaphorePermit,
) -> Result<Bytes, NotAnswered> {
    let causes = reading
        .aggregate
        .as_ref()
        .map(|aggregate| aggregate.causes.positions());
    let answer = AggregateAnswer {
        state: reading
            .aggregate
            .map(|aggregate| match Arc::unwrap_or_clone(aggregate).state {
                // Readers see no open reservations, of which there may be very many.
                State::Stock(stock) => State::Stock(stock.totals()),
                order @ State::Order(_) => order,
            }),
        partition,
        next_offset: reading.next_offset,
        causes: causes.unwrap_or_default(),
    };
    let body = serde_json::to_vec(&answer).map_err(|_| NotAnswered::Unavailable)?;
    Ok(Bytes::from_owner(Held { body, _share: share }))
}
