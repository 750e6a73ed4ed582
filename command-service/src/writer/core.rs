//! The state machine itself: what it holds, and what comes in.
//!
//! While the oldest record's offset is the next one of the history, nobody else wrote in between: it is effective, and its
//! caller gets the answer. Anything else (another offset, doubt) means: send nothing more, wait for the reports of all in
//! flight, read the log up to there (in doubt up to its end), fold it, answer every command that it holds, and append
//! the rest again: byte for byte the same where it still comes after the last link, else decided anew.
//!
//! What is decided and sent is in `deciding`, what becomes of it in `settling`.

use std::collections::VecDeque;

use eventlog::bugs::Bug;
use eventlog::{Checkpoint, Link, LogRecord, Outcome, Verdict};
use rustc_hash::{FxHashMap, FxHashSet};
use schemas::Timestamp;
use uuid::Uuid;

use super::domain::{Domain, Request};
use super::flight::Flights;
use super::fold::{Effective, Fold};
use super::output::{Limits, Output, Upto};

#[derive(Clone, Hash)]
pub(super) enum Phase {
    /// Folding the log up to there; nothing is in flight unsettled but what [`Core::flights`] holds.
    Reading(Upto),
    /// Deciding and appending.
    Writing,
    /// Something unexpected was reported: waits for all reports, then reads.
    Settling,
    /// What was folded is gone: waits for all reports, then reads from the beginning.
    Lost,
    /// An effective record cannot be folded.
    Stopped,
}

/// The writer of one partition. `C` names a caller.
#[derive(Clone)]
pub struct Core<D: Domain, C> {
    pub(super) domain: D,
    pub(super) limits: Limits,
    pub(super) fold: Fold<D>,
    pub(super) phase: Phase,
    pub(super) flights: Flights<D, C>,
    /// What the next record comes after: the link of the last one in flight, else that of the last folded one.
    pub(super) tail: Link,
    pub(super) waiting: VecDeque<Request<D::Command>>,
    /// Who waits for each command that is waiting or in flight, with the fingerprint of the request.
    pub(super) callers: FxHashMap<Uuid, Vec<([u8; 16], C)>>,
    /// Who wants the history proven and has no record in flight yet that does it, and when the last of them asked.
    pub(super) unproven: Vec<C>,
    pub(super) unproven_at: Timestamp,
    /// No barrier before that.
    pub(super) barrier_from_ms: u64,
    /// Records that may be in flight: halved when somebody else wrote in between, so that two writers waste little.
    pub(super) window: usize,
    /// Aggregates that changed while reading, and for which the process manager has something to do.
    pub(super) changed: FxHashSet<D::Key>,
    /// Of the next delta.
    pub(super) delta_number: u64,
    pub(super) now_ms: u64,
    pub(super) out: VecDeque<Output<D, C>>,
}

impl<D: Domain, C> Core<D, C> {
    /// A writer that knows nothing yet: it reads the log from its beginning to its end.
    pub fn new(domain: D, limits: Limits) -> Self {
        Self::resume(domain, limits, Fold::new(Checkpoint::BEGINNING))
    }

    /// A writer that knows the history up to a checkpoint, whose last record the caller has found in the log.
    pub fn resume(domain: D, limits: Limits, fold: Fold<D>) -> Self {
        let fold = fold.as_saved();
        let mut core = Self {
            domain,
            limits,
            tail: fold.link(),
            fold,
            phase: Phase::Writing,
            flights: Flights::default(),
            waiting: VecDeque::new(),
            callers: FxHashMap::default(),
            unproven: Vec::new(),
            unproven_at: Timestamp(0),
            barrier_from_ms: 0,
            window: limits.in_flight_max,
            changed: FxHashSet::default(),
            delta_number: 0,
            now_ms: 0,
            out: VecDeque::new(),
        };
        core.read(Upto::End);
        core
    }

    /// The next thing that the machine wants done.
    pub fn next_output(&mut self) -> Option<Output<D, C>> {
        self.out.pop_front()
    }

    /// The effective history.
    pub fn fold(&self) -> &Fold<D> {
        &self.fold
    }

    /// Whether the history is folded as far as is known, and commands are decided.
    pub fn is_writing(&self) -> bool {
        matches!(self.phase, Phase::Writing | Phase::Settling)
    }

    /// Commands that have no answer yet.
    pub fn backlog(&self) -> usize {
        self.waiting.len() + self.flights.len()
    }

