//! Checkpoints, beside the writers: when one is due, who writes it, and what may leave memory then.
//!
//! The writers' thread takes a [`Delta`] of one writer, copies that cost next to nothing, and goes on; a thread of our own
//! writes it in one transaction and sends back the snapshot that has it. [`opening`] is what happens at a start.
//!
//! A writer that folds a long log is held back where its deltas are not written as fast as it reads: nothing else bounds what
//! it has in memory.

mod opening;

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use eventlog::TopicPartition;

use super::messages::Input;
use crate::metrics;
use crate::shop::Shop;
use crate::store::{Store, StoreError};
use crate::writer::cold::{Cold, Delta};
use crate::writer::{ColdError, Core};

/// A store is read by its writer and by whoever exports it.
pub type SharedStore = Arc<Store<Shop>>;

/// Commits that a crash leaves are at least so far apart while much is written: each costs the disk a wait.
const DURABLE_EVERY: Duration = Duration::from_secs(1);

/// After a checkpoint the thread rests so many times as long as it took, so that it has a tenth of a core: what changes all
/// the time would be written over and over, a large aggregate as a whole each time.
const REST: u32 = 9;

/// A checkpoint that is so many times as old as it should be is made although the thread should rest: how long a start takes
/// that follows a crash depends on it.
const LATE: u32 = 3;

/// How long the last checkpoints may take when the service ends.
const FINISH_TIMEOUT: Duration = Duration::from_secs(10);

/// How checkpoints are made.
#[derive(Clone, Debug)]
pub struct CheckpointConfig {
    /// Where they are: below `state` in it.
    pub data_dir: PathBuf,
    /// So often, where anything happened; up to three times as far apart where they would take more than a tenth of a core.
    pub every: Duration,
    /// Also once so many aggregates and commands of a partition changed, or so many KiB of them; a large aggregate is written as a
    /// whole with each. Taking changes costs the writers some 100 ns for each; writing them costs the less the more come at once,
    /// since their keys lie all over the file.
    pub changes: usize,
    /// Aggregates in memory, over all partitions, about; a large one counts for each of its KiB. Others are read from the embedded store when somebody wants them.
    pub hot_aggregates: usize,
    /// Remembered commands in memory, over all partitions, about.
    pub hot_commands: usize,
    /// What the embedded stores keep of their files in memory, over all partitions, in bytes.
    pub cache_bytes: usize,
}

impl CheckpointConfig {
    /// Sensible values.
    pub const fn new(data_dir: PathBuf) -> Self {
        Self {
            data_dir,
            every: Duration::from_secs(10),
            changes: 64_000,
            hot_aggregates: 1_000_000,
            hot_commands: 250_000,
            cache_bytes: 256 << 20,
        }
    }
}

/// What became of a delta.
pub(super) struct Saved {
    pub slot: usize,
    number: u64,
    outcome: Outcome,
    took: Duration,
}

enum Outcome {
    Stored(Arc<dyn Cold<Shop>>),
    /// It could not be written, and will be tried again.
    Failed,
    /// What was stored before cannot be read any more: no snapshot can be made of it.
    Damaged(ColdError),
}

struct Job {
    slot: usize,
    partition: TopicPartition,
    store: SharedStore,
    delta: Delta<Shop>,
}

#[derive(Clone)]
struct Slot {
    partition: TopicPartition,
    store: Option<SharedStore>,
    saving: bool,
    /// When the delta was taken that is in the last checkpoint, or when nothing had to be taken.
    current_at: Instant,
    taken_at: Instant,
}

/// The checkpoints of all writers of a process.
pub(super) struct Checkpoints {
    config: Option<CheckpointConfig>,
    slots: Vec<Slot>,
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    inputs: Sender<Input>,
    /// Until then nothing is taken that is not late.
    rests_until: Instant,
    evicted: usize,
}

