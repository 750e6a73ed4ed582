//! What a writer decides, and how it is sent.

use std::sync::Arc;

use eventlog::bugs::Bug;
use eventlog::{Link, NewRecord, Positions};
use schemas::ids;
use uuid::Uuid;

use super::core::{Core, Phase};
use super::domain::{Domain, Left, Origin, Request};
use super::flight::Sent;
use super::output::Output;
use super::remembered::Kept;

impl<D: Domain, C> Core<D, C> {
    /// Decides what waits as far as the window allows; then proves the history to those who ask, if nothing else does.
    pub(super) fn decide_waiting(&mut self) {
        if Bug::PassBeforeDecided.is_in() && matches!(self.phase, Phase::Writing) && self.has_passed() {
            let passed = self.passed.take();
            self.send_barrier(passed);
        }
        while matches!(self.phase, Phase::Writing) && self.flights.len() < self.window {
            let Some(request) = self.waiting.pop_front() else {
                break;
            };
            self.decide(request);
        }
        let has_room = matches!(self.phase, Phase::Writing)
            && self.waiting.is_empty()
            && self.flights.len() < self.window;
        if has_room && self.has_passed() {
            let passed = self.passed.take();
            self.send_barrier(passed);
        } else if has_room && !self.unproven.is_empty() && self.now_ms >= self.barrier_from_ms {
            self.send_barrier(None);
        }
    }

    /// Whether a barrier has to say how far the commands topic is done with.
    fn has_passed(&mut self) -> bool {
        // Nearly always: what is in flight need not be looked through.
        if self.passed.is_none() {
            return false;
        }
        let said = self
            .flights
            .iter()
            .filter_map(|flight| flight.sent.record.source)
            .max();
        self.passed = self
            .passed
            .filter(|passed| Some(*passed) > self.fold.carried_out().max(said));
        self.passed.is_some()
    }

    /// Decides a command on the state that the ones before it will have left, and sends its record.
    fn decide(&mut self, request: Box<Request<D::Command>>) {
        let key = self.domain.target(&request.command);
        if let Err(error) = self.fold.warm(&self.domain, &key) {
            self.waiting.push_front(request);
            return self.lose(&error);
        }
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
            return self.tell(request.id, &kept, true);
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
        if Bug::ChainAllToFolded.is_in() {
            self.tail = self.fold.link();
        }
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
            causes: Arc::clone(&request.causes),
            source: request.source,
        }
        .chained(self.tail);
        self.send(Some(request), Arc::new(record), event);
    }

    /// Sends a record that changes nothing: once it is effective, the history before it is proven, and the commands topic is
    /// known to be done with up to `source`.
    fn send_barrier(&mut self, source: Option<u64>) {
        self.barrier_from_ms = self.now_ms + self.limits.barrier_every_ms;
        let event = self.domain.barrier(self.unproven_at);
        let value = match self.domain.encode(&event) {
            Ok(value) => value,
            Err(poison) => return self.stop(self.fold.next_offset(), poison.to_string()),
        };
        let record = NewRecord {
            key: Vec::new(),
            value,
            // No two effective records come after the same link, so no two effective barriers share an id.
            event_id: ids::created_id(Uuid::from_bytes(self.tail.0), "barrier"),
            event_type: self.domain.type_name(&event),
            occurred_at: self.domain.occurred_at(&event),
            sequence: None,
            traceparent: None,
            command: [0; 32],
            after: Link::ZERO,
            link: Link::ZERO,
            causes: self.domain.no_causes(),
            source,
        }
        .chained(self.tail);
        self.send(None, Arc::new(record), event);
    }

    /// Sends a record that comes after the tail; `request` is none for a barrier.
    pub(super) fn send(
        &mut self,
        request: Option<Box<Request<D::Command>>>,
        record: Arc<NewRecord>,
        event: D::Event,
    ) {
        assert_eq!(
            record.after, self.tail,
            "a record in flight comes after the one before it"
        );
        if !self.warm_changed_by(&event) {
            self.waiting.extend(request);
            return;
        }
        let leaves = match self.leaves(&event, &record) {
            Ok(leaves) => leaves,
            Err(poison) => {
                self.waiting.extend(request);
                return self.stop(self.fold.next_offset(), poison.to_string());
            }
        };
        self.tail = record.link;
        let refused = leaves.is_none() && request.is_some();
        let flight = self.flights.push(
            Sent {
                request,
                record,
                event,
                leaves,
                proves: std::mem::take(&mut self.unproven),
            },
            self.now_ms,
        );
        let ticket = flight.ticket;
        self.out.push_back(Output::Append {
            ticket,
            record: Arc::clone(&flight.sent.record),
        });
        if Bug::AcknowledgeOnSending.is_in() || (Bug::AnswerRejectionOnSending.is_in() && refused) {
            self.answer_unseen(ticket);
        }
    }

    /// An aggregate as the records in flight will leave it, or else as it is folded.
    fn state_ahead(&self, key: &D::Key) -> Option<&D::State> {
        let ahead = self.flights.state(key).filter(|_| !Bug::DecideOnFolded.is_in());
        ahead.or_else(|| self.fold.state(key))
    }

    /// What an event will make of its aggregate, if it changes one.
    fn leaves(&self, event: &D::Event, record: &NewRecord) -> Result<Option<Left<D>>, D::Poison> {
        let Some(key) = self.domain.changes(event) else {
            return Ok(None);
        };
        let state = self.state_ahead(&key).cloned();
        // As whoever reads the record will take them.
        let causes =
            Positions::decode(&record.causes).map_or_else(|_| Positions::new(), |(_, causes)| causes);
        let origin = Origin {
            event_id: record.event_id,
            causes: &causes,
        };
        let state = self.domain.evolve(state, event, origin)?;
        Ok(Some((key, state)))
    }
}
