//! At a start: opens the partitions' checkpoints and looks their last records up in the log.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use eventlog::{LogConfig, LogError, LogId, LogReader, LogRecord, TopicPartition};
use rustc_hash::FxHashMap;

use super::{Checkpoints, SharedStore};
use crate::metrics;
use crate::shop::Shop;
use crate::store::{Identity, Opened, Store};
use crate::writer::Restored;

/// Files that are verified at once.
const THREADS_MAX: usize = 8;

/// How long one attempt to find the records may take.
const FIND_TIMEOUT: Duration = Duration::from_secs(5);

/// Pause after an error.
const BACK_OFF: Duration = Duration::from_millis(250);

impl Checkpoints {
    /// Opens the checkpoints of all partitions. Returns what each writer starts from, none where it folds its log from the
    /// beginning; and the stores. Waits for Kafka for as long as it takes, unless `is_over`.
    pub fn open(
        &mut self,
        log: &LogConfig,
        log_id: LogId,
        is_over: impl Fn() -> bool,
    ) -> (Vec<Option<Restored<Shop>>>, Vec<Option<SharedStore>>) {
        let Some(config) = self.config.clone() else {
            return (self.slots.iter().map(|_| None).collect(), Vec::new());
        };
        let began = Instant::now();
        let cache_bytes = self.share(|config| config.cache_bytes);
        let identities: Vec<Identity> = self
            .slots
            .iter()
            .map(|slot| Identity {
                log_id,
                partition: slot.partition,
            })
            .collect();
        let mut restored = Vec::new();
        for (slot, opened) in self.slots.iter_mut().zip(open_all(&identities, |identity| {
            open_one(identity, &config.data_dir, cache_bytes)
        })) {
            let (store, snapshot) = opened.map_or((None, None), |opened| {
                (Some(Arc::new(opened.store)), opened.restored)
            });
            slot.store = store;
            restored.push(snapshot);
        }
        let opened_ms = began.elapsed().as_millis();
        self.confirm(log, &mut restored, &is_over);
        tracing::info!(
            opened_ms,
            confirmed_ms = began.elapsed().as_millis(),
            partitions = self.slots.len(),
            restored = restored.iter().flatten().count(),
            "writer.checkpoint.opened"
        );
        self.start();
        let stores = self.slots.iter().map(|slot| slot.store.clone()).collect();
        (restored, stores)
    }

    /// Throws away the checkpoints whose last record is not in the log as they have it.
    fn confirm(&self, log: &LogConfig, restored: &mut [Option<Restored<Shop>>], is_over: &impl Fn() -> bool) {
        let wanted: Vec<(TopicPartition, i64)> = self
            .slots
            .iter()
            .zip(&*restored)
            .filter_map(|(slot, restored)| {
                let last_offset = restored.as_ref()?.checkpoint.last_offset;
                (last_offset >= 0).then_some((slot.partition, last_offset))
            })
            .collect();
        if wanted.is_empty() {
            return;
        }
        let found = loop {
            match find(log, &wanted) {
                Ok(found) => break found,
                Err(error) => tracing::warn!(%error, "writer.checkpoint.confirm: trying again"),
            }
            if is_over() {
                return;
            }
            std::thread::sleep(BACK_OFF);
        };
        for (slot, restored) in self.slots.iter().zip(restored) {
            let confirmed = restored
                .as_ref()
                .is_none_or(|restored| restored.checkpoint.confirmed_by(found.get(&slot.partition)));
            if !confirmed {
                metrics::checkpoint_discarded("log");
                tracing::error!(
                    partition = ?slot.partition,
                    last_offset = restored.as_ref().map(|restored| restored.checkpoint.last_offset),
                    "writer.checkpoint.discarded: the log does not hold its last record, so it was truncated or restored; \
                     folding it from its beginning"
                );
                *restored = None;
            }
        }
    }
}

fn find(
    log: &LogConfig,
    wanted: &[(TopicPartition, i64)],
) -> Result<FxHashMap<TopicPartition, LogRecord>, LogError> {
    LogReader::hopping(log, "writer-checkpoints")?.fetch_each(wanted, FIND_TIMEOUT)
}

fn open_one(identity: Identity, data_dir: &std::path::Path, cache_bytes: usize) -> Option<Opened<Shop>> {
    let path = identity.path(data_dir);
    match Store::open(&path, identity, cache_bytes) {
        Ok(opened) => {
            if let Some(reason) = &opened.discarded {
                metrics::checkpoint_discarded("file");
                tracing::error!(
                    partition = ?identity.partition, path = %path.display(), reason,
                    "writer.checkpoint.discarded: folding the log from its beginning"
                );
            }
            Some(opened)
        }
        Err(error) => {
            tracing::error!(
                partition = ?identity.partition, path = %path.display(), error = &error as &dyn std::error::Error,
                "writer.checkpoint.open: no checkpoints of this partition are made, and all of its state stays in memory"
            );
            None
        }
    }
}

/// Opens many at once: verifying them takes the processor.
fn open_all<T: Send>(identities: &[Identity], open: impl Fn(Identity) -> Option<T> + Sync) -> Vec<Option<T>> {
    let threads = std::thread::available_parallelism()
        .map_or(1, usize::from)
        .min(THREADS_MAX);
    let next = AtomicUsize::new(0);
    let opened: Mutex<Vec<Option<T>>> = Mutex::new(identities.iter().map(|_| None).collect());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let index = next.fetch_add(1, Ordering::Relaxed)
                    && let Some(identity) = identities.get(index)
                {
                    let one = open(*identity);
                    opened.lock().unwrap_or_else(PoisonError::into_inner)[index] = one;
                }
            });
        }
    });
    opened.into_inner().unwrap_or_else(PoisonError::into_inner)
}
