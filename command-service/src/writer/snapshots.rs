//! Snapshots of the state: what the machine hands over for the next one, what it starts from, and what it does when one
//! cannot be read.

use eventlog::Checkpoint;
use rustc_hash::FxHashMap;
use uuid::Uuid;

use super::cold::{Cold, ColdError, Delta, Restored};
use super::core::{Core, Phase};
use super::domain::Domain;
use super::fold::Fold;
use super::output::{Limits, Output};
use super::remembered::Kept;

impl<D: Domain, C> Core<D, C> {
    /// A writer that starts from a snapshot whose last record the caller has found in the log. Aggregates for which the
    /// process manager has something to do are told of once the log is read.
    pub fn restore(domain: D, limits: Limits, restored: Restored<D>) -> Self {
        Self::resume(domain, limits, Fold::restored(restored))
    }

    /// What the next snapshot needs. None while one is being made; where nothing happened; and where an effective record
    /// could not be folded, as a snapshot would say that it was.
    pub fn delta(&mut self) -> Option<Delta<D>> {
        if matches!(self.phase, Phase::Stopped | Phase::Lost) {
            return None;
        }
        let delta = self.fold.delta(&self.domain, self.delta_number)?;
        self.delta_number += 1;
        Some(delta)
    }

    /// What became of a delta: the snapshot that has it, or none where it could not be stored.
    pub fn stored(&mut self, number: u64, cold: Option<std::sync::Arc<dyn Cold<D>>>) {
        self.fold.stored(number, cold);
    }

    /// Lets go of aggregates and commands that the snapshot has, as far as there are more in memory: `states_max` is in KiB, as
    /// which each aggregate counts at least once. Nothing leaves memory at any other time. Returns how many aggregates went.
    pub fn evict(&mut self, states_max: usize, commands_max: usize) -> usize {
        self.fold.evict(states_max, commands_max)
    }

    /// An aggregate, wherever it is.
    pub fn look_up(&mut self, key: &D::Key) -> Option<&D::State> {
        if let Err(error) = self.fold.warm(&self.domain, key) {
            self.lose(&error);
            return None;
        }
        self.fold.state(key)
    }

    /// Takes what an event changes into memory. False where that cannot be read, and all is lost.
    pub(super) fn warm_changed_by(&mut self, event: &D::Event) -> bool {
        let Some(key) = self.domain.changes(event) else {
            return true;
        };
        let warm = self.fold.warm(&self.domain, &key);
        if let Err(error) = &warm {
            self.lose(error);
        }
        warm.is_ok()
    }

    /// Notes what a record that was read has changed.
    pub(super) fn note_changed(&mut self, changed: Option<D::Key>) {
        let Some(key) = changed else { return };
        if self.fold.is_open(&key) {
            self.changed.insert(key);
        } else {
            self.changed.remove(&key);
        }
    }

    /// Takes everything into memory that the end of a reading needs, and finds the commands that the history holds among those
    /// that have no answer: nothing can fail half-way then.
    pub(super) fn recall(&mut self) -> Result<FxHashMap<Uuid, Kept<D::Answer>>, ColdError> {
        let in_flight = self
            .flights
            .iter()
            .filter_map(|flight| flight.sent.request.as_ref());
        let mut held = FxHashMap::default();
        for request in in_flight.chain(&self.waiting) {
            if let Some(kept) = self.fold.kept(request.id)? {
                held.insert(request.id, kept);
            }
        }
        for flight in self.flights.iter() {
            if let Some(key) = self.domain.changes(&flight.sent.event) {
                self.fold.warm(&self.domain, &key)?;
            }
        }
        Ok(held)
    }

    /// The stored part of the state cannot be read. What is left is no history: a missing aggregate is not the same as none.
    /// So all of it goes, and the log is read from its beginning, without a snapshot. Nothing is decided meanwhile.
    pub fn lose(&mut self, error: &ColdError) {
        self.out.push_back(Output::StateLost {
            reason: error.to_string(),
        });
        self.fold = Fold::new(Checkpoint::BEGINNING);
        self.changed.clear();
        self.untold = true;
        self.later.clear();
        self.current = false;
        if !matches!(self.phase, Phase::Stopped) {
            self.phase = Phase::Lost;
        }
    }
}
