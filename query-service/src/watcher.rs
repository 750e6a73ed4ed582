//! How far a model is, known while somebody waits: one poll for all who wait, and none for nobody.

use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::time::Duration;

use eventlog::Positions;
use read_model::StoreError;
use tokio::sync::{Notify, watch};

/// Between two polls while something moves, or somebody has just come.
const POLL_MIN: Duration = Duration::from_millis(2);
/// Between two polls while nothing does.
const POLL_MAX: Duration = Duration::from_millis(20);
/// Polls without a change before they become rarer.
const PATIENT_POLLS: u32 = 50;
/// How long one poll may take.
const POLL_TIMEOUT: Duration = Duration::from_secs(1);

/// Watches one model for those who wait.
#[derive(Debug)]
pub(crate) struct Watcher {
    seen: watch::Sender<Positions>,
    waiting: AtomicUsize,
    arrived: Notify,
    partitions: AtomicI32,
}

impl Default for Watcher {
    fn default() -> Self {
        Self {
            seen: watch::Sender::new(Positions::new()),
            waiting: AtomicUsize::new(0),
            arrived: Notify::new(),
            partitions: AtomicI32::new(0),
        }
    }
}

/// Somebody who waits, until it is dropped.
struct Waiting<'a>(&'a Watcher);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Watcher {
    /// Waits until the model covers `wanted`, as seen by a poll that began after this call or just before it. What it covered
    /// earlier does not count: a model can lose what it had.
    pub(crate) async fn covers(&self, wanted: &Positions, partitions: i32) {
        self.partitions.store(partitions, Ordering::Relaxed);
        let mut seen = self.seen.subscribe();
        seen.mark_unchanged();
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(self);
        self.arrived.notify_one();
        // The sender is ours, so it is there.
        while seen.changed().await.is_ok() {
            if covers(&seen.borrow_and_update(), wanted) {
                return;
            }
        }
    }

    /// Polls while somebody waits, for ever.
    pub(crate) async fn watch<F>(&self, positions: impl Fn(i32) -> F)
    where
        F: Future<Output = Result<Positions, StoreError>>,
    {
        let (mut pause, mut still) = (POLL_MIN, 0);
        loop {
            while self.waiting.load(Ordering::Relaxed) == 0 {
                self.arrived.notified().await;
                (pause, still) = (POLL_MIN, 0);
            }
            let asked = positions(self.partitions.load(Ordering::Relaxed));
            let moved = match tokio::time::timeout(POLL_TIMEOUT, asked).await {
                Ok(Ok(found)) => {
                    let moved = *self.seen.borrow() != found;
                    self.seen.send_replace(found);
                    moved
                }
                Ok(Err(_)) | Err(_) => false,
            };
            still = if moved { 0 } else { still + 1 };
            pause = if still < PATIENT_POLLS {
                POLL_MIN
            } else {
                (pause * 2).min(POLL_MAX)
            };
            tokio::time::sleep(pause).await;
        }
    }
}

/// Whether positions are at least those that are wanted.
pub(crate) fn covers(positions: &Positions, wanted: &Positions) -> bool {
    wanted
        .iter()
        .all(|(partition, offset)| positions.get(partition).is_some_and(|found| found >= offset))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicI64;

    use eventlog::{Topic, TopicPartition};

    use super::*;

    fn at(offset: i64) -> Positions {
        [(
            TopicPartition {
                topic: Topic::Orders,
                partition: 0,
            },
            offset,
        )]
        .into_iter()
        .collect()
    }

    #[test]
    fn covering_is_for_each_partition_that_is_wanted() {
        assert!(covers(&at(3), &at(3)));
        assert!(covers(&at(3), &Positions::new()));
        assert!(!covers(&at(2), &at(3)));
        assert!(!covers(&Positions::new(), &at(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_wait_are_woken_and_polls_end_with_them() {
        let (watcher, offset, polls) = (
            Arc::new(Watcher::default()),
            Arc::new(AtomicI64::new(1)),
            Arc::new(AtomicI64::new(0)),
        );
        let (polled, from, counted) = (Arc::clone(&watcher), Arc::clone(&offset), Arc::clone(&polls));
        tokio::spawn(async move {
            polled
                .watch(|_| {
                    counted.fetch_add(1, Ordering::Relaxed);
                    let found = at(from.load(Ordering::Relaxed));
                    async move { Ok(found) }
                })
                .await;
        });
        let wanted = at(5);
        let early = tokio::time::timeout(Duration::from_secs(1), watcher.covers(&wanted, 1)).await;
        assert!(early.is_err(), "nothing covers it yet");
        offset.store(5, Ordering::Relaxed);
        watcher.covers(&wanted, 1).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let idle = polls.load(Ordering::Relaxed);
        tokio::time::sleep(Duration::from_mins(1)).await;
        assert_eq!(
            polls.load(Ordering::Relaxed),
            idle,
            "nobody waits, so nobody polls"
        );
    }
}
