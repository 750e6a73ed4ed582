//! How far each model is behind the log, looked at every few seconds by a thread of its own.

use std::collections::BTreeMap;
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
        while !shutdown.is_cancelled() {
            let (asked, watched) = (log.clone(), watched.all());
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

fn measure(log: &LogConfig, watched: &[Progress]) -> Result<(), eventlog::LogError> {
    let reader = LogReader::new(log, "projector-lag")?;
    let mut ends: BTreeMap<TopicPartition, i64> = BTreeMap::new();
    let mut lags: BTreeMap<(&'static str, TopicPartition), i64> = BTreeMap::new();
    for one in watched {
        let label = metrics::label(one.model, one.role.leads());
        for (partition, position) in one.get() {
            let end = match ends.get(&partition) {
                Some(end) => *end,
                None => reader.watermarks(partition, TIMEOUT)?.1,
            };
            ends.insert(partition, end);
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
