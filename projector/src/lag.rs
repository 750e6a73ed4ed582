//! How far each model is behind the log, looked at every few seconds by a thread of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use eventlog::{Checkpoint, LogConfig, LogReader, TopicPartition};
use tokio_util::sync::CancellationToken;

use crate::generations::Role;
use crate::metrics;

const EVERY: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(2);

/// How far a generation is; shared between its session and the watcher.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    model: &'static str,
    role: Arc<Role>,
    positions: Arc<Mutex<BTreeMap<TopicPartition, i64>>>,
}

impl Progress {
    pub(crate) fn new(model: &'static str, role: Arc<Role>) -> Self {
        Self {
            model,
            role,
            positions: Arc::default(),
        }
    }

    /// Begins anew with these: what else there was is somebody else's.
    pub(crate) fn begin(&self, stored: &BTreeMap<TopicPartition, Checkpoint>) {
        self.positions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        self.note(stored);
    }

    /// Notes what is stored.
    pub(crate) fn note(&self, stored: &BTreeMap<TopicPartition, Checkpoint>) {
        let mut positions = self.positions.lock().unwrap_or_else(PoisonError::into_inner);
        for (partition, checkpoint) in stored {
            positions.insert(*partition, checkpoint.next_offset);
        }
    }

    fn get(&self) -> BTreeMap<TopicPartition, i64> {
        self.positions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// What is projected now.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watched(Arc<Mutex<Vec<Progress>>>);

impl Watched {
    pub(crate) fn add(&self, progress: Progress) {
        self.lock().push(progress);
    }

    pub(crate) fn remove(&self, progress: &Progress) {
        self.lock()
            .retain(|one| !Arc::ptr_eq(&one.positions, &progress.positions));
    }

    fn all(&self) -> Vec<Progress> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Progress>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Measures until the end, in the background. While Kafka does not answer, the last values stand.
pub(crate) fn watch(log: LogConfig, watched: Watched, shutdown: CancellationToken) {
    tokio::spawn(async move {
        let mut shown = BTreeSet::new();
        while !shutdown.is_cancelled() {
            let (asked, watched) = (log.clone(), watched.all());
            let now = labels(&watched);
            // What nobody here works on any more would stand for ever at what it was last.
            for (label, partition) in shown.difference(&now) {
                metrics::lag(label, *partition).set(0.0);
            }
            shown = now;
            let measured = tokio::task::spawn_blocking(move || measure(&asked, &watched)).await;
            if let Ok(Err(error)) = measured {
                tracing::debug!(%error, "projector.lag.unknown");
            }
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = tokio::time::sleep(EVERY) => {}
            }
        }
    });
}

/// What is shown of these.
fn labels(watched: &[Progress]) -> BTreeSet<(&'static str, TopicPartition)> {
    let of = |one: &Progress| {
        let label = metrics::label(one.model, one.role.leads());
        one.get().into_keys().map(move |partition| (label, partition))
    };
    watched.iter().flat_map(of).collect()
}

fn measure(log: &LogConfig, watched: &[Progress]) -> Result<(), eventlog::LogError> {
    let reader = LogReader::new(log, "projector-lag")?;
    let partitions: BTreeSet<_> = watched.iter().flat_map(|one| one.get().into_keys()).collect();
    let ends = reader.ends(partitions, TIMEOUT)?;
    let mut lags: BTreeMap<(&'static str, TopicPartition), i64> = BTreeMap::new();
    for one in watched {
        let label = metrics::label(one.model, one.role.leads());
        for (partition, position) in one.get() {
            // One that came meanwhile is shown the next time.
            let Some(end) = ends.get(&partition) else { continue };
            let lag = lags.entry((label, partition)).or_default();
            *lag = (*lag).max(end - position);
        }
    }
    for ((label, partition), lag) in lags {
        #[allow(clippy::cast_precision_loss, reason = "a gauge is a float")]
        metrics::lag(label, partition).set(lag as f64);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::samples::{A, B, before};

    #[test]
    fn what_is_another_projectors_is_not_shown_any_more() {
        let one = Progress::new("postgres", Arc::default());
        one.begin(&BTreeMap::from([(A, before(1)), (B, before(2))]));
        one.note(&BTreeMap::from([(A, before(3))]));
        assert_eq!(one.get(), BTreeMap::from([(A, 3), (B, 2)]));
        one.begin(&BTreeMap::from([(B, before(4))]));
        assert_eq!(labels(&[one]), BTreeSet::from([("postgres-beside", B)]));
    }
}
