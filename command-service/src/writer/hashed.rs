//! The whole state as one hash, for a model checker: equal for machines that will do the same.

use std::hash::{Hash, Hasher};

use super::core::Core;
use super::domain::Domain;

impl<D: Domain, C: Hash> Hash for Core<D, C>
where
    D::Key: Hash + Ord,
    D::State: Hash,
    D::Answer: Hash,
{
    fn hash<H: Hasher>(&self, state: &mut H) {
        let checkpoint = self.fold.checkpoint();
        (checkpoint.next_offset, checkpoint.last_offset, checkpoint.link).hash(state);
        let mut states: Vec<_> = self.fold.states().collect();
        states.sort_by_key(|(key, _)| *key);
        states.hash(state);
        let mut kept: Vec<_> = self
            .fold
            .remembered
            .iter()
            .map(|(id, kept)| (id, kept.fingerprint, &kept.answer, kept.next_offset))
            .collect();
        kept.sort_by_key(|(id, ..)| *id);
        kept.hash(state);
        self.phase.hash(state);
        for flight in self.flights.iter() {
            (flight.ticket, flight.sent.record.link, flight.sent_at_ms).hash(state);
            flight.report.hash(state);
            flight.sent.proves.hash(state);
        }
        self.tail.hash(state);
        for request in &self.waiting {
            (request.id, request.fingerprint, request.at).hash(state);
        }
        let mut callers: Vec<_> = self.callers.iter().collect();
        callers.sort_by_key(|(id, _)| *id);
        callers.hash(state);
        self.unproven.hash(state);
        (self.unproven_at, self.barrier_from_ms, self.now_ms, self.window).hash(state);
        let mut changed: Vec<_> = self.changed.iter().collect();
        changed.sort();
        changed.hash(state);
        self.later.hash(state);
        (self.untold, self.current, self.passed, self.fold.carried_out()).hash(state);
    }
}
