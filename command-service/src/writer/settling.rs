//! What becomes of records in flight.

use std::sync::Arc;

use eventlog::bugs::Bug;
use eventlog::{LogRecord, NewRecord, Outcome};
use uuid::Uuid;

use super::core::{Core, Phase};
use super::domain::{Domain, Work};
use super::flight::Flight;
use super::fold::Effective;
use super::output::{Output, Upto};
use super::remembered::Kept;

impl<D: Domain, C> Core<D, C> {
    /// Folds the records in flight whose reports are as expected, in the order of sending; at the first that is not,
    /// waits for the reports of all and reads the log.
    pub(super) fn settle(&mut self) {
        if matches!(self.phase, Phase::Writing) {
            while let Some(outcome) = self.flights.front().and_then(|flight| flight.report) {
                if outcome != Outcome::At(self.fold.next_offset()) && !self.passes_over(outcome) {
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
            Phase::Settling | Phase::Lost => self.read_when_reported(),
            Phase::Reading(_) | Phase::Stopped | Phase::Resting => {}
        }
    }

    /// The oldest record in flight lies where the history ends, so it is effective.
    fn confirm(&mut self, flight: Flight<D, C>) {
        let sent = flight.sent;
        self.fold.chain.advance(sent.record.after, sent.record.link);
        let effective = Effective {
            event: &sent.event,
            event_id: sent.record.event_id,
            command_id: sent.request.as_ref().map_or(Uuid::nil(), |request| request.id),
            fingerprint: sent
                .request
                .as_ref()
                .map_or([0; 16], |request| request.fingerprint),
            source: sent.record.source,
        };
        let folded = self.fold.accept(&self.domain, &effective, sent.leaves);
        self.window = (self.window + 1).min(self.limits.in_flight_max);
        self.proven(sent.proves);
        let Some(request) = sent.request else { return };
        // The answer first: it may end a step of the process manager, which then looks at what the change asks for.
        if let Some(kept) = folded.kept {
            self.tell(request.id, &kept, false);
        }
        if let Some(key) = folded.changed {
            self.announce(key, request.traceparent);
        }
    }

    /// Tells those who asked that what is folded is all that was acknowledged before.
    fn proven(&mut self, callers: Vec<C>) {
        let next_offset = self.fold.next_offset();
        self.out.extend(
            callers
                .into_iter()
                .map(|caller| Output::Proven { caller, next_offset }),
        );
    }

    /// Tells which aggregates changed since the last time and have work; all that have, where nobody was told before, but
    /// those that wait for a deadline only: these follow tick by tick, as commands would have to wait for all of them.
    pub(super) fn announce_changed(&mut self) {
        let changed: Vec<_> = if std::mem::take(&mut self.untold) {
            self.changed.clear();
            let (now, later): (Vec<_>, Vec<_>) = self.fold.open().partition(|(_, work)| *work == Work::Now);
            let keys = |open: Vec<(&D::Key, Work)>| open.into_iter().map(|(key, _)| key.clone()).collect();
            self.later = keys(later);
            keys(now)
        } else {
            self.changed.drain().collect()
        };
        for key in changed {
            self.announce(key, None);
        }
    }

    /// Tells of some of those that wait for a deadline only.
    pub(super) fn announce_later(&mut self) {
        if matches!(self.phase, Phase::Writing) {
            let told = self.later.len().saturating_sub(self.limits.told_at_once);
            for key in self.later.split_off(told) {
                self.announce(key, None);
            }
            if told == 0 {
                self.later = Vec::new();
            }
        }
    }

    fn announce(&mut self, key: D::Key, traceparent: Option<Arc<str>>) {
        if self.fold.is_open(&key) {
            self.out.push_back(Output::Changed { key, traceparent });
        }
    }

    /// Tells everybody who waits for a command what was answered; whoever asked first gets the original.
    pub(super) fn tell(&mut self, id: Uuid, kept: &Kept<D::Answer>, replayed: bool) {
        let mut replayed = replayed;
        for (fingerprint, caller) in self.callers.remove(&id).unwrap_or_default() {
            if fingerprint != kept.fingerprint {
                self.out.push_back(Output::Mismatch { caller });
                continue;
            }
            self.out.push_back(Output::Answer {
                caller,
                kept: kept.clone(),
                replayed,
            });
            replayed = true;
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
        // Nothing is in flight where a stored state was lost in peace.
        if !self.flights.is_empty() {
            self.out.push_back(Output::Unsettled {
                in_flight: self.flights.len(),
                doubt,
            });
        }
        match upto {
            Some(offset) if !doubt => self.read(Upto::Offset(offset)),
            _ => self.read(Upto::End),
        }
    }

    /// The history is folded. Answers what it holds, appends the rest again.
    pub(super) fn finish_reading(&mut self) {
        let held = match self.recall() {
            Ok(held) => held,
            Err(error) => return self.lose(&error),
        };
        self.phase = Phase::Writing;
        self.current = true;
        self.tail = self.fold.link();
        let flights = self.flights.take();
        if !flights.is_empty() {
            self.window = (self.window / 2).max(1);
        }
        self.prove_by_end_offset();
        let mut again = Vec::new();
        for mut flight in flights {
            let proves = std::mem::take(&mut flight.sent.proves);
            match flight.report {
                // It was appended after they asked, and everything up to it is folded: it proves that, void or not.
                Some(Outcome::At(offset)) if offset < self.fold.next_offset() => self.proven(proves),
                _ => self.unproven.extend(proves),
            }
            let sent = flight.sent;
            if sent.request.is_none() {
                self.passed = self.passed.max(sent.record.source);
            }
            let kept = sent
                .request
                .as_ref()
                .and_then(|request| Some((request.id, held.get(&request.id)?)));
            if let Some((id, kept)) = kept {
                self.tell(id, kept, false);
            } else if sent.record.after == self.tail {
                self.send(sent.request, sent.record, sent.event);
            } else if Bug::ChainAnewUndecided.is_in() {
                let record = NewRecord::clone(&sent.record).chained(self.tail);
                self.send(sent.request, Arc::new(record), sent.event);
            } else if let Some(request) = sent.request {
                if Bug::TrustAfterVoid.is_in()
                    && !again.is_empty()
                    && matches!(flight.report, Some(Outcome::At(_)))
                {
                    self.answer_with(request.id, request.fingerprint, &sent.event, sent.leaves.as_ref());
                }
                again.push(request);
            }
        }
        let waiting = std::mem::take(&mut self.waiting);
        for request in again.into_iter().chain(waiting) {
            if let Some(kept) = held.get(&request.id) {
                self.tell(request.id, kept, false);
            } else {
                self.waiting.push_back(request);
            }
        }
        self.announce_changed();
        self.decide_waiting();
    }
}

/// What the seeded bugs do; none of it is ever reached without one.
impl<D: Domain, C> Core<D, C> {
    /// Whether a mistaken writer takes the oldest record for effective in spite of its report.
    fn passes_over(&mut self, outcome: Outcome) -> bool {
        match outcome {
            Outcome::At(offset) if Bug::JumpOverGap.is_in() && offset > self.fold.next_offset() => {
                self.fold.chain.jump(offset);
                true
            }
            Outcome::At(_) => Bug::AcknowledgeAnyOffset.is_in(),
            Outcome::Doubt if Bug::DoubtIsRejected.is_in() => {
                if let Some(id) = self
                    .flights
                    .front()
                    .and_then(|flight| Some(flight.sent.request.as_ref()?.id))
                {
                    let callers = self.callers.remove(&id).unwrap_or_default().into_iter();
                    self.out
                        .extend(callers.map(|(_, caller)| Output::Unavailable { caller }));
                }
                false
            }
            Outcome::Doubt => Bug::DoubtIsApplied.is_in(),
        }
    }

    fn prove_by_end_offset(&mut self) {
        if Bug::StrongByEndOffset.is_in() {
            let callers = std::mem::take(&mut self.unproven);
            self.proven(callers);
        }
    }

    /// Answers a command in flight by what was decided.
    pub(super) fn answer_unseen(&mut self, ticket: usize) {
        let Some(flight) = self.flights.iter().find(|flight| flight.ticket == ticket) else {
            return;
        };
        let Some(request) = &flight.sent.request else {
            return;
        };
        let (id, fingerprint, event) = (request.id, request.fingerprint, flight.sent.event.clone());
        let leaves = flight.sent.leaves.clone();
        self.answer_with(id, fingerprint, &event, leaves.as_ref());
    }

    fn answer_with(
        &mut self,
        id: Uuid,
        fingerprint: [u8; 16],
        event: &D::Event,
        leaves: Option<&super::domain::Left<D>>,
    ) {
        let kept = Kept {
            fingerprint,
            answer: self.domain.answer(event, leaves.map(|(_, state)| state)),
            next_offset: self.fold.next_offset() + 1,
        };
        self.tell(id, &kept, false);
    }

    /// Remembers the command of a void record.
    pub(super) fn count_void(&mut self, record: &LogRecord) {
        let headers = &record.headers;
        let (Some(command), Ok(event)) = (headers.command.one(), self.domain.decode(&record.value)) else {
            return;
        };
        let (id, fingerprint) = command.split_at(16);
        let state = self
            .domain
            .changes(&event)
            .and_then(|key| self.fold.state(&key).cloned());
        let effective = Effective {
            event: &event,
            event_id: Uuid::nil(),
            command_id: Uuid::from_slice(id).unwrap_or_default(),
            fingerprint: fingerprint.try_into().unwrap_or_default(),
            source: None,
        };
        let leaves = self.domain.changes(&event).zip(state);
        self.fold.accept(&self.domain, &effective, leaves);
    }
}
