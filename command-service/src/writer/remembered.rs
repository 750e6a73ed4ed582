//! Commands that were answered, remembered for a day of log time.

use std::collections::VecDeque;

use eventlog::bugs::Bug;
use rustc_hash::FxHashMap;
use schemas::Timestamp;
use uuid::Uuid;

/// How long a command is remembered, in microseconds of log time: a day.
const KEPT_MICROS: i64 = 24 * 60 * 60 * 1_000_000;

/// By how much log time follows one record at most, in microseconds: a minute. So a jumping clock makes nobody forget.
const STEP_MICROS_MAX: i64 = 60 * 1_000_000;

/// What is kept of an answered command.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept<A> {
    /// Of the request that it came with.
    pub fingerprint: [u8; 16],
    /// What was answered.
    pub answer: A,
    /// The offset behind its record.
    pub next_offset: i64,
}

/// The answered commands of a partition.
#[derive(Clone, Debug)]
pub struct Remembered<A> {
    by_id: FxHashMap<Uuid, Kept<A>>,
    /// In the order of the log, with the log time of each.
    order: VecDeque<(i64, Uuid)>,
    log_time: Option<i64>,
}

impl<A> Default for Remembered<A> {
    fn default() -> Self {
        Self {
            by_id: FxHashMap::default(),
            order: VecDeque::new(),
            log_time: None,
        }
    }
}

impl<A> Remembered<A> {
    /// What is kept of a command.
    pub fn get(&self, id: Uuid) -> Option<&Kept<A>> {
        self.by_id.get(&id)
    }

    /// Everything that is kept, in no particular order.
    #[cfg(feature = "model-checking")]
    pub fn iter(&self) -> impl Iterator<Item = (&Uuid, &Kept<A>)> {
        self.by_id.iter()
    }

    /// Remembers a command whose effective record occurred at `at`, and forgets those that are older than a day.
    pub fn insert(&mut self, id: Uuid, kept: Kept<A>, at: Timestamp) {
        let now = self.follow(at);
        self.by_id.insert(id, kept);
        self.order.push_back((now, id));
        while let Some((kept_at, id)) = self.order.front().copied()
            && (now.saturating_sub(kept_at) > KEPT_MICROS
                || (Bug::RememberTooFew.is_in() && self.order.len() > 3))
        {
            self.order.pop_front();
            self.by_id.remove(&id);
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
}
