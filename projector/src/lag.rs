//! How far each model is behind the log, looked at every few seconds by a thread of its own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use eventlog::{Checkpoint, LogConfig, LogReader, TopicPartition};
use tokio_util::sync::CancellationToken;

use crate::metrics;

const EVERY: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(2);

/// How far a model is; shared between its session and the watcher.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    model: &'static str,
    positions: Arc<Mutex<BTreeMap<TopicPartition, i64>>>,
}

impl Progress {
    pub(crate) fn new(model: &'static str) -> Self {
        Self {
            model,
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

/// Measures until the end, in the background. While Kafka does not answer, the last values stand.
pub(crate) fn watch(log: LogConfig, models: Vec<Progress>, shutdown: CancellationToken) {
    tokio::spawn(async move {
        while !shutdown.is_cancelled() {
            let (asked, watched) = (log.clone(), models.clone());
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

fn measure(log: &LogConfig, models: &[Progress]) -> Result<(), eventlog::LogError> {
    let reader = LogReader::new(log, "projector-lag")?;
    let mut ends: BTreeMap<TopicPartition, i64> = BTreeMap::new();
    for model in models {
        for (partition, position) in model.get() {
            let end = match ends.get(&partition) {
                Some(end) => *end,
                None => reader.watermarks(partition, TIMEOUT)?.1,
            };
            ends.insert(partition, end);
            #[allow(clippy::cast_precision_loss, reason = "a gauge is a float")]
            metrics::lag(model.model, partition).set((end - position).max(0) as f64);
        }
    }
    Ok(())
}
