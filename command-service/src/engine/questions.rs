//! Places for those who ask about a partition and want nothing done: proofs and reads.
//!
//! A place is held by what waits on the writers' thread, not by whoever asked: those who gave up still take memory there until
//! their answer comes. So what waits is bounded, however long Kafka is down.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Questions that may wait at once.
const QUESTIONS_MAX: usize = 4_096;

/// Counts the questions that wait.
#[derive(Clone, Debug, Default)]
pub(crate) struct Questions(Arc<AtomicUsize>);

/// A question's place, for as long as it lives.
#[derive(Debug)]
pub(crate) struct Place(Arc<AtomicUsize>);

impl Questions {
    /// A place; none where too many wait.
    pub fn enter(&self) -> Option<Place> {
        if self.0.fetch_add(1, Ordering::Relaxed) >= QUESTIONS_MAX {
            self.0.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Place(Arc::clone(&self.0)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_so_many_places_and_each_is_free_again() {
        let questions = Questions::default();
        let mut places: Vec<_> = std::iter::from_fn(|| questions.enter()).collect();
        assert_eq!(places.len(), QUESTIONS_MAX);
        places.pop();
        assert!(questions.enter().is_some());
    }
}
