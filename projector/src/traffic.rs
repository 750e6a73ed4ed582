//! Who is read comes first: what is filled beside it makes way while that has work to do.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A batch of so many records says that there is a backlog.
const BACKLOG_STEPS: usize = 1_000;
/// For how long it says so when it is stored.
const BACKLOG_FOR: Duration = Duration::from_millis(200);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// While there is a backlog, so many of its records come before one that is filled, which costs a sixth of one of them. The time
/// that a fill's batch takes says little: most of its work is done by others, and later.
const FOLLOWED_FOR_FILLED: u64 = 8;
/// Filling goes on all the same after so long: it must come to an end, too.
const WAY_MAX: Duration = Duration::from_secs(2);

/// What the generations that are read have done lately, of all models.
#[derive(Debug)]
pub(crate) struct Traffic {
    begun: Instant,
    steps: AtomicU64,
    /// Batches of a backlog that are under way.
    under_way: AtomicUsize,
    /// When there was a backlog last, in milliseconds since `begun`; 0 for never.
    backlog_at_ms: AtomicU64,
}

impl Default for Traffic {
    fn default() -> Self {
        Self {
            begun: Instant::now(),
            steps: AtomicU64::new(0),
            under_way: AtomicUsize::new(0),
            backlog_at_ms: AtomicU64::new(0),
        }
    }
}

impl Traffic {
    /// A generation that is read takes a batch of so many records, until what this gives is dropped.
    pub(crate) fn take(&self, steps: usize) -> Option<Backlog<'_>> {
        self.steps.fetch_add(steps as u64, Ordering::Relaxed);
        (steps >= BACKLOG_STEPS).then(|| {
            self.under_way.fetch_add(1, Ordering::Relaxed);
            Backlog(self)
        })
    }

    /// How many records those have had.
    pub(crate) fn steps(&self) -> u64 {
        self.steps.load(Ordering::Relaxed)
    }

    /// Waits after a batch of so many records that took so long, and before which there were so many steps: while there is a
    /// backlog, and else for half of the batch where there was anything to do.
    pub(crate) async fn make_way(&self, steps_before: u64, filled: usize, took: Duration) {
        let (waiting, turn) = (Instant::now(), steps_before + FOLLOWED_FOR_FILLED * filled as u64);
        while self.has_backlog() && self.steps() < turn && waiting.elapsed() < WAY_MAX {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        if self.steps() > steps_before {
            tokio::time::sleep(took / 2).await;
        }
    }

    fn has_backlog(&self) -> bool {
        if self.under_way.load(Ordering::Relaxed) > 0 {
            return true;
        }
        let at = self.backlog_at_ms.load(Ordering::Relaxed);
        at > 0 && self.now_ms().saturating_sub(at) < BACKLOG_FOR.as_millis().try_into().unwrap_or(u64::MAX)
    }

    fn now_ms(&self) -> u64 {
        self.begun.elapsed().as_millis().try_into().unwrap_or(u64::MAX)
    }
}

/// A batch of a backlog.
#[derive(Debug)]
pub(crate) struct Backlog<'a>(&'a Traffic);

impl Drop for Backlog<'_> {
    fn drop(&mut self) {
        let traffic = self.0;
        traffic
            .backlog_at_ms
            .store(traffic.now_ms().max(1), Ordering::Relaxed);
        traffic.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backlog_lasts_as_long_as_its_batches_and_a_moment_more() {
        let traffic = Traffic::default();
        assert!(traffic.take(BACKLOG_STEPS - 1).is_none() && !traffic.has_backlog());
        let (one, other) = (traffic.take(BACKLOG_STEPS), traffic.take(BACKLOG_STEPS));
        assert!(one.is_some() && traffic.has_backlog());
        drop(one);
        assert_eq!(traffic.under_way.load(Ordering::Relaxed), 1);
        drop(other);
        assert!(traffic.has_backlog(), "the next batch may come");
        assert_eq!(traffic.under_way.load(Ordering::Relaxed), 0);
        assert_eq!(traffic.steps(), 3 * BACKLOG_STEPS as u64 - 1);
    }
}
