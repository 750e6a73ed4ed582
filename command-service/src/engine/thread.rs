//! The writers' thread: takes inputs, runs the state machines, does what they want done.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use eventlog::{Appender, Fault, LogError, NewRecord, Outcome, Positions, Report, Topic, TopicPartition};
use schemas::Codec;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::EngineConfig;
use super::checkpoints::{Checkpoints, Saved};
use super::handle::Shared;
use super::messages::{Answered, Batch, Input, Job, NotAnswered, ReadEnd};
use super::process_manager::{Half, ProcessManager};
use super::slots::{partition_at, partition_for, slot_count, slot_of};
use crate::clock::now;
use crate::metrics;
use crate::shop::{Answer, Key, Shop};
use crate::writer::{Core, Kept, Output};

/// Inputs that are handled before outputs of the process manager and the clock get their turn.
const INPUTS_AT_ONCE: usize = 256;

/// How often time passes for the state machines.
const TICK: Duration = Duration::from_millis(20);

/// How often steps that found no writer are tried again.
const RETRY_STEPS: Duration = Duration::from_millis(500);

/// How often void records of a partition are logged at most.
const LOG_VOIDS: Duration = Duration::from_mins(1);

/// Who waits for a command's answer.
enum Caller {
    Client(oneshot::Sender<Result<Answered, NotAnswered>>),
    Step(Uuid, Half),
}

/// One partition's writer and what surrounds it.
struct Slot {
    partition: TopicPartition,
    shop: Shop,
    core: Core<Shop, Caller>,
    /// Which read is current.
    generation: u64,
    /// Void records since the last log line, and when that was.
    voids: u64,
    voids_logged: Option<Instant>,
}

pub(super) struct Writers {
    config: EngineConfig,
    slots: Vec<Slot>,
    shared: Arc<Shared>,
    reading: Sender<Job>,
    inputs: Sender<Input>,
    appender: Appender<Input>,
    manager: ProcessManager,
    checkpoints: Checkpoints,
    /// Batches of writers whose checkpoints are behind.
    held: VecDeque<Batch>,
    /// Commands of the process manager that are to be submitted.
    steps: VecDeque<(Uuid, Half)>,
    started: Instant,
    steps_retried: Instant,
}

/// Delivery reports carry the writer's number above this bit, its own ticket below.
const TICKET_BITS: u32 = 48;

impl Writers {
    pub fn new(
        config: EngineConfig,
        codec: &Arc<Codec>,
        shared: Arc<Shared>,
        inputs: Sender<Input>,
        reading: Sender<Job>,
    ) -> Result<Self, LogError> {
        let appender = new_appender(&config, &inputs)?;
        let slots = (0..slot_count(config.partitions))
            .map(|slot| {
                let partition = partition_at(slot, config.partitions);
                let shop = Shop::new(partition.topic, Arc::clone(codec), config.log_id);
                let core = Core::new(shop.clone(), config.limits);
                Slot {
                    partition,
                    shop,
                    core,
                    generation: 0,
                    voids: 0,
                    voids_logged: None,
                }
            })
            .collect();
        let manager = ProcessManager::new(config.log_id);
        let partitions = (0..slot_count(config.partitions)).map(|slot| partition_at(slot, config.partitions));
        let checkpoints = Checkpoints::new(config.checkpoints.clone(), partitions, inputs.clone());
        let now = Instant::now();
        Ok(Self {
            config,
            slots,
            shared,
            reading,
            inputs,
            appender,
            manager,
            checkpoints,
            held: VecDeque::new(),
            steps: VecDeque::new(),
            started: now,
            steps_retried: now,
        })
    }

    /// Runs until nobody can send inputs any more but the thread's own parts.
    pub fn run(mut self, inbox: &Receiver<Input>) {
        self.restore();
        self.work(inbox);
        self.checkpoints
            .finish(self.slots.iter_mut().map(|slot| &mut slot.core), inbox);
    }

    /// Starts from the checkpoints that there are.
    fn restore(&mut self) {
        let shared = Arc::clone(&self.shared);
        // The handles are the only ones beside ourselves and this function that hold it.
        let is_over = || Arc::strong_count(&shared) == 2;
        let (restored, stores) = self
            .checkpoints
            .open(&self.config.log, self.config.log_id, is_over);
        for (slot, restored) in self.slots.iter_mut().zip(restored) {
            if let Some(restored) = restored {
                slot.core = Core::restore(slot.shop.clone(), self.config.limits, restored);
            }
        }
        // Nobody else sets it.
        let _ = self.shared.stores.set(stores);
    }

