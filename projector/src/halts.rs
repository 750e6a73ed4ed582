//! What stopped because of an event that cannot be applied: a service is not ready as long as it has such a partition.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use eventlog::TopicPartition;
use service_kit::Health;

/// The part of the service that is down.
const PART: &str = "halted";

/// A model and its generation.
type Of = (&'static str, i32);

/// What stopped, of all generations.
#[derive(Clone, Debug)]
pub(crate) struct Halts {
    health: Health,
    all: Arc<Mutex<BTreeMap<(Of, TopicPartition), String>>>,
}

impl Halts {
    pub(crate) fn new(health: Health) -> Self {
        Self {
            health,
            all: Arc::default(),
        }
    }

    /// One stopped, for that reason.
    pub(crate) fn add(&self, of: Of, partition: TopicPartition, reason: String) {
        self.change(|all| {
            all.insert((of, partition), reason);
        });
    }

    /// What is not among these any more is somebody else's affair.
    pub(crate) fn keep(&self, of: Of, partitions: &[TopicPartition]) {
        let partitions: BTreeSet<_> = partitions.iter().collect();
        self.change(|all| all.retain(|(one, partition), _| *one != of || partitions.contains(partition)));
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<(Of, TopicPartition), String>)) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut all);
        match all.values().next_back() {
            Some(reason) => self.health.down(PART, reason.clone()),
            None => self.health.up(PART),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::samples::{A, B};
    use service_kit::health::START;

    #[test]
    fn it_is_ready_again_when_what_stopped_is_another_projectors() {
        let health = Health::starting();
        health.up(START);
        let (halts, postgres, redis) = (Halts::new(health.clone()), ("postgres", 1), ("redis", 1));
        halts.add(postgres, A, "a".to_owned());
        halts.add(redis, A, "b".to_owned());
        halts.keep(postgres, &[B]);
        assert_eq!(health.reasons(), ["halted: b"]);
        halts.keep(redis, &[A, B]);
        assert!(!health.is_ready(), "it still stands");
        halts.keep(redis, &[]);
        assert!(health.is_ready());
    }
}