impl Checkpoints {
    /// None are made before [`Checkpoints::open`], and none at all without a configuration.
    pub fn new(
        config: Option<CheckpointConfig>,
        partitions: impl Iterator<Item = TopicPartition>,
        inputs: Sender<Input>,
    ) -> Self {
        let now = Instant::now();
        let slots = partitions
            .map(|partition| Slot {
                partition,
                store: None,
                saving: false,
                current_at: now,
                taken_at: now,
            })
            .collect();
        Self {
            config,
            slots,
            jobs: None,
            thread: None,
            inputs,
            rests_until: now,
            evicted: 0,
        }
    }

    /// Starts the thread that writes.
    fn start(&mut self) {
        let (jobs, inbox) = crossbeam_channel::unbounded();
        let inputs = self.inputs.clone();
        let thread = std::thread::Builder::new()
            .name("checkpoints".to_owned())
            .spawn(move || run(&inbox, &inputs));
        match thread {
            Ok(thread) => {
                self.thread = Some(thread);
                self.jobs = Some(jobs);
            }
            Err(error) => tracing::error!(%error, "writer.checkpoint.thread: no checkpoints are made"),
        }
    }

    /// A partition's share of something that is configured for all.
    fn share(&self, of: impl Fn(&CheckpointConfig) -> usize) -> usize {
        let slots = self.slots.len().max(1);
        self.config
            .as_ref()
            .map_or(usize::MAX, |config| of(config).div_ceil(slots))
    }

    /// Takes a delta of a writer if one is due. One that reads takes more at once: nobody waits for it, and the fewer
    /// transactions the better.
    pub fn look<C>(&mut self, slot: usize, core: &mut Core<Shop, C>) {
        let Some(config) = &self.config else { return };
        let now = Instant::now();
        let changes = if core.is_writing() {
            config.changes
        } else {
            self.share(|config| config.hot_aggregates / 4).max(config.changes)
        };
        let state = &mut self.slots[slot];
        let unstored = core.fold().unstored();
        if unstored == 0 && !state.saving {
            state.current_at = now;
        }
        let since = now.duration_since(state.taken_at);
        let reads_much = !core.is_writing() && core.fold().unstored_count() >= changes;
        let (is_late, is_due) = (since >= config.every * LATE, since >= config.every);
        let wants = is_due || unstored >= changes;
        if is_late || reads_much || (wants && now >= self.rests_until && self.is_next(slot, is_due)) {
            self.take(slot, core);
        }
    }

    /// Whether nothing is being written, and of those that are due by the clock none is due for longer.
    fn is_next(&self, slot: usize, is_due: bool) -> bool {
        let taken_at = self.slots[slot].taken_at;
        let mut others = self.slots.iter().filter(|other| other.store.is_some());
        others.all(|other| !other.saving && (!is_due || other.taken_at >= taken_at))
    }

    /// Takes a delta of a writer, unless one is under way or there is nothing to take.
    fn take<C>(&mut self, slot: usize, core: &mut Core<Shop, C>) {
        let state = &mut self.slots[slot];
        let (Some(store), Some(jobs), false) = (&state.store, &self.jobs, state.saving) else {
            return;
        };
        state.taken_at = Instant::now();
        let Some(delta) = core.delta() else { return };
        state.saving = true;
        // The thread lives as long as this end of the channel does.
        let _ = jobs.send(Job {
            slot,
            partition: state.partition,
            store: Arc::clone(store),
            delta,
        });
    }

    /// Tells a writer what became of its delta.
    pub fn saved<C>(&mut self, saved: Saved, core: &mut Core<Shop, C>) {
        let state = &mut self.slots[saved.slot];
        state.saving = false;
        self.rests_until = Instant::now() + saved.took * REST;
        let cold = match saved.outcome {
            Outcome::Stored(cold) => {
                state.current_at = state.taken_at;
                Some(cold)
            }
            Outcome::Failed => None,
            Outcome::Damaged(error) => return core.lose(&error),
        };
        core.stored(saved.number, cold);
        self.evict(core);
    }

