//! The process manager, run: asks the stock for what orders need, and records its answers on the orders.
//!
//! What is to be done is derived from an order's state (`domain::outstanding`, `domain::deadline`); here is only what is
//! under way, and when to look again. Losing it loses nothing: the same steps are derived again, with the same command ids.

use std::collections::BTreeSet;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use domain::{Command, Deadline, Order, OrderCommand, Task};
use eventlog::{LogId, Positions};
use rustc_hash::FxHashMap;
use schemas::{Timestamp, ids};
use uuid::Uuid;

use crate::shop::Answer;
use crate::writer::{Expected, Request};

/// Who waits for an answer of a step: the id of its first command, and which half of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Half {
    /// The stock's answer.
    Asking,
    /// The order's.
    Recording,
    /// The order's, to what a deadline asks for: that step has no other half.
    Closing,
}

/// Deadlines that are begun at once, so that many at the same time hold up nobody.
const DUE_AT_ONCE: usize = 500;

struct Step {
    order_id: Uuid,
    task: Task,
    /// What the stock's answer was; none while it is asked.
    recording: Option<OrderCommand>,
    causes: Positions,
    traceparent: Option<Arc<str>>,
}

/// The steps that are under way.
pub(super) struct ProcessManager {
    log_id: LogId,
    steps: FxHashMap<Uuid, Step>,
    /// How many of them each order has.
    by_order: FxHashMap<Uuid, u32>,
    /// When to look at which order again, by the slots of their writers: its state says whether there is still something to do.
    deadlines: FxHashMap<usize, BTreeSet<(Timestamp, Uuid)>>,
    /// Deadlines that are under way.
    closing: FxHashMap<Uuid, (Uuid, Deadline)>,
    payment_window_micros: i64,
    /// Steps that found no writer, to be tried again.
    stalled: Vec<(Uuid, Half)>,
}

impl ProcessManager {
    pub fn new(log_id: LogId, payment_window_micros: i64) -> Self {
        Self {
            log_id,
            steps: FxHashMap::default(),
            by_order: FxHashMap::default(),
            deadlines: FxHashMap::default(),
            closing: FxHashMap::default(),
            payment_window_micros,
            stalled: Vec::new(),
        }
    }

    /// How many steps are under way.
    pub fn len(&self) -> usize {
        self.steps.len() + self.closing.len()
    }

    /// The steps that an order's state asks for and that are not under way: their ids, to be asked.
    ///
    /// What is under way is among what the state asks for, so equal numbers mean that nothing is new: an order of a
    /// thousand lines is not looked through a thousand times.
    pub fn begin(
        &mut self,
        slot: usize,
        order_id: Uuid,
        order: &Order,
        causes: &Positions,
        traceparent: Option<&Arc<str>>,
    ) -> Vec<Uuid> {
        if let Some(deadline) = self.deadline(order_id, order) {
            let of_slot = self.deadlines.entry(slot).or_default();
            of_slot.insert((deadline.due, order_id));
        }
        let under_way = self.by_order.get(&order_id).copied().unwrap_or(0);
        let mut begun = Vec::new();
        if under_way == order.steps_left() {
            return begun;
        }
        for task in domain::outstanding(order_id, order) {
            let id = task.command_id();
            self.steps.entry(id).or_insert_with(|| {
                begun.push(id);
                Step {
                    order_id,
                    task,
                    recording: None,
                    causes: causes.clone(),
                    traceparent: traceparent.cloned(),
                }
            });
        }
        if !begun.is_empty() {
            *self.by_order.entry(order_id).or_default() += u32::try_from(begun.len()).unwrap_or(u32::MAX);
        }
        begun
    }

    fn deadline(&self, order_id: Uuid, order: &Order) -> Option<Deadline> {
        domain::deadline(order_id, order, self.payment_window_micros)
    }

