//! The process manager, run: asks the stock for what orders need, and records its answers on the orders.
//!
//! What is to be done is derived from an order's state (`domain::outstanding`); here is only what is under way. Losing
//! it loses nothing: the same steps are derived again, with the same command ids.

use std::collections::hash_map::Entry;
use std::sync::Arc;

use domain::{Command, Order, OrderCommand, Task};
use eventlog::{LogId, Positions};
use rustc_hash::FxHashMap;
use schemas::{Timestamp, ids};
use uuid::Uuid;

use crate::shop::Answer;
use crate::writer::{Expected, Request};

/// Who waits for an answer of a step: the id of its stock command, and which half of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Half {
    /// The stock's answer.
    Asking,
    /// The order's.
    Recording,
}

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
    /// Steps that found no writer, to be tried again.
    stalled: Vec<(Uuid, Half)>,
}

impl ProcessManager {
    pub fn new(log_id: LogId) -> Self {
        Self {
            log_id,
            steps: FxHashMap::default(),
            by_order: FxHashMap::default(),
            stalled: Vec::new(),
        }
    }

    /// How many steps are under way.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// The steps that an order's state asks for and that are not under way: their ids, to be asked.
    ///
    /// What is under way is among what the state asks for, so equal numbers mean that nothing is new: an order of a
    /// thousand lines is not looked through a thousand times.
    pub fn begin(
        &mut self,
        order_id: Uuid,
        order: &Order,
        causes: &Positions,
        traceparent: Option<&Arc<str>>,
    ) -> Vec<Uuid> {
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

    /// The command of a step's half; none where the step is over.
    pub fn request(&self, id: Uuid, half: Half, at: Timestamp) -> Option<Request<Command>> {
        let step = self.steps.get(&id)?;
        let (command_id, command) = match half {
            Half::Asking => (id, Command::Stock(step.task.command.clone())),
            Half::Recording => {
                let command = step.recording.clone()?;
                (
                    ids::step_id(ids::event_id(id), "record", step.task.line),
                    Command::Order(command),
                )
            }
        };
        Some(Request {
            id: command_id,
            fingerprint: ids::fingerprint("", "", command.canonical_json().as_bytes()),
            at,
            expected: Expected::Any,
            causes: step.causes.encode(self.log_id).into(),
            traceparent: step.traceparent.clone(),
            source: None,
            command,
        })
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

    /// No writer took it.
    pub fn stall(&mut self, id: Uuid, half: Half) {
        self.stalled.push((id, half));
    }

    /// What is to be tried again.
    pub fn take_stalled(&mut self) -> Vec<(Uuid, Half)> {
        std::mem::take(&mut self.stalled)
    }
}
