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
use smallvec::{SmallVec, smallvec};
use uuid::Uuid;

use super::domain::{Domain, Request};
use super::flight::Flights;
use super::fold::{Effective, Fold};
use super::output::{Limits, Output, Upto};
use super::remembered::Kept;

/// Those who wait for a command, with the fingerprint that each sent: nearly always one.
type Callers<C> = SmallVec<[([u8; 16], C); 1]>;

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
    /// Knows what it knows, reads nothing and takes nothing.
    Resting,
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
    pub(super) waiting: VecDeque<Box<Request<D::Command>>>,
    /// Who waits for each command that is waiting or in flight, with the fingerprint of the request.
    pub(super) callers: FxHashMap<Uuid, Callers<C>>,
    /// Who wants the history proven and has no record in flight yet that does it.
    pub(super) unproven: Vec<C>,
    /// When a barrier was last asked for.
    pub(super) unproven_at: Timestamp,
    /// No barrier before that.
    pub(super) barrier_from_ms: u64,
    /// Records that may be in flight: halved when somebody else wrote in between, so that two writers waste little.
    pub(super) window: usize,
    /// Aggregates that changed while reading, and for which the process manager has something to do.
    pub(super) changed: FxHashSet<D::Key>,
    /// Whether nobody was told yet which aggregates have work: all of them are announced once the history is folded.
    pub(super) untold: bool,
    /// Aggregates that nobody was told of yet because all they wait for is a deadline: there may be millions.
    pub(super) later: Vec<D::Key>,
    /// Whether it came to the log's end once, and has known all but the newest since.
    pub(super) current: bool,
    /// The commands topic is done with up to there, though no record of a command says so.
    pub(super) passed: Option<u64>,
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
        let mut core = Self::resting(domain, limits, fold.as_saved());
        core.lead();
        core
    }

    /// A writer that does nothing until it is told to [`Core::lead`] or to [`Core::follow`].
    pub fn resting(domain: D, limits: Limits, fold: Fold<D>) -> Self {
        Self {
            domain,
            limits,
            tail: fold.link(),
            fold,
            phase: Phase::Resting,
            flights: Flights::default(),
            waiting: VecDeque::new(),
            callers: FxHashMap::default(),
            unproven: Vec::new(),
            unproven_at: Timestamp(0),
            barrier_from_ms: 0,
            window: limits.in_flight_max,
            changed: FxHashSet::default(),
            untold: true,
            later: Vec::new(),
            current: false,
            passed: None,
            delta_number: 0,
            now_ms: 0,
            out: VecDeque::new(),
        }
    }

    /// Decides commands from now on, and tells which aggregates have work. One that followed, and was at the log's end,
    /// does so at once: should somebody else have written in between, its first record is void and it reads on.
    pub fn lead(&mut self) {
        match self.phase {
            Phase::Reading(Upto::Ever) if self.current => {
                self.untold = true;
                self.finish_reading();
            }
            Phase::Resting | Phase::Reading(Upto::Ever) => {
                self.untold = true;
                self.read(Upto::End);
            }
            Phase::Reading(_) | Phase::Lost => self.untold = true,
            Phase::Writing | Phase::Settling => {
                self.untold = true;
                if matches!(self.phase, Phase::Writing) {
                    self.announce_changed();
                }
            }
            Phase::Stopped => {}
        }
    }

    /// Folds what somebody else writes, until a command comes or it is told to lead. Only while nobody waits for anything:
    /// false, and nothing done, where somebody does.
    pub fn follow(&mut self) -> bool {
        let idle = self.backlog() == 0 && self.unproven.is_empty() && self.passed.is_none();
        match self.phase {
            Phase::Reading(Upto::Ever) => true,
            Phase::Resting | Phase::Writing if idle => {
                self.read(Upto::Ever);
                true
            }
            _ => false,
        }
    }

    /// Gives up reading and deciding, and keeps what it knows. Only while nobody waits for anything: nothing is done where
    /// somebody does.
    pub fn rest(&mut self) {
        if self.follow() {
            self.phase = Phase::Resting;
            self.current = false;
            self.untold = true;
            self.later = Vec::new();
            // The read that following begins with is not wanted.
            self.out.retain(|output| !matches!(output, Output::Read { .. }));
        }
    }

    /// Looks whether somebody else wrote since it wrote itself: a record of another writer, or of one that is dead, may land long
    /// after it was sent, and whoever writes nothing would not notice. Only while nobody waits for anything.
    pub fn look(&mut self) {
        let idle = self.backlog() == 0 && self.unproven.is_empty() && self.passed.is_none();
        if idle && matches!(self.phase, Phase::Writing) {
            self.read(Upto::End);
        }
    }

    /// Whether the history is folded up to what was the log's end not long ago.
    pub fn is_current(&self) -> bool {
        self.is_writing() || (matches!(self.phase, Phase::Reading(_)) && self.current)
    }

    /// Whether it gave up: an effective record cannot be folded.
    pub fn is_stopped(&self) -> bool {
        matches!(self.phase, Phase::Stopped)
    }

    /// Whether it knows what it knows and will learn nothing more by itself.
    pub const fn is_resting(&self) -> bool {
        matches!(self.phase, Phase::Resting)
    }

    /// Whether it folds what somebody else writes.
    pub fn is_following(&self) -> bool {
        matches!(self.phase, Phase::Reading(Upto::Ever))
    }

    /// Whether a command is answered already, or under way.
    pub fn knows(&mut self, request: &Request<D::Command>) -> bool {
        if self.is_pending(request.id) || self.kept(request.id).is_some() {
            return true;
        }
        let key = self.domain.target(&request.command);
        let warm = self.fold.warm(&self.domain, &key);
        if let Err(error) = warm {
            self.lose(&error);
            return false;
        }
        let state = self.fold.state(&key);
        state.is_some_and(|state| self.domain.replay(state, request).is_some())
    }

    /// What is kept of an answered command, wherever it is.
    pub fn kept(&mut self, id: Uuid) -> Option<Kept<D::Answer>> {
        self.fold.kept(id).unwrap_or_else(|error| {
            self.lose(&error);
            None
        })
    }

    /// Whether somebody waits for the answer to a command.
    pub fn is_pending(&self, id: Uuid) -> bool {
        self.callers.contains_key(&id)
    }

    /// The commands topic is done with up to and including that offset, though no record says so: its command was answered
    /// before, or cannot be read. A barrier says it, unless a later command's record does.
    pub fn pass(&mut self, source: u64, at: Timestamp) {
        self.passed = self.passed.max(Some(source));
        self.unproven_at = self.unproven_at.max(at);
        self.decide_waiting();
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
    pub fn submit(&mut self, request: impl Into<Box<Request<D::Command>>>, caller: C) {
        let request = request.into();
        if let Some(kept) = self.kept(request.id) {
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
        if matches!(self.phase, Phase::Stopped | Phase::Resting)
            || self.waiting.len() >= self.limits.waiting_max
        {
            self.out.push_back(Output::Unavailable { caller });
            return;
        }
        self.callers
            .insert(request.id, smallvec![(request.fingerprint, caller)]);
        self.waiting.push_back(request);
        self.stop_following();
        self.decide_waiting();
    }

    /// Somebody wants to know how far the history goes, for a strong read. Only a record that is sent from now on and is
    /// acknowledged tells: the next command's, or a barrier where none is due. The log's end offset tells nothing, since a
    /// deposed broker can answer an old one.
    pub fn prove(&mut self, at: Timestamp, caller: C) {
        if matches!(self.phase, Phase::Stopped | Phase::Resting) {
            self.out.push_back(Output::Unavailable { caller });
            return;
        }
        self.unproven.push(caller);
        self.unproven_at = self.unproven_at.max(at);
        self.stop_following();
        if Bug::StrongByEndOffset.is_in() && matches!(self.phase, Phase::Writing) && self.flights.is_empty() {
            return self.read(Upto::End);
        }
        self.decide_waiting();
    }

    /// Time passed, in milliseconds since the fixed point of [`Core::tick`], which looks at everything and comes less often: sends
    /// a barrier if one is due. Whether somebody still waits for one.
    pub fn hurry(&mut self, now_ms: u64) -> bool {
        self.now_ms = self.now_ms.max(now_ms);
        if self.unproven.is_empty() {
            return false;
        }
        self.decide_waiting();
        matches!(self.phase, Phase::Writing) && !self.unproven.is_empty()
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
        self.announce_later();
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
                    source: envelope.source.filter(|_| !Bug::ForgetCarriedOut.is_in()),
                };
                match self.fold.apply(&self.domain, &effective, &envelope.causes) {
                    // Where all will be told, there is nothing to note; a follower might note for ever.
                    Ok(_) if self.untold || matches!(upto, Upto::Ever) => {}
                    Ok(folded) => self.note_changed(folded.changed),
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
        match self.phase {
            Phase::Reading(Upto::End) => self.finish_reading(),
            Phase::Reading(Upto::Ever) => self.current = true,
            _ => {}
        }
    }

    /// The log ends before what was folded: it was truncated or restored. All that was folded is thrown away.
    pub fn truncated(&mut self) {
        self.fold = Fold::new(Checkpoint::BEGINNING);
        self.changed.clear();
        self.untold = true;
        self.later.clear();
        self.current = false;
        match self.phase {
            Phase::Reading(Upto::Ever) => self.read(Upto::Ever),
            _ => self.read(Upto::End),
        }
    }

    /// A command, or somebody who wants the history proven, makes a writer of a follower.
    fn stop_following(&mut self) {
        if !matches!(self.phase, Phase::Reading(Upto::Ever)) {
            return;
        }
        if self.current {
            self.finish_reading();
        } else {
            self.read(Upto::End);
        }
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
