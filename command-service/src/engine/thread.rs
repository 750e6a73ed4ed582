//! The writers' thread: takes inputs, runs the state machines, does what they want done.
//!
//! - [`accepting`]: commands that clients do not wait for, from and to the commands topic.
//! - [`outputs`]: what the state machines want done, and who is told.
//! - [`stepping`]: what the process manager wants, and what becomes of it.

mod accepting;
mod outputs;
mod stepping;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use domain::Command;
use eventlog::{Appender, LogError, Outcome, Report, Topic};
use schemas::Codec;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::EngineConfig;
use super::accepted::{Accepted, Appended, Other};
use super::admission::Gauge;
use super::answers::Answers;
use super::caller::Caller;
use super::checkpoints::{Checkpoints, Saved};
use super::handle::Shared;
use super::messages::{Answered, Batch, Decision, Errand, Input, ReadEnd, Role, Standing};
use super::process_manager::{Half, ProcessManager};
use super::reading::Readers;
use super::slot::Slot;
use super::slots::{order_slot, partition_at, slot_count};
use crate::clock::Clock;
use crate::metrics;
use crate::shop::Shop;
use crate::writer::{Core, Fold, Request};

/// Inputs that are handled before outputs of the process manager and the clock get their turn.
const INPUTS_AT_ONCE: usize = 256;

/// How often time passes for the state machines.
const TICK: Duration = Duration::from_millis(20);

/// How long it rests where somebody waits for a barrier that is not due yet.
const HURRY: Duration = Duration::from_millis(1);

/// Rounds that follow each other faster than that wait for [`GATHER`] in between.
const BUSY: Duration = Duration::from_micros(500);

/// How long a busy thread lets inputs gather. Whoever sends one to a thread that waits for it has to wake it, which costs both of
/// them more than most inputs take; a thread that sleeps for a while takes many at once.
const GATHER: Duration = Duration::from_micros(100);

/// How often quiet partitions are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How often steps that found no writer are tried again.
const RETRY_STEPS: Duration = Duration::from_millis(500);

pub(super) struct Writers {
    config: EngineConfig,
    codec: Arc<Codec>,
    slots: Vec<Slot>,
    shared: Arc<Shared>,
    readers: Readers,
    inputs: Sender<Input>,
    errands: UnboundedSender<Errand>,
    answers: Answers,
    appender: Appender<Input>,
    manager: ProcessManager,
    accepted: Accepted,
    checkpoints: Checkpoints,
    /// Batches of writers whose checkpoints are behind.
    held: VecDeque<Batch>,
    /// Commands of the process manager that are to be submitted.
    steps: VecDeque<(Uuid, Half)>,
    clock: Clock,
    gauge: Gauge,
    started: Instant,
    steps_retried: Instant,
    /// Records sent to Kafka since the last tick.
    appended: u64,
    /// Whether other accepted commands are to be read than before.
    sources_changed: bool,
    /// Slots where somebody waits for a barrier that is not due yet.
    proving: Vec<usize>,
    /// When quiet partitions were looked at.
    looked: Instant,
    stopping: bool,
}

/// Delivery reports carry the writer's number above this bit, its own ticket below.
const TICKET_BITS: u32 = 48;

impl Writers {
    pub fn new(
        config: EngineConfig,
        codec: Arc<Codec>,
        shared: Arc<Shared>,
        inputs: Sender<Input>,
        readers: Readers,
        errands: UnboundedSender<Errand>,
        answers: Answers,
    ) -> Result<Self, LogError> {
        let appender = new_appender(&config, &inputs)?;
        let accepted = Accepted::start(&config.log, inputs.clone())?;
        let slots = (0..slot_count(config.partitions))
            .map(|slot| {
                let partition = partition_at(slot, config.partitions);
                let shop = Shop::new(partition.topic, Arc::clone(&codec), config.log_id);
                Slot::new(partition, shop, config.limits)
            })
            .collect();
        let gauge = Gauge::new(Arc::clone(&shared.admission));
        let manager = ProcessManager::new(config.log_id, config.payment_window_micros);
        let partitions = (0..slot_count(config.partitions)).map(|slot| partition_at(slot, config.partitions));
        let checkpoints = Checkpoints::new(config.checkpoints.clone(), partitions, inputs.clone());
        let now = Instant::now();
        Ok(Self {
            config,
            codec,
            slots,
            shared,
            readers,
            inputs,
            errands,
            answers,
            appender,
            manager,
            accepted,
            checkpoints,
            held: VecDeque::new(),
            steps: VecDeque::new(),
            clock: Clock::new(),
            gauge,
            started: now,
            steps_retried: now,
            appended: 0,
            sources_changed: false,
            proving: Vec::new(),
            looked: Instant::now(),
            stopping: false,
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
                let shop = Shop::new(slot.partition.topic, Arc::clone(&self.codec), self.config.log_id);
                slot.core = Core::resting(shop, self.config.limits, Fold::restored(restored));
            }
        }
        // Nobody else sets it.
        let _ = self.shared.stores.set(stores);
    }

