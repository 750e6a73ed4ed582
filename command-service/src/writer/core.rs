//! The state machine itself.
//!
//! While the oldest record's offset is the next one of the history, nobody else wrote in between: it is effective, and its
//! caller gets the answer. Anything else (another offset, doubt) means: send nothing more, wait for the reports of all in
//! flight, read the log up to there (in doubt up to its end), fold it, answer every command that it holds, and append
//! the rest again: byte for byte the same where it still comes after the last link, else decided anew.

use std::collections::VecDeque;

use eventlog::{Checkpoint, Fault, Link, LogRecord, NewRecord, Outcome, Verdict};
use rustc_hash::FxHashMap;
use schemas::ids;
use uuid::Uuid;

use super::domain::{Domain, Left, Request};
use super::flight::{Flight, Flights};
use super::fold::{Effective, Fold};
use super::remembered::Kept;

/// Bounds of a writer.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Records in flight at most.
    pub in_flight_max: usize,
    /// Commands waiting to be decided at most; more are turned away.
    pub waiting_max: usize,
    /// A record without a report for that long is in doubt, in milliseconds.
    pub doubt_after_ms: u64,
}

/// How far to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upto {
    /// Up to and including the record at this offset.
    Offset(i64),
    /// Up to what is the log's end when the read begins.
    End,
}

/// What the machine wants done. `C` names a caller.
#[derive(Debug)]
pub enum Output<D: Domain, C> {
    /// Append a record and report what became of it under this ticket.
    Append {
        /// For [`Core::report`].
        ticket: usize,
        /// What to append.
        record: NewRecord,
    },
    /// Read the log from this offset on.
    Read {
        /// The first offset to read.
        from: i64,
        /// Where to stop.
        upto: Upto,
    },
    /// Answer a caller: its command's record is effective.
    Answer {
        /// Whom.
        caller: C,
        /// The answer, and where it is.
        kept: Kept<D::Answer>,
        /// Whether the command had been answered before, or was asked twice.
        replayed: bool,
    },
    /// The same command id came with another request.
    Mismatch {
        /// Whom to tell.
        caller: C,
    },
    /// The command was not taken in, and nothing was sent for it.
    Unavailable {
        /// Whom to tell.
        caller: C,
    },
    /// An aggregate changed, and the process manager may have something to do for it.
    Changed {
        /// The aggregate.
        key: D::Key,
        /// The trace that the change belongs to.
        traceparent: Option<std::sync::Arc<str>>,
    },
    /// A record was void.
    Void {
        /// Where.
        offset: i64,
        /// Why.
        fault: Fault,
    },
    /// Somebody else wrote in between, or a record is in doubt: what is in flight is settled from the log.
    Unsettled {
        /// Records in flight.
        in_flight: usize,
        /// Whether any of them is in doubt.
        doubt: bool,
    },
    /// An effective record cannot be folded. The writer takes no more commands.
    Stopped {
        /// Where.
        offset: i64,
        /// Why.
        reason: String,
    },
}

enum Phase {
    /// Folding the log up to there; nothing is in flight unsettled but what [`Core::flights`] holds.
    Reading(Upto),
    /// Deciding and appending.
    Writing,
    /// Something unexpected was reported: waits for all reports, then reads.
    Settling,
    /// An effective record cannot be folded.
    Stopped,
}

/// The writer of one partition. `C` names a caller.
pub struct Core<D: Domain, C> {
    domain: D,
    limits: Limits,
    fold: Fold<D>,
    phase: Phase,
    flights: Flights<D>,
    /// What the next record comes after: the link of the last one in flight, else that of the last folded one.
    tail: Link,
    waiting: VecDeque<Request<D::Command>>,
    /// Who waits for each command that is waiting or in flight.
    callers: FxHashMap<Uuid, ([u8; 16], Vec<C>)>,
    /// Records that may be in flight: halved when somebody else wrote in between, so that two writers waste little.
    window: usize,
    /// Aggregates that changed while reading.
    changed: Vec<D::Key>,
    now_ms: u64,
    out: VecDeque<Output<D, C>>,
}

