//! The process manager's steps: what it wants is submitted here or asked of another instance, and it is told what came of it.

use std::sync::Arc;

use eventlog::Positions;
use uuid::Uuid;

use super::Writers;
use crate::engine::caller::Caller;
use crate::engine::messages::{Answered, Decision, Errand, ErrandStep, NotAnswered, Standing};
use crate::engine::process_manager::Half;
use crate::engine::slots::{order_slot, partition_for, slot_of};
use crate::shop::Key;

impl Writers {
    /// Closes orders whose deadline has come.
    pub(super) fn close_due(&mut self) {
        let now = self.clock.now();
        for order_id in self.manager.take_due(now) {
            let slot = order_slot(order_id, self.config.partitions);
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
    pub(super) fn submit_steps(&mut self) {
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

    pub(super) fn step_answered(&mut self, id: Uuid, half: Half, answered: &Answered) {
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
                    let slot = order_slot(order_id, self.config.partitions);
                    self.changed(slot, &Key::Order(order_id), None);
                }
            }
            Half::Closing => self.manager.closed(id),
        }
    }

    /// Another instance was asked for a step.
    pub(super) fn stepped(&mut self, step: ErrandStep, decision: Decision) {
        let ErrandStep { id, half } = step;
        match decision.and_then(Standing::answered) {
            Ok(answered) => self.step_answered(id, half, &answered),
            Err(reason) => self.step_stalled(id, half, reason),
        }
    }

    pub(super) fn step_stalled(&mut self, id: Uuid, half: Half, reason: NotAnswered) {
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

    pub(super) fn changed(&mut self, number: usize, key: &Key, traceparent: Option<&Arc<str>>) {
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