    fn work(&mut self, inbox: &Receiver<Input>) {
        let (mut ticked, mut began) = (Instant::now(), Instant::now());
        loop {
            let patience = if self.proving.is_empty() { TICK } else { HURRY };
            match inbox.recv_timeout(patience) {
                Ok(input) => self.take(input),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let is_busy = std::mem::replace(&mut began, Instant::now()).elapsed() < BUSY;
            for input in inbox.try_iter().take(INPUTS_AT_ONCE) {
                self.take(input);
            }
            self.submit_steps();
            self.hurry();
            if ticked.elapsed() >= TICK {
                ticked = Instant::now();
                self.tick();
            }
            self.answers.hand_over();
            // The handles are the only ones beside ourselves that hold the shared part.
            if self.stopping || Arc::strong_count(&self.shared) == 1 {
                return;
            }
            if is_busy {
                std::thread::sleep(GATHER);
            }
        }
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Submit {
                slot,
                submission,
                reply,
            } if submission.respond_async => self.accept(slot, submission.request, reply),
            Input::Submit {
                slot,
                submission,
                reply,
            } => self.submit(slot, submission.request, reply),
            Input::LookUp { id, reply } => {
                // Whoever asked may be gone.
                let _ = reply.send(self.look_up(id));
            }
            Input::Prove { slot, reply, place } => self.prove(slot, Caller::Proof(reply, place)),
            Input::Look { slot, reader } => {
                self.slots[slot].look(reader);
                self.carry_out(slot);
            }
            Input::Unreadable { slot, error } => {
                self.slots[slot].core.lose(&error);
                self.carry_out(slot);
            }
            Input::Stepped { step, decision } => self.stepped(step, decision),
            Input::Accepted(records) => {
                for record in records {
                    self.take_accepted(&record);
                }
                self.tell_sources();
            }
            Input::Roles(roles) => self.change_roles(&roles),
            Input::Report(Report { ticket, outcome }) => self.report(ticket, outcome),
            Input::Read(batch) => self.read_or_hold(batch),
            Input::Saved(saved) => self.saved(saved),
            Input::Stop => self.stopping = true,
        }
    }

    fn prove(&mut self, slot: usize, caller: Caller) {
        let (at, now_ms) = (self.clock.now(), self.now_ms());
        let core = &mut self.slots[slot].core;
        core.hurry(now_ms);
        core.prove(at, caller);
        if core.hurry(now_ms) && !self.proving.contains(&slot) {
            self.proving.push(slot);
        }
        self.carry_out(slot);
    }

    /// Sends barriers that are due before the next tick.
    fn hurry(&mut self) {
        let now_ms = self.now_ms();
        for slot in std::mem::take(&mut self.proving) {
            if self.slots[slot].core.hurry(now_ms) {
                self.proving.push(slot);
            }
            self.carry_out(slot);
        }
    }

    /// Milliseconds since the thread's start.
    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
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

    fn submit(&mut self, slot: usize, request: Box<Request<Command>>, reply: oneshot::Sender<Decision>) {
        let core = &mut self.slots[slot].core;
        if self.accepted.is_another(&request) && !core.knows(&request) {
            self.accepted.wait_for_another(Other { slot, request, reply });
        } else {
            core.submit(request, Caller::Client(reply));
        }
        self.carry_out(slot);
    }

    fn report(&mut self, ticket: usize, outcome: Outcome) {
        let (slot, ticket) = (ticket >> TICKET_BITS, ticket & ((1 << TICKET_BITS) - 1));
        if let Some(Slot { core, .. }) = self.slots.get_mut(slot) {
            core.report(ticket, outcome);
            self.carry_out(slot);
            return;
        }
        let offset = match outcome {
            Outcome::At(offset) => Some(offset),
            Outcome::Doubt => None,
        };
        match self.accepted.appended(ticket, offset, self.config.partitions) {
            Appended::Nothing => {}
            Appended::Buried { slot, source } => {
                let now = self.clock.now();
                self.slots[slot].core.pass(source, now);
                self.carry_out(slot);
            }
            Appended::NotBuried { slot, source } => self.read_again(slot, source),
        }
    }