impl<D: Domain, C> Core<D, C> {
    /// A writer that knows nothing yet: it reads the log from its beginning to its end.
    pub fn new(domain: D, limits: Limits) -> Self {
        let mut core = Self {
            domain,
            limits,
            fold: Fold::new(Checkpoint::BEGINNING),
            phase: Phase::Writing,
            flights: Flights::default(),
            tail: Link::ZERO,
            waiting: VecDeque::new(),
            callers: FxHashMap::default(),
            window: limits.in_flight_max,
            changed: Vec::new(),
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
        if let Some(kept) = self.fold.kept(request.id) {
            let output = if kept.fingerprint == request.fingerprint {
                Output::Answer {
                    caller,
                    kept: kept.clone(),
                    replayed: true,
                }
            } else {
                Output::Mismatch { caller }
            };
            self.out.push_back(output);
            return;
        }
        if let Some((fingerprint, callers)) = self.callers.get_mut(&request.id) {
            if *fingerprint == request.fingerprint {
                callers.push(caller);
            } else {
                self.out.push_back(Output::Mismatch { caller });
            }
            return;
        }
        if matches!(self.phase, Phase::Stopped) || self.waiting.len() >= self.limits.waiting_max {
            self.out.push_back(Output::Unavailable { caller });
            return;
        }
        self.callers
            .insert(request.id, (request.fingerprint, vec![caller]));
        self.waiting.push_back(request);
        self.decide_waiting();
    }

    /// A delivery report came in.
    pub fn report(&mut self, ticket: usize, outcome: Outcome) {
        self.flights.report(ticket, outcome);
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
            Verdict::Void(fault) => self.out.push_back(Output::Void {
                offset: record.offset,
                fault,
            }),
            Verdict::Effective(envelope) => {
                let folded = self.domain.decode(&record.value).and_then(|event| {
                    let effective = Effective {
                        event: &event,
                        event_id: envelope.event_id,
                        command_id: envelope.command_id,
                        fingerprint: envelope.fingerprint,
                    };
                    self.fold.apply(&self.domain, &effective)
                });
                match folded {
                    Ok(changed) => self.changed.extend(changed),
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

    /// Folds the records in flight whose reports are as expected, in the order of sending; at the first that is not,
    /// waits for the reports of all and reads the log.
    fn settle(&mut self) {
        if matches!(self.phase, Phase::Writing) {
            while let Some(outcome) = self.flights.front().and_then(|flight| flight.report) {
                if outcome != Outcome::At(self.fold.next_offset()) {
                    self.phase = Phase::Settling;
                    break;
                }
                if let Some(flight) = self.flights.pop() {
                    self.confirm(flight);
                }
            }
        }
        match self.phase {
            Phase::Writing => self.decide_waiting(),
            Phase::Settling => self.read_when_reported(),
            Phase::Reading(_) | Phase::Stopped => {}
        }
    }

    /// The oldest record in flight lies where the history ends, so it is effective.
    fn confirm(&mut self, flight: Flight<D>) {
        self.fold.chain.advance(flight.record.after, flight.record.link);
        let effective = Effective {
            event: &flight.event,
            event_id: flight.record.event_id,
            command_id: flight.request.id,
            fingerprint: flight.request.fingerprint,
        };
        let changed = self.fold.accept(&self.domain, &effective, flight.leaves);
        self.window = (self.window + 1).min(self.limits.in_flight_max);
        // The answer first: it may end a step of the process manager, which then looks at what the change asks for.
        self.answer(flight.request.id);
        if let Some(key) = changed {
            self.announce(key, flight.request.traceparent);
        }
    }

    fn announce(&mut self, key: D::Key, traceparent: Option<std::sync::Arc<str>>) {
        if self
            .fold
            .state(&key)
            .is_some_and(|state| self.domain.has_work(state))
        {
            self.out.push_back(Output::Changed { key, traceparent });
        }
    }

    /// Answers everybody who waits for a command that the history holds. Whoever asked first gets the original.
    fn answer(&mut self, id: Uuid) {
        let Some(kept) = self.fold.kept(id) else { return };
        let (fingerprint, callers) = self.callers.remove(&id).unwrap_or_default();
        for (n, caller) in callers.into_iter().enumerate() {
            self.out.push_back(if kept.fingerprint == fingerprint {
                Output::Answer {
                    caller,
                    kept: kept.clone(),
                    replayed: n > 0,
                }
            } else {
                Output::Mismatch { caller }
            });
        }
    }

    fn read_when_reported(&mut self) {
        if self.flights.iter().any(|flight| flight.report.is_none()) {
            return;
        }
        let mut upto = None;
        let mut doubt = false;
        for flight in self.flights.iter() {
            match flight.report {
                Some(Outcome::At(offset)) if offset >= self.fold.next_offset() => {
                    upto = upto.max(Some(offset));
                }
                _ => doubt = true,
            }
        }
        self.out.push_back(Output::Unsettled {
            in_flight: self.flights.len(),
            doubt,
        });
        match upto {
            Some(offset) if !doubt => self.read(Upto::Offset(offset)),
            _ => self.read(Upto::End),
        }
    }

    fn read(&mut self, upto: Upto) {
        self.phase = Phase::Reading(upto);
        self.out.push_back(Output::Read {
            from: self.fold.next_offset(),
            upto,
        });
    }

    /// The history is folded. Answers what it holds, appends the rest again.
    fn finish_reading(&mut self) {
        self.phase = Phase::Writing;
        self.tail = self.fold.link();
        let flights = self.flights.take();
        if !flights.is_empty() {
            self.window = (self.window / 2).max(1);
        }
        let mut again = Vec::new();
        for flight in flights {
            if self.fold.kept(flight.request.id).is_some() {
                self.answer(flight.request.id);
            } else if flight.record.after == self.tail {
                self.send(flight.request, flight.record, flight.event);
            } else {
                again.push(flight.request);
            }
        }
        let waiting = std::mem::take(&mut self.waiting);
        for request in again.into_iter().chain(waiting) {
            if self.fold.kept(request.id).is_some() {
                self.answer(request.id);
            } else {
                self.waiting.push_back(request);
            }
        }
        let mut changed = std::mem::take(&mut self.changed);
        let mut seen = rustc_hash::FxHashSet::default();
        changed.retain(|key| seen.insert(key.clone()));
        for key in changed {
            self.announce(key, None);
        }
        self.decide_waiting();
    }

    fn decide_waiting(&mut self) {
        while matches!(self.phase, Phase::Writing) && self.flights.len() < self.window {
            let Some(request) = self.waiting.pop_front() else {
                return;
            };
            self.decide(request);
        }
    }

    /// Decides a command on the state that the ones before it will have left, and sends its record.
    fn decide(&mut self, request: Request<D::Command>) {
        let key = self.domain.target(&request.command);
        let state = self.state_ahead(&key);
        if let Some(answer) = self
            .fold
            .state(&key)
            .and_then(|state| self.domain.replay(state, &request))
        {
            let kept = Kept {
                fingerprint: request.fingerprint,
                answer,
                next_offset: self.fold.next_offset(),
            };
            for caller in self.callers.remove(&request.id).unwrap_or_default().1 {
                self.out.push_back(Output::Answer {
                    caller,
                    kept: kept.clone(),
                    replayed: true,
                });
            }
            return;
        }
        let event = self.domain.decide(state, &request);
        let before = state.map_or(0, |state| self.domain.sequence(state));
        let sequence = before + u64::from(self.domain.changes(&event).is_some());
        let value = match self.domain.encode(&event) {
            Ok(value) => value,
            // Only a schema that does not fit its struct does that: nothing this partition writes can be trusted.
            Err(poison) => {
                self.waiting.push_front(request);
                return self.stop(self.fold.next_offset(), poison.to_string());
            }
        };
        let record = NewRecord {
            key: self.domain.key_bytes(&key),
            value,
            event_id: ids::event_id(request.id),
            event_type: self.domain.type_name(&event),
            occurred_at: self.domain.occurred_at(&event),
            sequence: Some(sequence),
            traceparent: request.traceparent.clone(),
            command: request.tag(),
            after: Link::ZERO,
            link: Link::ZERO,
            causes: request.causes.to_vec(),
            source: request.source,
        }
        .chained(self.tail);
        self.send(request, record, event);
    }

    /// Sends a record that comes after the tail.
    fn send(&mut self, request: Request<D::Command>, record: NewRecord, event: D::Event) {
        assert_eq!(
            record.after, self.tail,
            "a record in flight comes after the one before it"
        );
        let leaves = match self.leaves(&event, record.event_id) {
            Ok(leaves) => leaves,
            Err(poison) => {
                self.waiting.push_front(request);
                return self.stop(self.fold.next_offset(), poison.to_string());
            }
        };
        self.tail = record.link;
        let flight = self.flights.push(request, record, event, leaves, self.now_ms);
        self.out.push_back(Output::Append {
            ticket: flight.ticket,
            record: flight.record.clone(),
        });
    }

    /// An aggregate as the records in flight will leave it, or else as it is folded.
    fn state_ahead(&self, key: &D::Key) -> Option<&D::State> {
        self.flights.state(key).or_else(|| self.fold.state(key))
    }

    /// What an event will make of its aggregate, if it changes one.
    fn leaves(&self, event: &D::Event, event_id: Uuid) -> Result<Option<Left<D>>, D::Poison> {
        let Some(key) = self.domain.changes(event) else {
            return Ok(None);
        };
        let state = self.state_ahead(&key).cloned();
        let state = self.domain.evolve(state, event, event_id)?;
        Ok(Some((key, state)))
    }

    /// Takes no more commands, and turns those away that wait. What is in flight stays unanswered: nobody knows.
    fn stop(&mut self, offset: i64, reason: String) {
        self.phase = Phase::Stopped;
        self.out.push_back(Output::Stopped { offset, reason });
        self.waiting.clear();
        self.flights.take();
        for (_, (_, callers)) in self.callers.drain() {
            self.out
                .extend(callers.into_iter().map(|caller| Output::Unavailable { caller }));
        }
    }
}