    /// A command came in.
    pub fn submit(&mut self, request: Request<D::Command>, caller: C) {
        let kept = self.fold.kept(request.id).unwrap_or_else(|error| {
            self.lose(&error);
            None
        });
        if let Some(kept) = kept {
            let output = if kept.fingerprint == request.fingerprint {
                Output::Answer {
                    caller,
                    kept,
                    replayed: true,
                }
            } else {
                Output::Mismatch { caller }
            };
            self.out.push_back(output);
            return;
        }
        // Also with another fingerprint: which of the two requests the key belongs to is for the log to say.
        if let Some(callers) = self.callers.get_mut(&request.id) {
            callers.push((request.fingerprint, caller));
            return;
        }
        if matches!(self.phase, Phase::Stopped) || self.waiting.len() >= self.limits.waiting_max {
            self.out.push_back(Output::Unavailable { caller });
            return;
        }
        self.callers
            .insert(request.id, vec![(request.fingerprint, caller)]);
        self.waiting.push_back(request);
        self.decide_waiting();
    }

    /// Somebody wants to know how far the history goes, for a strong read. Only a record that is sent from now on and is
    /// acknowledged tells: the next command's, or a barrier where none is due. The log's end offset tells nothing, since a
    /// deposed broker can answer an old one.
    pub fn prove(&mut self, at: Timestamp, caller: C) {
        if matches!(self.phase, Phase::Stopped) {
            self.out.push_back(Output::Unavailable { caller });
            return;
        }
        self.unproven.push(caller);
        self.unproven_at = self.unproven_at.max(at);
        if Bug::StrongByEndOffset.is_in() && matches!(self.phase, Phase::Writing) && self.flights.is_empty() {
            return self.read(Upto::End);
        }
        self.decide_waiting();
    }

    /// A delivery report came in.
    pub fn report(&mut self, ticket: usize, outcome: Outcome) {
        self.flights.report(ticket, outcome);
        if Bug::JudgeOutOfOrder.is_in()
            && let Outcome::At(_) = outcome
        {
            self.answer_unseen(ticket);
        }
        self.settle();
    }

    /// Time passed: milliseconds since any fixed point.
    pub fn tick(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
        self.flights
            .doubt_older_than(now_ms.saturating_sub(self.limits.doubt_after_ms));
        self.settle();
    }

    /// A record was read: the one at [`Fold::next_offset`], or a later one where the log has a hole.
    pub fn record(&mut self, record: &LogRecord) {
        let Phase::Reading(upto) = self.phase else { return };
        if record.offset < self.fold.next_offset() {
            return;
        }
        match self.fold.chain.judge(record) {
            Verdict::Void(fault) => {
                self.out.push_back(Output::Void {
                    offset: record.offset,
                    fault,
                });
                if Bug::VoidCounts.is_in() {
                    self.count_void(record);
                }
            }
            Verdict::Effective(envelope) => {
                let event = match self.domain.decode(&record.value) {
                    Ok(event) => event,
                    Err(poison) => return self.stop(record.offset, poison.to_string()),
                };
                if !self.warm_changed_by(&event) {
                    return;
                }
                let effective = Effective {
                    event: &event,
                    event_id: envelope.event_id,
                    command_id: if Bug::ForgetAtTakeOver.is_in() {
                        Uuid::nil()
                    } else {
                        envelope.command_id
                    },
                    fingerprint: envelope.fingerprint,
                    source: envelope.source,
                };
                match self.fold.apply(&self.domain, &effective) {
                    Ok(changed) => self.note_changed(changed),
                    Err(poison) => return self.stop(record.offset, poison.to_string()),
                }
            }
        }
        if matches!(upto, Upto::Offset(offset) if self.fold.next_offset() > offset) {
            self.finish_reading();
        }
    }

    /// The read came to what was the log's end when it began.
    pub fn reached_end(&mut self) {
        if matches!(self.phase, Phase::Reading(Upto::End)) {
            self.finish_reading();
        }
    }

    /// The log ends before what was folded: it was truncated or restored. All that was folded is thrown away.
    pub fn truncated(&mut self) {
        self.fold = Fold::new(Checkpoint::BEGINNING);
        self.changed.clear();
        self.read(Upto::End);
    }

    pub(super) fn read(&mut self, upto: Upto) {
        self.phase = Phase::Reading(upto);
        self.out.push_back(Output::Read {
            from: self.fold.next_offset(),
            upto,
        });
    }

    /// Takes no more commands, and turns those away that wait. What is in flight stays unanswered: nobody knows.
    pub(super) fn stop(&mut self, offset: i64, reason: String) {
        self.phase = Phase::Stopped;
        self.out.push_back(Output::Stopped { offset, reason });
        self.waiting.clear();
        let asked = self
            .flights
            .take()
            .into_iter()
            .flat_map(|flight| flight.sent.proves);
        let commands = self.callers.drain().flat_map(|(_, callers)| callers);
        self.out.extend(
            commands
                .map(|(_, caller)| caller)
                .chain(asked)
                .chain(self.unproven.drain(..))
                .map(|caller| Output::Unavailable { caller }),
        );
    }
}
