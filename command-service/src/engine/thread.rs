//! The writers' thread: takes inputs, runs the state machines, does what they want done.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use domain::Command;
use eventlog::{
    Appender, LogError, NewRecord, Outcome, PlainNew, PlainRecord, PlainTopic, Positions, Report, Topic,
    TopicPartition,
};
use schemas::Codec;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::EngineConfig;
use super::accepted::{self, Accepted, Appended, Other};
use super::admission::Gauge;
use super::caller::Caller;
use super::checkpoints::{Checkpoints, Saved};
use super::handle::Shared;
use super::messages::{
    Answered, Batch, Decision, Errand, ErrandStep, Input, Job, NotAnswered, Order, ReadEnd, Role, Standing,
};
use super::process_manager::{Half, ProcessManager};
use super::reading::Readers;
use super::slot::Slot;
use super::slots::{partition_at, partition_for, slot_count, slot_of};
use crate::clock::Clock;
use crate::metrics;
use crate::shop::{Answer, Key, Shop};
use crate::writer::{Core, Fold, Kept, Output, Request, Upto};

/// Inputs that are handled before outputs of the process manager and the clock get their turn.
const INPUTS_AT_ONCE: usize = 256;

/// How often time passes for the state machines.
const TICK: Duration = Duration::from_millis(20);

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
    /// The partition that was looked at last.
    looked: usize,
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
            looked: 0,
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
            if self.stopping || Arc::strong_count(&self.shared) == 1 {
                return;
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
            Input::Prove { slot, reply } => {
                let at = self.clock.now();
                self.slots[slot].core.prove(at, Caller::Proof(reply));
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

    fn submit(&mut self, slot: usize, request: Request<Command>, reply: oneshot::Sender<Decision>) {
        let core = &mut self.slots[slot].core;
        if self.accepted.is_another(&request) && !core.knows(&request) {
            self.accepted.wait_for_another(Other { slot, request, reply });
        } else {
            core.submit(request, Caller::Client(reply));
        }
        self.carry_out(slot);
    }

    /// Keeps a command durably, unless its answer is known, or under way.
    fn accept(&mut self, slot: usize, request: Request<Command>, reply: oneshot::Sender<Decision>) {
        let core = &mut self.slots[slot].core;
        if !core.is_current() {
            let _ = reply.send(Err(NotAnswered::Unavailable));
        } else if core.knows(&request) {
            core.submit(request, Caller::Client(reply));
            self.carry_out(slot);
        } else if self.accepted.is_another(&request) {
            self.accepted.wait_for_another(Other { slot, request, reply });
        } else if let Some(ticket) = self.accepted.expect(slot, &request, reply) {
            let (key, value) = accepted::encode(&request);
            let record = PlainNew {
                topic: PlainTopic::Commands,
                partition: self.slots[slot].partition.partition,
                key: &key,
                value: &value,
                headers: &[("content-type", "application/json")],
            };
            self.append_plain(&record, ticket);
        }
    }

    fn append_plain(&mut self, record: &PlainNew<'_>, ticket: usize) {
        let tagged = (self.slots.len() << TICKET_BITS) | ticket;
        if !self.appender.append_plain(record, tagged) {
            self.report(tagged, Outcome::Doubt);
        }
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

    /// Carries out an accepted command, if that is this instance's affair.
    fn take_accepted(&mut self, record: &PlainRecord) {
        let now = self.clock.now();
        let command = accepted::decode(record, self.config.partitions, now);
        let target = TopicPartition {
            topic: command
                .as_ref()
                .map_or(accepted::UNREADABLE, |request| request.command.target().topic),
            partition: record.partition,
        };
        for topic in Topic::ALL.into_iter().filter(|topic| *topic != target.topic) {
            let slot = slot_of(TopicPartition { topic, ..target }, self.config.partitions);
            if self.slots[slot].sources.skip(record.offset) {
                let source = u64::try_from(record.offset).unwrap_or(0);
                self.slots[slot].core.pass(source, now);
                self.carry_out(slot);
            }
        }
        let slot = slot_of(target, self.config.partitions);
        if !self.slots[slot].sources.take(record.offset) {
            return;
        }
        match command {
            Ok(request) => {
                self.accepted
                    .begin(slot, &request, (record.partition, record.offset));
                let caller = Caller::Accepted(request.id, record.offset);
                self.slots[slot].core.submit(request, caller);
                self.carry_out(slot);
            }
            Err(reason) => self.bury(slot, record, &reason),
        }
    }

    /// Keeps a record of the commands topic that cannot be read among the dead letters, and goes on.
    fn bury(&mut self, slot: usize, record: &PlainRecord, reason: &str) {
        let (partition, offset) = (record.partition, record.offset);
        tracing::error!(
            partition,
            offset,
            reason,
            "commands.unreadable: it goes to the dead letters"
        );
        metrics::dead_letter();
        let topic = PlainTopic::Commands.name(&self.config.log.prefix);
        let key = format!("{topic}/{partition}/{offset}");
        let ticket = self.accepted.bury(slot, u64::try_from(offset).unwrap_or(0));
        self.append_plain(
            &PlainNew {
                topic: PlainTopic::DeadLetters,
                partition: 0,
                key: key.as_bytes(),
                value: &record.value,
                headers: &[
                    ("tw_reason", reason),
                    ("tw_topic", &topic),
                    ("tw_partition", &partition.to_string()),
                    ("tw_offset", &offset.to_string()),
                    ("tw_key", &String::from_utf8_lossy(&record.key)),
                ],
            },
            ticket,
        );
    }

    /// An accepted command was turned away: it is read again, and none is carried out before it.
    fn read_again(&mut self, slot: usize, source: u64) {
        let Slot { core, sources, .. } = &mut self.slots[slot];
        if core.is_stopped() {
            sources.end();
        } else if sources.again(i64::try_from(source).unwrap_or(i64::MAX)) {
            self.accepted.read_again();
        }
        self.sources_changed = true;
    }

    /// Reads the accepted commands of the partitions that are this instance's affair.
    fn read_sources(&mut self) {
        let mut partitions = std::collections::BTreeMap::new();
        for slot in &self.slots {
            if let Some(next) = slot.sources.next() {
                let from = partitions.entry(slot.partition.partition).or_insert(next);
                *from = (*from).min(next);
            }
        }
        self.accepted.read(partitions.into_iter().collect());
        self.tell_sources();
    }

    /// Tells the way in how far the accepted commands are taken in.
    fn tell_sources(&self) {
        for (partition, shared) in self.shared.sources.iter().enumerate() {
            let slots = self.slots.iter().filter(|slot| {
                usize::try_from(slot.partition.partition).is_ok_and(|number| number == partition)
            });
            let next = slots.filter_map(|slot| slot.sources.next()).min().unwrap_or(-1);
            shared.store(next, Ordering::Release);
        }
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
            let slot_of_order = |order_id| slot_of(order_partition(order_id, partitions), partitions);
            self.manager.forget(&lost, slot_of_order);
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
        let now_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
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

    /// Looks at one partition after the other that is this instance's own and quiet, one with each tick.
    fn look(&mut self) {
        let quiet: Vec<bool> = self
            .slots
            .iter_mut()
            .map(|slot| slot.is_quiet() && slot.is_owned())
            .collect();
        let turns = (1..=quiet.len()).map(|step| (self.looked + step) % quiet.len());
        if let Some(number) = turns.into_iter().find(|number| quiet[*number]) {
            self.looked = number;
            self.slots[number].core.look();
            self.carry_out(number);
        }
    }

    /// Closes orders whose deadline has come.
    fn close_due(&mut self) {
        let now = self.clock.now();
        for order_id in self.manager.take_due(now) {
            let slot = slot_of(
                order_partition(order_id, self.config.partitions),
                self.config.partitions,
            );
            let core = &mut self.slots[slot].core;
            let order = core
                .look_up(&Key::Order(order_id))
                .and_then(|state| state.as_order());
            if let Some(id) = order.and_then(|order| self.manager.close(order_id, order)) {
                self.steps.push_back((id, Half::Closing));
            }
        }
    }

    /// Submits what the process manager wants; its answers may bring more.
    fn submit_steps(&mut self) {
        while let Some((id, half)) = self.steps.pop_front() {
            let now = self.clock.now();
            let Some(request) = self.manager.request(id, half, now) else {
                continue;
            };
            let slot = slot_of(
                partition_for(&request.command, self.config.partitions),
                self.config.partitions,
            );
            if self.slots[slot].is_owned() {
                self.slots[slot].core.submit(request, Caller::Step(id, half));
                self.carry_out(slot);
            } else {
                let step = ErrandStep { id, half };
                if self.errands.send(Errand { step, request }).is_err() {
                    self.manager.stall(id, half);
                }
            }
        }
    }

    /// Does what a writer wants done.
    fn carry_out(&mut self, slot: usize) {
        while let Some(output) = self.slots[slot].core.next_output() {
            match output {
                Output::Append { ticket, record } => self.append(slot, ticket, &record),
                Output::Read { from, upto } => self.begin_reading(slot, from, upto),
                Output::Answer {
                    caller,
                    kept,
                    replayed,
                } => self.answer(slot, caller, kept, replayed),
                Output::Proven { caller, next_offset } => {
                    if let Caller::Proof(reply) = caller {
                        // Whoever asked may be gone.
                        let _ = reply.send(Ok(next_offset));
                    }
                }
                Output::Mismatch { caller } => self.turn_away(slot, caller, NotAnswered::Mismatch),
                Output::Unavailable { caller } => self.turn_away(slot, caller, NotAnswered::Unavailable),
                Output::Changed { key, traceparent } => self.changed(slot, &key, traceparent.as_ref()),
                Output::Void { offset, fault } => self.slots[slot].void(offset, fault),
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
        let state = &mut self.slots[slot];
        if state.following && !state.core.is_following() {
            state.following = false;
            // The reader's thread lives as long as this one.
            let _ = self.readers.following.send(Order::Stop(state.partition));
        }
        if state.begin_sources() {
            // It may be where it began before: what was read since then went to nobody.
            self.accepted.read_again();
            self.sources_changed = true;
        }
        let is_current = state.core.is_current();
        self.shared.folded[slot].store(state.core.fold().next_offset(), Ordering::Release);
        self.shared.current[slot].store(is_current, Ordering::Release);
        if is_current || state.role == Some(Role::Idle) {
            self.shared.ready[slot].store(true, Ordering::Release);
        }
    }

    fn begin_reading(&mut self, slot: usize, from: i64, upto: Upto) {
        let state = &mut self.slots[slot];
        state.generation += 1;
        let order = Order::Read(Job {
            slot,
            generation: state.generation,
            partition: state.partition,
            from,
            upto,
        });
        // The readers' threads live as long as this one.
        if upto == Upto::Ever {
            state.following = true;
            let _ = self.readers.following.send(order);
        } else {
            let _ = self.readers.hopping.send(order);
        }
    }

    fn append(&mut self, slot: usize, ticket: usize, record: &NewRecord) {
        let tagged = (slot << TICKET_BITS) | ticket;
        if self.appender.append(self.slots[slot].partition, record, tagged) {
            self.appended += 1;
        } else {
            self.slots[slot].core.report(ticket, Outcome::Doubt);
        }
    }

    fn answer(&mut self, slot: usize, caller: Caller, kept: Kept<Answer>, replayed: bool) {
        let answered = Answered {
            answer: kept.answer,
            partition: self.slots[slot].partition,
            next_offset: kept.next_offset,
            replayed,
        };
        match caller {
            // A client that gave up asks again with the same key.
            Caller::Client(reply) => drop(reply.send(Ok(Standing::Answered(answered)))),
            Caller::Step(id, half) => self.step_answered(id, half, &answered),
            Caller::Accepted(id, offset) => {
                self.pass(slot, offset);
                self.accepted_ends(id, true);
            }
            Caller::Proof(_) => {}
        }
    }

    /// An accepted command has its answer, or found no writer. Those who waited to know whose its key is are told.
    fn accepted_ends(&mut self, id: Uuid, is_answered: bool) {
        for Other { slot, request, reply } in self.accepted.end(id, is_answered) {
            self.slots[slot].core.submit(request, Caller::Client(reply));
            self.carry_out(slot);
        }
    }

    /// An accepted command is done with. Its own record says so; where it left none, a barrier has to.
    fn pass(&mut self, slot: usize, offset: i64) {
        let Ok(source) = u64::try_from(offset) else { return };
        if self.slots[slot].core.fold().carried_out() < Some(source) {
            let now = self.clock.now();
            self.slots[slot].core.pass(source, now);
        }
    }

    fn step_answered(&mut self, id: Uuid, half: Half, answered: &Answered) {
        match half {
            Half::Asking => {
                let position = [(answered.partition, answered.next_offset)].into_iter().collect();
                self.manager.asked(id, &answered.answer, &position);
                self.steps.push_back((id, Half::Recording));
            }
            Half::Recording => {
                let order = self.manager.recorded(id, &answered.answer);
                // Somebody else recorded it: the order did not change just now, and may ask for something all the same.
                if let Some(order_id) =
                    order.filter(|_| answered.replayed || answered.answer.refusal().is_some())
                {
                    let slot = slot_of(
                        order_partition(order_id, self.config.partitions),
                        self.config.partitions,
                    );
                    self.changed(slot, &Key::Order(order_id), None);
                }
            }
            Half::Closing => self.manager.closed(id),
        }
    }

    /// Another instance was asked for a step.
    fn stepped(&mut self, step: ErrandStep, decision: Decision) {
        let ErrandStep { id, half } = step;
        match decision.and_then(Standing::answered) {
            Ok(answered) => self.step_answered(id, half, &answered),
            Err(reason) => self.step_stalled(id, half, reason),
        }
    }

    fn step_stalled(&mut self, id: Uuid, half: Half, reason: NotAnswered) {
        match (reason, half) {
            // An instance with another payment window closed it.
            (NotAnswered::Mismatch, Half::Closing) => self.manager.closed(id),
            (NotAnswered::Mismatch, _) => {
                tracing::error!(command_id = %id, "process_manager.step.mismatch: a bug");
                self.manager.stall(id, half);
            }
            _ => self.manager.stall(id, half),
        }
    }

    fn turn_away(&mut self, slot: usize, caller: Caller, reason: NotAnswered) {
        match caller {
            Caller::Client(reply) => drop(reply.send(Err(reason))),
            Caller::Proof(reply) => drop(reply.send(Err(reason))),
            Caller::Step(id, half) => self.step_stalled(id, half, reason),
            Caller::Accepted(id, offset) => {
                let is_over = reason == NotAnswered::Mismatch;
                self.accepted_ends(id, is_over);
                if is_over {
                    tracing::warn!(command_id = %id, offset, "commands.key_reused: its id belongs to another request");
                    self.pass(slot, offset);
                } else {
                    self.read_again(slot, u64::try_from(offset).unwrap_or(0));
                }
            }
        }
    }

    fn changed(&mut self, number: usize, key: &Key, traceparent: Option<&Arc<str>>) {
        let slot = &mut self.slots[number];
        let Key::Order(order_id) = key else { return };
        if !slot.is_owned() {
            return;
        }
        let causes: Positions = [(slot.partition, slot.core.fold().next_offset())]
            .into_iter()
            .collect();
        let Some(order) = slot.core.look_up(key).and_then(|state| state.as_order()) else {
            return;
        };
        let begun = self.manager.begin(number, *order_id, order, &causes, traceparent);
        self.steps.extend(begun.into_iter().map(|id| (id, Half::Asking)));
    }
}

/// Where an order's events are.
fn order_partition(order_id: Uuid, partitions: i32) -> TopicPartition {
    TopicPartition {
        topic: Topic::Orders,
        partition: eventlog::partition_of(order_id.to_string().as_bytes(), partitions),
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