    /// Lets go of what need not be in memory.
    pub fn evict<C>(&mut self, core: &mut Core<Shop, C>) {
        let states = self.share(|config| config.hot_aggregates);
        let commands = self.share(|config| config.hot_commands);
        self.evicted += core.evict(states, commands);
    }

    /// Whether a writer reads faster than its deltas are written.
    pub fn is_behind<C>(&self, slot: usize, core: &Core<Shop, C>) -> bool {
        self.slots[slot].saving && core.fold().unstored() >= self.share(|config| config.hot_aggregates / 2)
    }

    /// Metrics.
    pub fn record<'a, C: 'a>(&mut self, cores: impl Iterator<Item = &'a Core<Shop, C>>) {
        let hot = cores.map(|core| core.fold().hot()).sum();
        let oldest = self
            .slots
            .iter()
            .filter(|slot| slot.store.is_some())
            .map(|slot| slot.current_at)
            .min();
        let age = oldest.map_or(0.0, |oldest| oldest.elapsed().as_secs_f64());
        metrics::record_memory(hot, std::mem::take(&mut self.evicted), age);
    }

    /// The last checkpoint of every writer, when the service ends. Takes what is still being saved from the inbox.
    pub fn finish<'a, C: 'a>(
        mut self,
        cores: impl Iterator<Item = &'a mut Core<Shop, C>>,
        inbox: &Receiver<Input>,
    ) {
        let mut cores: Vec<_> = cores.collect();
        let deadline = Instant::now() + FINISH_TIMEOUT;
        while self.slots.iter().any(|slot| slot.saving) {
            match inbox.recv_deadline(deadline) {
                Ok(Input::Saved(saved)) => {
                    let slot = saved.slot;
                    self.saved(saved, cores[slot]);
                }
                Ok(_) => {}
                Err(_) => break,
            }
        }
        for (slot, core) in cores.iter_mut().enumerate() {
            self.take(slot, core);
        }
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("writer.checkpoint.thread: it panicked");
        }
        for slot in &self.slots {
            let Some(store) = &slot.store else { continue };
            if let Err(error) = store.flush() {
                tracing::warn!(partition = ?slot.partition, error = &error as &dyn std::error::Error, "writer.checkpoint.flush");
            }
        }
    }
}

/// Writes deltas until nobody sends any.
fn run(inbox: &Receiver<Job>, inputs: &Sender<Input>) {
    for Job {
        slot,
        partition,
        store,
        delta,
    } in inbox
    {
        let began = Instant::now();
        let next_offset = delta.checkpoint.next_offset;
        let outcome = match store.save(&delta, DURABLE_EVERY) {
            Ok(cold) => {
                metrics::checkpoint_stored(partition, next_offset, began.elapsed().as_secs_f64());
                tracing::debug!(
                    ?partition,
                    next_offset,
                    states = delta.states.len(),
                    "writer.checkpoint.stored"
                );
                Outcome::Stored(cold)
            }
            // A snapshot of the whole history reads nothing of what was there: that it fails is no damage.
            Err(StoreError::Unusable(reason)) if !delta.from_nothing => {
                metrics::checkpoint_failed();
                Outcome::Damaged(ColdError(reason))
            }
            Err(error) => {
                metrics::checkpoint_failed();
                tracing::error!(
                    ?partition,
                    error = &error as &dyn std::error::Error,
                    "writer.checkpoint.store: trying again; memory grows meanwhile"
                );
                // A full disk does not get better by trying harder.
                std::thread::sleep(Duration::from_millis(200));
                Outcome::Failed
            }
        };
        let number = delta.number;
        // A closed inbox means that the writers are gone.
        let _ = inputs.send(Input::Saved(Saved {
            slot,
            number,
            outcome,
            took: began.elapsed(),
        }));
    }
}