    /// Orders whose deadline has come; each is to be given to [`Self::close`] or forgotten.
    pub fn take_due(&mut self, now: Timestamp) -> Vec<Uuid> {
        let mut due = Vec::new();
        for deadlines in self.deadlines.values_mut() {
            while due.len() < DUE_AT_ONCE
                && let Some((at, order_id)) = deadlines.first().copied()
                && at <= now
            {
                deadlines.pop_first();
                due.push(order_id);
            }
        }
        due
    }

    /// What an order's state asks for now that its deadline has come: the id of the step, where there is one.
    pub fn close(&mut self, order_id: Uuid, order: &Order) -> Option<Uuid> {
        let deadline = self.deadline(order_id, order)?;
        let id = deadline.command_id();
        self.closing.insert(id, (order_id, deadline));
        Some(id)
    }

    /// Gives up everything that is under way for the orders of these slots: another instance sees to them.
    pub fn forget(&mut self, slots: &[usize], slot_of: impl Fn(Uuid) -> usize) {
        let is_ours = |order_id| !slots.contains(&slot_of(order_id));
        self.steps.retain(|_, step| is_ours(step.order_id));
        self.by_order.retain(|order_id, _| is_ours(*order_id));
        self.deadlines.retain(|slot, _| !slots.contains(slot));
        self.closing.retain(|_, (order_id, _)| is_ours(*order_id));
    }

    /// The command of a step's half; none where the step is over.
    pub fn request(&self, id: Uuid, half: Half, at: Timestamp) -> Option<Request<Command>> {
        if half == Half::Closing {
            let (_, deadline) = self.closing.get(&id)?;
            return Some(self.frame(id, deadline.command.clone().into(), &Positions::new(), None, at));
        }
        let step = self.steps.get(&id)?;
        let (command_id, command) = match half {
            Half::Asking => (id, Command::Stock(step.task.command.clone())),
            Half::Recording | Half::Closing => {
                let command = step.recording.clone()?;
                (
                    ids::step_id(ids::event_id(id), "record", step.task.line),
                    Command::Order(command),
                )
            }
        };
        Some(self.frame(command_id, command, &step.causes, step.traceparent.clone(), at))
    }

    fn frame(
        &self,
        id: Uuid,
        command: Command,
        causes: &Positions,
        traceparent: Option<Arc<str>>,
        at: Timestamp,
    ) -> Request<Command> {
        Request {
            id,
            fingerprint: ids::fingerprint("", "", command.canonical_json().as_bytes()),
            at,
            expected: Expected::Any,
            causes: causes.encode(self.log_id).into(),
            traceparent,
            source: None,
            command,
        }
    }

    /// The stock answered: its answer is to be recorded on the order.
    pub fn asked(&mut self, id: Uuid, answer: &Answer, position: &Positions) {
        let Some(step) = self.steps.get_mut(&id) else {
            return;
        };
        let refusal = answer.refusal();
        step.recording = Some(domain::answer(
            &step.task,
            step.order_id,
            refusal.as_deref().map_or(Ok(()), Err),
        ));
        step.causes.merge(position);
    }

    /// The order has it: the step is over. Returns the order.
    pub fn recorded(&mut self, id: Uuid, answer: &Answer) -> Option<Uuid> {
        let step = self.steps.remove(&id)?;
        if let Some(refusal) = answer.refusal() {
            tracing::warn!(order_id = %step.order_id, line = step.task.line, refusal, "process_manager.step.refused");
        }
        if let Entry::Occupied(mut under_way) = self.by_order.entry(step.order_id) {
            *under_way.get_mut() -= 1;
            if *under_way.get() == 0 {
                under_way.remove();
            }
        }
        Some(step.order_id)
    }

    /// The order was closed, or had become another one by its deadline.
    pub fn closed(&mut self, id: Uuid) {
        self.closing.remove(&id);
    }

    /// No writer took it.
    pub fn stall(&mut self, id: Uuid, half: Half) {
        self.stalled.push((id, half));
    }

    /// What is to be tried again.
    pub fn take_stalled(&mut self) -> Vec<(Uuid, Half)> {
        std::mem::take(&mut self.stalled)
    }
}
