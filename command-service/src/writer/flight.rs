//! Records in flight, and the states that they will leave.

use std::collections::VecDeque;
use std::sync::Arc;

use eventlog::{NewRecord, Outcome};
use rustc_hash::FxHashMap;

use super::domain::{Domain, Left, Request};

/// What was sent.
#[derive(Clone)]
pub(super) struct Sent<D: Domain, C> {
    /// The command that the record answers; none for a barrier.
    pub request: Option<Box<Request<D::Command>>>,
    pub record: Arc<NewRecord>,
    pub event: D::Event,
    /// The aggregate that the event changes, as it will leave it.
    pub leaves: Option<Left<D>>,
    /// Who asked for a proof of the history before it was sent.
    pub proves: Vec<C>,
}

/// A record that was sent and is not known to be effective yet.
#[derive(Clone)]
pub(super) struct Flight<D: Domain, C> {
    pub ticket: usize,
    pub sent: Sent<D, C>,
    pub sent_at_ms: u64,
    pub report: Option<Outcome>,
}

/// The records in flight, in the order of sending, with consecutive tickets.
#[derive(Clone)]
pub(super) struct Flights<D: Domain, C> {
    queue: VecDeque<Flight<D, C>>,
    next_ticket: usize,
    /// The ticket of the last record in flight that changes each aggregate.
    last: FxHashMap<D::Key, usize>,
}

impl<D: Domain, C> Default for Flights<D, C> {
    fn default() -> Self {
        Self {
            queue: VecDeque::new(),
            next_ticket: 0,
            last: FxHashMap::default(),
        }
    }
}

impl<D: Domain, C> Flights<D, C> {
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub fn front(&self) -> Option<&Flight<D, C>> {
        self.queue.front()
    }

    pub fn pop(&mut self) -> Option<Flight<D, C>> {
        let flight = self.queue.pop_front()?;
        if let Some((key, _)) = &flight.sent.leaves
            && self.last.get(key) == Some(&flight.ticket)
        {
            self.last.remove(key);
        }
        Some(flight)
    }

    /// An aggregate as the records in flight will leave it; none where none of them changes it.
    pub fn state(&self, key: &D::Key) -> Option<&D::State> {
        let index = self.last.get(key)?.checked_sub(self.front()?.ticket)?;
        let (_, state) = self.queue.get(index)?.sent.leaves.as_ref()?;
        Some(state)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Flight<D, C>> {
        self.queue.iter()
    }

    /// Takes a record in.
    pub fn push(&mut self, sent: Sent<D, C>, now_ms: u64) -> &Flight<D, C> {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        if let Some((key, _)) = &sent.leaves {
            self.last.insert(key.clone(), ticket);
        }
        self.queue.push_back(Flight {
            ticket,
            sent,
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
    pub fn take(&mut self) -> VecDeque<Flight<D, C>> {
        self.last.clear();
        std::mem::take(&mut self.queue)
    }
}
