//! Commands that were answered, remembered for a day of log time.

use std::collections::VecDeque;

use eventlog::bugs::Bug;
use rustc_hash::{FxBuildHasher, FxHashMap};
use schemas::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// How long a command is remembered, in microseconds of log time: a day.
pub const KEPT_MICROS: i64 = 24 * 60 * 60 * 1_000_000;

/// By how much log time follows one record at most, in microseconds: a minute. So a jumping clock makes nobody forget.
const STEP_MICROS_MAX: i64 = 60 * 1_000_000;

/// What is kept of an answered command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kept<A> {
    /// Of the request that it came with.
    pub fingerprint: [u8; 16],
    /// What was answered.
    pub answer: A,
    /// The offset behind its record.
    pub next_offset: i64,
}

/// The answered commands of a partition that are in memory: all that are remembered, or, where snapshots are kept, the
/// recent ones and those that no snapshot has.
#[derive(Clone, Debug)]
pub struct Remembered<A> {
    by_id: FxHashMap<Uuid, Kept<A>>,
    /// In the order of the log, with the log time of each.
    order: VecDeque<(i64, Uuid)>,
    /// So many at the front of `order` are in the snapshot.
    stored: usize,
    /// So many behind them are being stored.
    storing: usize,
    log_time: Option<i64>,
}

impl<A> Default for Remembered<A> {
    fn default() -> Self {
        Self::at(None)
    }
}

impl<A> Remembered<A> {
    /// Nothing in memory, and a log time.
    pub const fn at(log_time: Option<i64>) -> Self {
        Self {
            by_id: FxHashMap::with_hasher(FxBuildHasher),
            order: VecDeque::new(),
            stored: 0,
            storing: 0,
            log_time,
        }
    }

    /// What is kept of a command.
    pub fn get(&self, id: Uuid) -> Option<&Kept<A>> {
        self.by_id.get(&id)
    }

    /// Everything that is kept, in no particular order.
    #[cfg(feature = "model-checking")]
    pub fn iter(&self) -> impl Iterator<Item = (&Uuid, &Kept<A>)> {
        self.by_id.iter()
    }

    /// Log time, in microseconds.
    pub const fn log_time(&self) -> Option<i64> {
        self.log_time
    }

    /// Whether a command of that log time is older than a day.
    pub fn is_forgotten(&self, at: i64) -> bool {
        self.log_time
            .is_some_and(|now| now.saturating_sub(at) > KEPT_MICROS)
    }

    /// Remembers a command whose effective record occurred at `at`, and forgets those that are older than a day.
    pub fn insert(&mut self, id: Uuid, kept: Kept<A>, at: Timestamp) {
        let now = self.follow(at);
        self.by_id.insert(id, kept);
        self.order.push_back((now, id));
        while let Some((kept_at, _)) = self.order.front().copied()
            && (self.is_forgotten(kept_at) || (Bug::RememberTooFew.is_in() && self.order.len() > 3))
        {
            self.pop();
        }
    }

    fn pop(&mut self) {
        if let Some((_, id)) = self.order.pop_front() {
            self.by_id.remove(&id);
        }
        if self.stored > 0 {
            self.stored -= 1;
        } else {
            self.storing = self.storing.saturating_sub(1);
        }
    }

    /// How many are not in the snapshot, and not on their way there.
    pub fn unstored(&self) -> usize {
        self.order.len() - self.stored - self.storing
    }

    /// What was remembered since it was last handed over, with the log time of each.
    pub fn hand_over(&mut self) -> impl Iterator<Item = (Uuid, i64, &Kept<A>)> {
        let from = self.stored + self.storing;
        self.storing = self.order.len() - self.stored;
        self.order
            .range(from..)
            .filter_map(|(at, id)| Some((*id, *at, self.by_id.get(id)?)))
    }

    /// What was handed over is in the snapshot, or it is not and will be handed over again.
    pub fn stored(&mut self, is_stored: bool) {
        let storing = std::mem::take(&mut self.storing);
        if is_stored {
            self.stored += storing;
        }
    }

    /// Lets go of the oldest that the snapshot has, until `max` are left.
    pub fn evict(&mut self, max: usize) {
        while self.stored > 0 && self.order.len() > max {
            self.pop();
        }
    }

    /// Log time after a record.
    fn follow(&mut self, at: Timestamp) -> i64 {
        let now = self.log_time.map_or(at.micros(), |now| {
            now.saturating_add(at.micros().saturating_sub(now).clamp(0, STEP_MICROS_MAX))
        });
        self.log_time = Some(now);
        now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60 * 1_000_000;

    fn kept() -> Kept<u8> {
        Kept {
            fingerprint: [0; 16],
            answer: 1,
            next_offset: 1,
        }
    }

    #[test]
    fn a_clock_that_jumps_makes_nobody_forget() {
        let mut remembered = Remembered::default();
        remembered.insert(Uuid::from_u128(1), kept(), Timestamp(0));
        remembered.insert(Uuid::from_u128(2), kept(), Timestamp(10 * KEPT_MICROS));
        assert!(remembered.get(Uuid::from_u128(1)).is_some());
        // Back again: log time never goes back.
        remembered.insert(Uuid::from_u128(3), kept(), Timestamp(0));
        assert_eq!(remembered.log_time, Some(MINUTE));
    }

    #[test]
    fn commands_are_forgotten_after_a_day_of_log_time() {
        let mut remembered = Remembered::default();
        for minute in 0..=24 * 60 + 1 {
            let id = Uuid::from_u128(u128::try_from(minute + 1).unwrap());
            remembered.insert(id, kept(), Timestamp(minute * MINUTE));
        }
        assert!(remembered.get(Uuid::from_u128(1)).is_none());
        assert!(remembered.get(Uuid::from_u128(2)).is_some());
    }

    #[test]
    fn only_what_is_stored_leaves_memory() {
        let mut remembered = Remembered::default();
        let ids = |remembered: &mut Remembered<u8>| -> Vec<u128> {
            remembered.hand_over().map(|(id, ..)| id.as_u128()).collect()
        };
        for id in 1..=3 {
            remembered.insert(Uuid::from_u128(id), kept(), Timestamp(0));
        }
        assert_eq!(ids(&mut remembered), [1, 2, 3]);
        remembered.insert(Uuid::from_u128(4), kept(), Timestamp(0));
        remembered.evict(0);
        assert_eq!((remembered.order.len(), remembered.unstored()), (4, 1));
        remembered.stored(true);
        remembered.evict(2);
        assert!(remembered.get(Uuid::from_u128(2)).is_none());
        assert!(remembered.get(Uuid::from_u128(3)).is_some());
        assert_eq!(ids(&mut remembered), [4]);
        // It was not stored after all.
        remembered.stored(false);
        remembered.evict(0);
        assert_eq!(ids(&mut remembered), [4]);
    }
}