    fn work(&mut self, inbox: &Receiver<Input>) {
        for slot in 0..self.slots.len() {
            self.carry_out(slot);
        }
        let mut ticked = Instant::now();
        loop {
            match inbox.recv_timeout(TICK) {
                Ok(input) => self.take(input),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            for input in inbox.try_iter().take(INPUTS_AT_ONCE) {
                self.take(input);
            }
            self.submit_steps();
            if ticked.elapsed() >= TICK {
                ticked = Instant::now();
                self.tick();
            }
            // The handles are the only ones beside ourselves that hold the shared part.
            if Arc::strong_count(&self.shared) == 1 {
                return;
            }
        }
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Submit { slot, request, reply } => {
                self.slots[slot].core.submit(*request, Caller::Client(reply));
                self.carry_out(slot);
            }
            Input::Report(Report { ticket, outcome }) => {
                let slot = ticket >> TICKET_BITS;
                self.slots[slot]
                    .core
                    .report(ticket & ((1 << TICKET_BITS) - 1), outcome);
                self.carry_out(slot);
            }
            Input::Read(batch) => self.read_or_hold(batch),
            Input::Saved(saved) => self.saved(saved),
        }
    }

    /// Folds what was read, unless its writer is to wait for its checkpoint.
    fn read_or_hold(&mut self, batch: Batch) {
        let slot = batch.slot;
        if self.held.iter().any(|held| held.slot == slot)
            || self.checkpoints.is_behind(slot, &self.slots[slot].core)
        {
            self.held.push_back(batch);
            return;
        }
        self.read(&batch);
        let core = &mut self.slots[slot].core;
        self.checkpoints.look(slot, core);
        self.checkpoints.evict(core);
    }

    fn saved(&mut self, saved: Saved) {
        let slot = saved.slot;
        self.checkpoints.saved(saved, &mut self.slots[slot].core);
        for batch in std::mem::take(&mut self.held) {
            self.read_or_hold(batch);
        }
    }

    fn read(&mut self, batch: &Batch) {
        let slot = &mut self.slots[batch.slot];
        if slot.generation != batch.generation {
            return;
        }
        for record in &batch.records {
            slot.core.record(record);
        }
        match batch.end {
            ReadEnd::More => {}
            ReadEnd::Reached => slot.core.reached_end(),
            ReadEnd::Truncated => {
                tracing::error!(
                    partition = ?slot.partition,
                    "writer.log.truncated: the log ends before what was folded; folding it from its beginning"
                );
                slot.core.truncated();
            }
        }
        self.carry_out(batch.slot);
    }

    fn tick(&mut self) {
        let now_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        for slot in 0..self.slots.len() {
            self.slots[slot].core.tick(now_ms);
            self.carry_out(slot);
            let core = &mut self.slots[slot].core;
            self.checkpoints.look(slot, core);
            self.checkpoints.evict(core);
        }
        if self.steps_retried.elapsed() >= RETRY_STEPS {
            self.steps_retried = Instant::now();
            self.steps.extend(self.manager.take_stalled());
        }
        if let Some(reason) = self.appender.broken() {
            tracing::error!(reason, "writer.producer.broken: making a new one");
            match new_appender(&self.config, &self.inputs) {
                // Records in flight of the old one get their reports, in doubt, when it is dropped.
                Ok(appender) => self.appender = appender,
                Err(error) => tracing::error!(%error, "writer.producer.make"),
            }
        }
        self.shared.steps.store(self.manager.len(), Ordering::Relaxed);
        self.checkpoints.record(self.slots.iter().map(|slot| &slot.core));
        metrics::record_backlog(
            self.slots.iter().map(|slot| slot.core.backlog()).sum(),
            self.manager.len(),
        );
    }

    /// Submits what the process manager wants; its answers may bring more.
    fn submit_steps(&mut self) {
        while let Some((id, half)) = self.steps.pop_front() {
            let Some(request) = self.manager.request(id, half, now()) else {
                continue;
            };
            let slot = slot_of(
                partition_for(&request.command, self.config.partitions),
                self.config.partitions,
            );
            self.slots[slot].core.submit(request, Caller::Step(id, half));
            self.carry_out(slot);
        }
    }

