//! What the state machines want done: records to append, reads to begin, callers to tell.

use std::sync::atomic::Ordering;

use eventlog::{NewRecord, Outcome};

use super::{TICKET_BITS, Writers};
use crate::engine::caller::Caller;
use crate::engine::messages::{Answered, Job, NotAnswered, Order, Role, Standing};
use crate::metrics;
use crate::shop::Answer;
use crate::writer::{Kept, Output, Upto};

impl Writers {
    /// Does what a writer wants done.
    pub(super) fn carry_out(&mut self, slot: usize) {
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
                    if let Caller::Proof(reply, _place) = caller {
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
        state.tell_readers();
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
            Caller::Client(reply) => self.answers.give(reply, Ok(Standing::Answered(answered))),
            Caller::Step(id, half) => self.step_answered(id, half, &answered),
            Caller::Accepted(id, offset) => {
                self.pass(slot, offset);
                self.accepted_ends(id, true);
            }
            Caller::Proof(..) => {}
        }
    }

    fn turn_away(&mut self, slot: usize, caller: Caller, reason: NotAnswered) {
        match caller {
            Caller::Client(reply) => self.answers.give(reply, Err(reason)),
            Caller::Proof(reply, _place) => drop(reply.send(Err(reason))),
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
}