    fn look_up(&mut self, id: Uuid) -> Option<Standing> {
        let answered = self.slots.iter_mut().find_map(|slot| {
            let kept = slot.core.kept(id)?;
            Some(Answered {
                answer: kept.answer,
                partition: slot.partition,
                next_offset: kept.next_offset,
                replayed: true,
            })
        });
        answered
            .map(Standing::Answered)
            .or_else(|| self.accepted.find(id))
            .or_else(|| {
                let pending = self.slots.iter().any(|slot| slot.core.is_pending(id));
                pending.then_some(Standing::Accepted(None))
            })
    }

    fn change_roles(&mut self, roles: &[Role]) {
        let mut lost = Vec::new();
        for (number, role) in roles.iter().enumerate().take(self.slots.len()) {
            let slot = &mut self.slots[number];
            if slot.role == Some(*role) {
                continue;
            }
            tracing::info!(partition = ?slot.partition, from = ?slot.role, to = ?role, "writer.role");
            let was_owned = slot.is_owned();
            slot.role = Some(*role);
            metrics::record_owner(slot.partition, slot.is_owned());
            if *role == Role::Owner {
                slot.core.lead();
                self.carry_out(number);
            } else if was_owned {
                slot.sources.end();
                self.sources_changed = true;
                self.accepted.forget(number);
                lost.push(number);
            }
        }
        if !lost.is_empty() {
            let partitions = self.config.partitions;
            self.manager
                .forget(&lost, |order_id| order_slot(order_id, partitions));
        }
        self.follow();
    }

    /// Lets writers that are not this instance's own, and have nothing to do, follow or rest.
    fn follow(&mut self) {
        for number in 0..self.slots.len() {
            let slot = &mut self.slots[number];
            match slot.role {
                Some(Role::Standby) if !slot.core.is_following() => {
                    slot.core.follow();
                }
                Some(Role::Idle) => slot.core.rest(),
                _ => continue,
            }
            self.carry_out(number);
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
        let now_ms = self.now_ms();
        for slot in 0..self.slots.len() {
            self.slots[slot].core.tick(now_ms);
            self.carry_out(slot);
            let core = &mut self.slots[slot].core;
            self.checkpoints.look(slot, core);
            self.checkpoints.evict(core);
        }
        self.follow();
        self.look();
        self.close_due();
        if std::mem::take(&mut self.sources_changed) {
            self.read_sources();
        }
        if self.steps_retried.elapsed() >= RETRY_STEPS {
            self.steps_retried = Instant::now();
            self.steps.extend(self.manager.take_stalled());
            self.slots.iter_mut().for_each(Slot::forget_readers);
            // What this instance accepted for another one, that one sees to.
            for (number, slot) in self.slots.iter().enumerate() {
                if !slot.is_owned() {
                    self.accepted.forget(number);
                }
            }
        }
        if let Some(reason) = self.appender.broken() {
            tracing::error!(reason, "writer.producer.broken: making a new one");
            match new_appender(&self.config, &self.inputs) {
                // Records in flight of the old one get their reports, in doubt, when it is dropped.
                Ok(appender) => self.appender = appender,
                Err(error) => tracing::error!(%error, "writer.producer.make"),
            }
        }
        let backlog = self.slots.iter().map(|slot| slot.core.backlog()).sum();
        metrics::appended(std::mem::take(&mut self.appended));
        self.gauge.steps(self.manager.len());
        self.gauge.tick();
        self.shared.backlog.store(backlog, Ordering::Relaxed);
        self.checkpoints.record(self.slots.iter().map(|slot| &slot.core));
        metrics::record_backlog(backlog, self.manager.len(), self.shared.admission.work_max());
    }

    /// Looks at the partitions that are this instance's own and quiet, now and then: at all of them at once, as the broker is
    /// asked once then where they end.
    fn look(&mut self) {
        let is_due = self.looked.elapsed() >= LOOK_EVERY;
        for number in 0..self.slots.len() {
            let slot = &mut self.slots[number];
            if slot.is_quiet() && slot.is_owned() && is_due {
                slot.core.look();
                self.carry_out(number);
            }
        }
        if is_due {
            self.looked = Instant::now();
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