    /// Does what a writer wants done.
    fn carry_out(&mut self, slot: usize) {
        while let Some(output) = self.slots[slot].core.next_output() {
            match output {
                Output::Append { ticket, record } => self.append(slot, ticket, &record),
                Output::Read { from, upto } => {
                    self.slots[slot].generation += 1;
                    let (generation, partition) = (self.slots[slot].generation, self.slots[slot].partition);
                    // The reader's thread lives as long as this one.
                    let _ = self.reading.send(Job {
                        slot,
                        generation,
                        partition,
                        from,
                        upto,
                    });
                }
                Output::Answer {
                    caller,
                    kept,
                    replayed,
                } => self.answer(slot, caller, kept, replayed),
                // Nobody asks for a proof yet.
                Output::Proven { .. } => {}
                Output::Mismatch { caller } => self.turn_away(caller, NotAnswered::Mismatch),
                Output::Unavailable { caller } => self.turn_away(caller, NotAnswered::Unavailable),
                Output::Changed { key, traceparent } => self.changed(slot, &key, traceparent.as_ref()),
                Output::Void { offset, fault } => self.void(slot, offset, fault),
                Output::Unsettled { in_flight, doubt } => {
                    metrics::unsettled(doubt);
                    tracing::debug!(partition = ?self.slots[slot].partition, in_flight, doubt, "writer.flights.unsettled");
                }
                Output::StateLost { reason } => {
                    metrics::checkpoint_discarded("read");
                    tracing::error!(
                        partition = ?self.slots[slot].partition, reason,
                        "writer.checkpoint.lost: the stored state cannot be read; folding the log from its beginning"
                    );
                }
                Output::Stopped { offset, reason } => {
                    metrics::stopped();
                    tracing::error!(
                        partition = ?self.slots[slot].partition, offset, reason,
                        "writer.partition.stopped: an effective record cannot be folded; this partition takes no commands"
                    );
                }
            }
        }
        let core = &self.slots[slot].core;
        self.shared.folded[slot].store(core.fold().next_offset(), Ordering::Release);
        if core.is_writing() {
            self.shared.ready[slot].store(true, Ordering::Release);
        }
    }

    fn append(&mut self, slot: usize, ticket: usize, record: &NewRecord) {
        let tagged = (slot << TICKET_BITS) | ticket;
        if self.appender.append(self.slots[slot].partition, record, tagged) {
            metrics::appended();
        } else {
            self.slots[slot].core.report(ticket, Outcome::Doubt);
        }
    }

    fn answer(&mut self, slot: usize, caller: Caller, kept: Kept<Answer>, replayed: bool) {
        let partition = self.slots[slot].partition;
        match caller {
            Caller::Client(reply) => {
                let answered = Answered {
                    answer: kept.answer,
                    partition,
                    next_offset: kept.next_offset,
                    replayed,
                };
                // A client that gave up asks again with the same key.
                let _ = reply.send(Ok(answered));
            }
            Caller::Step(id, Half::Asking) => {
                let position = [(partition, kept.next_offset)].into_iter().collect();
                self.manager.asked(id, &kept.answer, &position);
                self.steps.push_back((id, Half::Recording));
            }
            Caller::Step(id, Half::Recording) => {
                let order = self.manager.recorded(id, &kept.answer);
                // Somebody else recorded it: the order did not change just now, and may ask for something all the same.
                if let Some(order_id) = order.filter(|_| replayed || kept.answer.refusal().is_some()) {
                    self.changed(slot, &Key::Order(order_id), None);
                }
            }
        }
    }

    fn turn_away(&mut self, caller: Caller, reason: NotAnswered) {
        match caller {
            Caller::Client(reply) => {
                let _ = reply.send(Err(reason));
            }
            Caller::Step(id, half) => {
                if reason == NotAnswered::Mismatch {
                    tracing::error!(command_id = %id, "process_manager.step.mismatch: a bug");
                }
                self.manager.stall(id, half);
            }
        }
    }

    fn changed(&mut self, slot: usize, key: &Key, traceparent: Option<&Arc<str>>) {
        let Slot { partition, core, .. } = &mut self.slots[slot];
        let Key::Order(order_id) = key else { return };
        let causes: Positions = [(*partition, core.fold().next_offset())].into_iter().collect();
        let Some(order) = core.look_up(key).and_then(|state| state.as_order()) else {
            return;
        };
        let begun = self.manager.begin(*order_id, order, &causes, traceparent);
        self.steps.extend(begun.into_iter().map(|id| (id, Half::Asking)));
    }

    fn void(&mut self, slot: usize, offset: i64, fault: Fault) {
        metrics::void(fault);
        let slot = &mut self.slots[slot];
        slot.voids += 1;
        if slot
            .voids_logged
            .is_none_or(|logged| logged.elapsed() >= LOG_VOIDS)
        {
            tracing::warn!(partition = ?slot.partition, offset, %fault, count = slot.voids, "writer.record.void");
            slot.voids = 0;
            slot.voids_logged = Some(Instant::now());
        }
    }
}

fn new_appender(config: &EngineConfig, inputs: &Sender<Input>) -> Result<Appender<Input>, LogError> {
    Appender::new(
        &config.log,
        "writer",
        config.append_timeout_ms,
        inputs.clone(),
        Input::Report,
    )
}

const _: () = assert!(usize::BITS == 64 && Topic::ALL.len() < 256);
