//! The way in: a command goes to the writer of its partition, and its answer comes back.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crossbeam_channel::Sender;
use domain::Command;
use eventlog::{Positions, TopicPartition};
use tokio::sync::oneshot;

use super::EngineConfig;
use super::checkpoints::SharedStore;
use super::messages::{Answered, Input, NotAnswered};
use super::slots::{partition_for, slot_count, slot_of};
use crate::writer::Request;

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
    /// The checkpoints of each writer, once they are open.
    pub stores: OnceLock<Vec<Option<SharedStore>>>,
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
            stores: OnceLock::new(),
        }
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

    /// A partition's checkpoints, to be read by a peer; none where there are none, or none yet.
    pub fn store(&self, partition: TopicPartition) -> Option<SharedStore> {
        let slot = slot_of(partition, self.shared.partitions);
        self.shared.stores.get()?.get(slot)?.clone()
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
