//! The way in: a command goes to the writer of its partition, and its answer comes back.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use domain::Command;
use eventlog::{LogReader, PlainReader, Positions, TopicPartition};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use uuid::Uuid;

use super::EngineConfig;
use super::admission::{Admission, Seat};
use super::checkpoints::SharedStore;
use super::messages::{Decision, ErrandStep, Input, NotAnswered, Role, Standing, Submission};
use super::questions::Questions;
use super::readers::{FoundAt, Reader};
use super::slots::{partition_for, slot_count, slot_of};
use crate::metrics;
use crate::shop::{Aggregate, Key, Shop};
use crate::writer::{Cold, Found, Request};

/// How long a look-up may take.
const LOOK_UP_TIMEOUT: Duration = Duration::from_secs(2);

/// How long the log may take to say where it ends.
const END_TIMEOUT: Duration = Duration::from_secs(1);

/// Snapshots that are read for others at once.
const COLD_READS_MAX: usize = 64;

/// What the writers' thread and the way in share.
pub(super) struct Shared {
    pub partitions: i32,
    /// Who is let in.
    pub admission: Arc<Admission>,
    /// Who may ask.
    pub questions: Questions,
    /// Reads of snapshots that may be under way.
    pub cold_reads: Arc<Semaphore>,
    /// Commands that wait or are in flight, of clients and of the process manager.
    pub backlog: AtomicUsize,
    /// Whether each writer has folded the log up to its end once, in the order of slots.
    pub ready: Vec<AtomicBool>,
    /// What each writer has folded, in the order of slots.
    pub folded: Vec<AtomicI64>,
    /// The checkpoints of each writer, once they are open.
    pub stores: OnceLock<Vec<Option<SharedStore>>>,
    /// Whether that is what was the log's end not long ago.
    pub current: Vec<AtomicBool>,
    /// The next accepted command of each partition that the writers have not taken in; -1 where they take none.
    pub sources: Vec<AtomicI64>,
    /// Where each partition is known to have come at least, in the order of slots.
    pub ends: Vec<AtomicI64>,
    /// Asks where the partitions end.
    pub log: LogReader,
    /// Asks where the accepted commands end.
    pub commands: PlainReader,
}

impl Shared {
    /// Where the accepted commands of each partition end that this instance takes in.
    fn source_ends(&self) -> Result<Vec<(usize, i64)>, NotAnswered> {
        let mut ends = Vec::new();
        for (partition, next) in self.sources.iter().enumerate() {
            if next.load(Ordering::Acquire) >= 0 {
                let number = i32::try_from(partition).unwrap_or(i32::MAX);
                let end = self.commands.end(number, LOOK_UP_TIMEOUT);
                ends.push((partition, end.map_err(|_| NotAnswered::Unavailable)?));
            }
        }
        Ok(ends)
    }

    /// Whether the partition has come that far, as far as is known here.
    fn has_come(&self, partition: TopicPartition, next_offset: i64) -> bool {
        let slot = slot_of(partition, self.partitions);
        let known = self.folded.get(slot).zip(self.ends.get(slot));
        known.is_some_and(|(folded, end)| {
            folded.load(Ordering::Acquire) >= next_offset || end.load(Ordering::Acquire) >= next_offset
        })
    }

    /// The same, as the log says.
    fn ask_whether_come(&self, partition: TopicPartition, next_offset: i64) -> Result<bool, NotAnswered> {
        let asked = self.log.ends([partition], END_TIMEOUT);
        let end = asked.ok().and_then(|ends| ends.get(&partition).copied());
        let end = end.ok_or(NotAnswered::Unavailable)?;
        self.ends[slot_of(partition, self.partitions)].fetch_max(end, Ordering::AcqRel);
        Ok(end >= next_offset)
    }

    fn has_sources_up_to(&self, ends: &[(usize, i64)]) -> bool {
        ends.iter().all(|(partition, end)| {
            let next = self.sources[*partition].load(Ordering::Acquire);
            // Another instance's affair since then: that one is asked, too.
            next < 0 || next >= *end
        })
    }

