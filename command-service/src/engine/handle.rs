//! The way in: a command goes to the writer of its partition, and its answer comes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam_channel::Sender;
use domain::Command;
use eventlog::{Positions, Topic, TopicPartition, partition_of};
use tokio::sync::oneshot;

use super::EngineConfig;
use super::thread::Input;
use crate::shop::{self, Answer};
use crate::writer::Request;

/// A command's answer.
#[derive(Clone, Debug)]
pub struct Answered {
    /// What is answered.
    pub answer: Answer,
    /// Where its record is.
    pub partition: TopicPartition,
    /// The offset behind its record.
    pub next_offset: i64,
    /// Whether the command had been answered before, or was asked twice.
    pub replayed: bool,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAnswered {
    /// The command id came with another request before.
    #[error("the same key was used with another request")]
    Mismatch,
    /// Too much is waiting. Nothing was sent for the command.
    #[error("too many commands are waiting")]
    Overloaded,
    /// No writer takes the command now; or nobody knows what became of it, and asking again tells.
    #[error("the writer cannot take the command now")]
    Unavailable,
    /// No answer in time. Asking again, with the same key, tells what became of it.
    #[error("no answer came in time")]
    TimedOut,
}

/// What the writers' thread and the way in share.
pub(super) struct Shared {
    pub partitions: i32,
    pub clients_max: usize,
    pub steps_max: usize,
    /// Commands of clients that wait.
    pub clients: AtomicUsize,
    /// Open steps of the process manager.
    pub steps: AtomicUsize,
    /// Whether each writer has folded the log up to its end once, in the order of slots.
    pub ready: Vec<AtomicBool>,
    /// What each writer has folded, in the order of slots.
    pub folded: Vec<AtomicI64>,
}

impl Shared {
    pub fn new(config: &EngineConfig) -> Self {
        let slots = slot_count(config.partitions);
        Self {
            partitions: config.partitions,
            clients_max: config.clients_max,
            steps_max: config.steps_max,
            clients: AtomicUsize::new(0),
            steps: AtomicUsize::new(0),
            ready: (0..slots).map(|_| AtomicBool::new(false)).collect(),
            folded: (0..slots).map(|_| AtomicI64::new(0)).collect(),
        }
    }
}

/// How many writers there are.
pub(super) fn slot_count(partitions: i32) -> usize {
    Topic::ALL.len() * usize::try_from(partitions).unwrap_or(0)
}

/// The number of a partition's writer.
pub(super) fn slot_of(partition: TopicPartition, partitions: i32) -> usize {
    let index = i32::from(partition.topic.index()) * partitions + partition.partition;
    usize::try_from(index).unwrap_or(usize::MAX)
}

/// The partition of a writer.
pub(super) fn partition_at(slot: usize, partitions: i32) -> TopicPartition {
    let per_topic = usize::try_from(partitions).unwrap_or(1).max(1);
    let topic = Topic::ALL[slot / per_topic];
    TopicPartition {
        topic,
        partition: i32::try_from(slot % per_topic).unwrap_or(0),
    }
}

/// The partition that a command belongs to.
pub(super) fn partition_for(command: &Command, partitions: i32) -> TopicPartition {
    let target = shop::target(command);
    TopicPartition {
        topic: target.topic,
        partition: partition_of(target.key.as_bytes(), partitions),
    }
}

/// Sends commands to the writers. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    inputs: Sender<Input>,
    shared: Arc<Shared>,
}

/// Counts a waiting client for as long as it lives.
struct Seat(Arc<Shared>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.clients.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Handle {
    pub(super) const fn new(inputs: Sender<Input>, shared: Arc<Shared>) -> Self {
        Self { inputs, shared }
    }

    /// Whether every writer has folded the log up to its end.
    pub fn is_ready(&self) -> bool {
        self.shared
            .ready
            .iter()
            .all(|ready| ready.load(Ordering::Acquire))
    }

    /// Whether the writers have folded all that is asked for.
    pub fn covers(&self, positions: &Positions) -> bool {
        positions.iter().all(|(partition, next_offset)| {
            partition.partition < self.shared.partitions
                && self.shared.folded[slot_of(partition, self.shared.partitions)].load(Ordering::Acquire)
                    >= next_offset
        })
    }

    /// Has a command decided, and waits until its record is effective.
    pub async fn submit(
        &self,
        request: Request<Command>,
        timeout: Duration,
    ) -> Result<Answered, NotAnswered> {
        let waiting = self.shared.clients.fetch_add(1, Ordering::Relaxed);
        let _seat = Seat(Arc::clone(&self.shared));
        if waiting >= self.shared.clients_max
            || self.shared.steps.load(Ordering::Relaxed) >= self.shared.steps_max
        {
            return Err(NotAnswered::Overloaded);
        }
        let partition = partition_for(&request.command, self.shared.partitions);
        let (reply, answer) = oneshot::channel();
        let slot = slot_of(partition, self.shared.partitions);
        self.inputs
            .send(Input::Submit {
                slot,
                request: Box::new(request),
                reply,
            })
            .map_err(|_| NotAnswered::Unavailable)?;
        match tokio::time::timeout(timeout, answer).await {
            Ok(Ok(answered)) => answered,
            Ok(Err(_)) => Err(NotAnswered::Unavailable),
            Err(_) => Err(NotAnswered::TimedOut),
        }
    }
}
