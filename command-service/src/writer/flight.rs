//! Records in flight, and the state that they will leave.

use std::collections::VecDeque;

use eventlog::{NewRecord, Outcome};
use rustc_hash::FxHashMap;

use super::domain::{Domain, Request};

/// A record that was sent and is not known to be effective yet.
pub(super) struct Flight<D: Domain> {
    pub ticket: usize,
    pub request: Request<D::Command>,
    pub record: NewRecord,
    pub event: D::Event,
    pub sent_at_ms: u64,
    pub report: Option<Outcome>,
}

/// The records in flight, in the order of sending, with consecutive tickets.
pub(super) struct Flights<D: Domain> {
    queue: VecDeque<Flight<D>>,
    next_ticket: usize,
}

impl<D: Domain> Default for Flights<D> {
    fn default() -> Self {
        Self {
            queue: VecDeque::new(),
            next_ticket: 0,
        }
    }
}

impl<D: Domain> Flights<D> {
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    pub fn front(&self) -> Option<&Flight<D>> {
        self.queue.front()
    }

    pub fn pop(&mut self) -> Option<Flight<D>> {
        self.queue.pop_front()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Flight<D>> {
        self.queue.iter()
    }

    /// Takes a record in and returns its ticket.
    pub fn push(
        &mut self,
        request: Request<D::Command>,
        record: NewRecord,
        event: D::Event,
        now_ms: u64,
    ) -> &Flight<D> {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.queue.push_back(Flight {
            ticket,
            request,
            record,
            event,
            sent_at_ms: now_ms,
            report: None,
        });
        &self.queue[self.queue.len() - 1]
    }

    /// Notes a report; one for a record that is not in flight any more is passed over, and a second one too.
    pub fn report(&mut self, ticket: usize, outcome: Outcome) {
        let index = self.front().and_then(|front| ticket.checked_sub(front.ticket));
        if let Some(flight) = index.and_then(|index| self.queue.get_mut(index)) {
            flight.report.get_or_insert(outcome);
        }
    }

    /// Doubts every record that was sent before `limit_ms` and has no report.
    pub fn doubt_older_than(&mut self, limit_ms: u64) {
        for flight in self
            .queue
            .iter_mut()
            .take_while(|flight| flight.sent_at_ms < limit_ms)
        {
            flight.report.get_or_insert(Outcome::Doubt);
        }
    }

    /// Takes all out.
    pub fn take(&mut self) -> VecDeque<Flight<D>> {
        std::mem::take(&mut self.queue)
    }
}

/// The aggregates as the records in flight will have left them.
pub(super) struct Ahead<D: Domain> {
    states: FxHashMap<D::Key, (D::State, usize)>,
}

impl<D: Domain> Default for Ahead<D> {
    fn default() -> Self {
        Self {
            states: FxHashMap::default(),
        }
    }
}

impl<D: Domain> Ahead<D> {
    pub fn state(&self, key: &D::Key) -> Option<&D::State> {
        self.states.get(key).map(|(state, _)| state)
    }

    /// Folds the event of a record that was sent, on what is ahead or else on what is folded.
    pub fn apply(
        &mut self,
        domain: &D,
        key: D::Key,
        folded: Option<&D::State>,
        event: &D::Event,
        event_id: uuid::Uuid,
    ) -> Result<(), D::Poison> {
        let (state, count) = match self.states.remove(&key) {
            Some((state, count)) => (Some(state), count),
            None => (folded.cloned(), 0),
        };
        let state = domain.evolve(state, event, event_id)?;
        self.states.insert(key, (state, count + 1));
        Ok(())
    }

    /// One record of the aggregate is folded. Where it was the last one in flight, the folded state is the newest.
    pub fn folded(&mut self, key: &D::Key) {
        if let Some((_, count)) = self.states.get_mut(key) {
            *count -= 1;
            if *count == 0 {
                self.states.remove(key);
            }
        }
    }

    pub fn clear(&mut self) {
        self.states.clear();
    }
}