    pub fn new(config: &EngineConfig, log: LogReader, commands: PlainReader) -> Self {
        let slots = slot_count(config.partitions);
        Self {
            partitions: config.partitions,
            admission: Arc::new(Admission::new(config.admission)),
            ready: (0..slots).map(|_| AtomicBool::new(false)).collect(),
            folded: (0..slots).map(|_| AtomicI64::new(0)).collect(),
            stores: OnceLock::new(),
            questions: Questions::default(),
            cold_reads: Arc::new(Semaphore::new(COLD_READS_MAX)),
            backlog: AtomicUsize::new(0),
            current: (0..slots).map(|_| AtomicBool::new(false)).collect(),
            sources: (0..config.partitions).map(|_| AtomicI64::new(-1)).collect(),
            ends: (0..slots).map(|_| AtomicI64::new(0)).collect(),
            log,
            commands,
        }
    }
}

/// What a writer has folded of an aggregate.
#[derive(Debug)]
pub struct Reading {
    /// None where there is none.
    pub aggregate: Option<Arc<Aggregate>>,
    /// How far that is: the partition's first offset that is not folded.
    pub next_offset: i64,
    /// Bounds how many are read from the disk at once, and held.
    _cold: Option<OwnedSemaphorePermit>,
}

/// Sends commands to the writers. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    inputs: Sender<Input>,
    shared: Arc<Shared>,
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

    /// Whether the log has come as far as is asked for. What is not folded here is asked of the log itself.
    pub async fn covers(&self, positions: &Positions) -> Result<bool, NotAnswered> {
        let unknown: Vec<_> = positions
            .iter()
            .filter(|(partition, next_offset)| !self.shared.has_come(*partition, *next_offset))
            .collect();
        if unknown
            .iter()
            .any(|(partition, _)| partition.partition >= self.shared.partitions)
        {
            return Ok(false);
        }
        if unknown.is_empty() {
            return Ok(true);
        }
        let shared = Arc::clone(&self.shared);
        let asked = tokio::task::spawn_blocking(move || {
            for (partition, next_offset) in unknown {
                if !shared.ask_whether_come(partition, next_offset)? {
                    return Ok(false);
                }
            }
            Ok(true)
        });
        asked.await.map_err(|_| NotAnswered::Unavailable)?
    }

    /// Says what this instance is to each partition from now on, in the order of slots.
    pub fn set_roles(&self, roles: Vec<Role>) {
        // The thread runs as long as there is a handle.
        let _ = self.inputs.send(Input::Roles(roles));
    }

    /// This instance is everything to everybody: there is no other.
    pub fn own_everything(&self) {
        self.set_roles(vec![Role::Owner; slot_count(self.shared.partitions)]);
    }

    /// What each writer has folded, and whether that is all there is, in the order of slots.
    pub fn held(&self) -> Vec<(i64, bool)> {
        let folded = self.shared.folded.iter().zip(&self.shared.current);
        folded
            .map(|(offset, current)| (offset.load(Ordering::Acquire), current.load(Ordering::Acquire)))
            .collect()
    }

    /// Whether nobody waits for anything here.
    pub fn is_idle(&self) -> bool {
        self.shared.admission.clients() == 0 && self.shared.backlog.load(Ordering::Relaxed) == 0
    }

    /// Has a command decided, and waits until its record is effective; or has it kept durably, where that is enough and its
    /// answer is not known yet.
    pub async fn submit(&self, submission: Submission, timeout: Duration) -> Decision {
        let _seat = if submission.is_step {
            None
        } else {
            Some(self.take_seat(&submission.request)?)
        };
        let partition = partition_for(&submission.request.command, self.shared.partitions);
        let slot = slot_of(partition, self.shared.partitions);
        self.ask(timeout, |reply| Input::Submit {
            slot,
            submission,
            reply,
        })
        .await?
    }

    /// How a command stands, as far as this instance knows. None only where it has seen every accepted command that was
    /// durable when it was asked.
    pub async fn look_up(&self, id: Uuid) -> Result<Option<Standing>, NotAnswered> {
        let found = self
            .ask(LOOK_UP_TIMEOUT, |reply| Input::LookUp { id, reply })
            .await?;
        if found.is_some() {
            return Ok(found);
        }
        let shared = Arc::clone(&self.shared);
        let ends = tokio::task::spawn_blocking(move || shared.source_ends()).await;
        let ends = ends.map_err(|_| NotAnswered::Unavailable)??;
        let deadline = Instant::now() + LOOK_UP_TIMEOUT;
        while !self.shared.has_sources_up_to(&ends) {
            if Instant::now() > deadline {
                return Err(NotAnswered::TimedOut);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.ask(LOOK_UP_TIMEOUT, |reply| Input::LookUp { id, reply })
            .await
    }

    /// How far the history of a slot goes, proven by an append that is sent after this was called: its next offset.
    pub async fn prove(&self, slot: usize, timeout: Duration) -> Result<i64, NotAnswered> {
        let place = self.shared.questions.enter().ok_or(NotAnswered::Overloaded)?;
        self.ask(timeout, |reply| Input::Prove { slot, reply, place })
            .await?
    }

    /// Reads an aggregate as the writer of its slot has folded it, once that is folded up to `at_least`. What records in flight will
    /// make of it is not in it.
    pub async fn read(
        &self,
        slot: usize,
        key: Key,
        at_least: i64,
        timeout: Duration,
    ) -> Result<Reading, NotAnswered> {
        let place = self.shared.questions.enter().ok_or(NotAnswered::Overloaded)?;
        let wanted = key.clone();
        let asked = self.ask(timeout, |reply| {
            let reader = Reader {
                key: wanted,
                at_least,
                reply,
                _place: place,
            };
            Input::Look { slot, reader }
        });
        let FoundAt { found, next_offset } = asked.await??;
        let (aggregate, cold) = match found {
            Found::Hot(aggregate) => (Some(aggregate), None),
            Found::Nowhere => (None, None),
            Found::Cold(cold) => {
                let permit = Arc::clone(&self.shared.cold_reads).acquire_owned().await;
                // Nobody closes it.
                let permit = permit.map_err(|_| NotAnswered::Unavailable)?;
                (self.read_cold(slot, key, cold).await?, Some(permit))
            }
        };
        Ok(Reading {
            aggregate,
            next_offset,
            _cold: cold,
        })
    }

    /// Reads a snapshot, which never changes, where nobody else has to wait for the disk.
    async fn read_cold(
        &self,
        slot: usize,
        key: Key,
        cold: Arc<dyn Cold<Shop>>,
    ) -> Result<Option<Arc<Aggregate>>, NotAnswered> {
        let read = tokio::task::spawn_blocking(move || cold.state(&key)).await;
        read.map_err(|_| NotAnswered::Unavailable)?.map_err(|error| {
            // The thread runs as long as there is a handle.
            let _ = self.inputs.send(Input::Unreadable { slot, error });
            NotAnswered::Unavailable
        })
    }

    /// Tells what came of an [`super::Errand`].
    pub fn finish(&self, step: ErrandStep, decision: Decision) {
        // The thread runs as long as there is a handle.
        let _ = self.inputs.send(Input::Stepped { step, decision });
    }

    fn take_seat(&self, request: &Request<Command>) -> Result<Seat, NotAnswered> {
        let seat = self.shared.admission.enter(request.command.bytes());
        seat.ok_or_else(|| {
            metrics::shed();
            NotAnswered::Overloaded
        })
    }

    /// A partition's checkpoints, to be read by a peer; none where there are none, or none yet.
    pub fn store(&self, partition: TopicPartition) -> Option<SharedStore> {
        let slot = slot_of(partition, self.shared.partitions);
        self.shared.stores.get()?.get(slot)?.clone()
    }

    /// Ends the writers' thread, once their last checkpoints are on disk. Nothing is answered any more.
    pub fn stop(&self) {
        // It may have ended.
        let _ = self.inputs.send(Input::Stop);
    }

    async fn ask<T>(
        &self,
        timeout: Duration,
        input: impl FnOnce(oneshot::Sender<T>) -> Input,
    ) -> Result<T, NotAnswered> {
        let (reply, answer) = oneshot::channel();
        self.inputs
            .send(input(reply))
            .map_err(|_| NotAnswered::Unavailable)?;
        match tokio::time::timeout(timeout, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(NotAnswered::Unavailable),
            Err(_) => Err(NotAnswered::TimedOut),
        }
    }
}
