//! The cache: answers that are kept as long as they are true.
//!
//! * [`policy`] is the table of what is kept, and how long at most; [`key`] and [`entry`] are what is kept.
//! * [`tags`] know when each thing last changed: an answer is served only while it covers its tags, and the caller's token.
//! * [`flights`] fill it: one fill at a time for each key.
//!
//! An answer is kept under the position that it was read at, so it does not matter when it gets here: one that was read
//! before an event and comes after it is not valid, and is not served.
//!
//! The store is `quick_cache`, not `moka`. What decides whether an answer is served is the tags, so nothing of what moka adds is of
//! use here (expiry, listeners, invalidation), and moka pays for it: its reads are recorded in a channel and put in order by whoever
//! comes by, with a look at the clock each. `quick_cache`'s reads take a shared lock of one shard and set one bit. Both bound bytes
//! by a weigher, admit by how often something was asked for, and let a scan pass without losing what is hot.
//!
//! What it deliberately does not do: fill itself. That is the business of `reads`.

pub(crate) mod entry;
pub(crate) mod flights;
pub(crate) mod key;
pub(crate) mod policy;
pub(crate) mod tags;

use std::sync::Arc;
use std::time::Instant;

use eventlog::Positions;
use quick_cache::sync::Cache as Store;
use quick_cache::{DefaultHashBuilder, Lifecycle, OptionsBuilder, Weighter};

use crate::metrics::CacheMetrics;
use crate::tail::Tail;
use entry::{Entry, Verdict};
use key::{Key, KeyRef};

/// About what an answer takes up, to size the store's tables.
const ENTRY_BYTES: usize = 1024;

/// Answers in memory.
#[derive(Debug)]
pub(crate) struct Cache {
    store: Store<Key, Arc<Entry>, ByBytes, DefaultHashBuilder, Evictions>,
    tail: Arc<Tail>,
    metrics: Arc<CacheMetrics>,
}

/// Why an answer does not come from memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Miss {
    /// There is none.
    Absent,
    /// Something that it was made from has changed, or may have.
    Touched,
    /// The tail has not come as far as the token.
    Behind,
    /// The tail has not been known to have everything for too long.
    Silent,
    /// It has been there for longer than it may.
    Old,
}

impl Miss {
    pub(crate) const ALL: [Self; 5] = [Self::Absent, Self::Touched, Self::Behind, Self::Silent, Self::Old];

    /// As a label of metrics.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Touched => "touched",
            Self::Behind => "behind",
            Self::Silent => "silent",
            Self::Old => "old",
        }
    }
}

impl Cache {
    /// Keeps answers in at most about so many bytes.
    pub(crate) fn new(tail: Arc<Tail>, bytes_max: usize) -> Self {
        let metrics = Arc::new(CacheMetrics::new());
        let evictions = Evictions(Arc::clone(&metrics));
        let items = (bytes_max / ENTRY_BYTES).max(16);
        let options = OptionsBuilder::new()
            .estimated_items_capacity(items)
            .weight_capacity(bytes_max as u64)
            .build();
        let store = match options {
            Ok(options) => Store::with_options(options, ByBytes, DefaultHashBuilder::default(), evictions),
            // Only where something is left out, and nothing is.
            Err(_) => Store::with(
                items,
                bytes_max as u64,
                ByBytes,
                DefaultHashBuilder::default(),
                evictions,
            ),
        };
        Self { store, tail, metrics }
    }

    /// The answer, if it is there, still true, and as far as is wanted.
    pub(crate) fn get(&self, key: &KeyRef<'_>, wanted: &Positions) -> Result<Arc<Entry>, Miss> {
        let found = self.find(key, wanted);
        match &found {
            Ok(_) => self.metrics.hit(key.kind()),
            Err(miss) => self.metrics.miss(key.kind(), *miss),
        }
        found
    }

    /// The same, and it is not counted.
    pub(crate) fn find(&self, key: &KeyRef<'_>, wanted: &Positions) -> Result<Arc<Entry>, Miss> {
        let entry = self.spare(key, wanted)?;
        if let Some(kept) = &key.kind().policy().kept {
            let now = Instant::now();
            if now.saturating_duration_since(entry.filled_at) > kept.age_max {
                return Err(Miss::Old);
            }
            if self
                .tail
                .silent_for(now)
                .is_none_or(|silent| silent > kept.silence_max)
            {
                return Err(Miss::Silent);
            }
        }
        Ok(entry)
    }

    /// The same however old it is, and however long nothing was heard of the log: for want of a model that answers.
    pub(crate) fn spare(&self, key: &KeyRef<'_>, wanted: &Positions) -> Result<Arc<Entry>, Miss> {
        let Some(entry) = self.store.get(key) else {
            return Err(Miss::Absent);
        };
        match entry.judge(self.tail.tags(), wanted) {
            Verdict::Good => Ok(entry),
            Verdict::Touched => Err(Miss::Touched),
            Verdict::Behind => Err(Miss::Behind),
        }
    }

    /// Whether an answer that was just read is as far as is wanted: by where it was read, or because nothing has touched it since.
    pub(crate) fn is_enough(&self, entry: &Entry, wanted: &Positions) -> bool {
        entry.was_read_at(wanted) || entry.judge(self.tail.tags(), wanted) == Verdict::Good
    }

    /// Keeps an answer, if it is true now: one that is not will never be.
    pub(crate) fn put(&self, key: Key, entry: &Arc<Entry>) {
        if entry.judge(self.tail.tags(), &Positions::new()) == Verdict::Good {
            self.store.insert(key, Arc::clone(entry));
            self.metrics.bytes(self.store.weight());
        }
    }

    /// What counts it.
    pub(crate) fn metrics(&self) -> &CacheMetrics {
        &self.metrics
    }

    /// The generation that an answer which is read from now on belongs to.
    pub(crate) fn tail(&self) -> &Arc<Tail> {
        &self.tail
    }
}

#[derive(Clone, Debug)]
struct ByBytes;

impl Weighter<Key, Arc<Entry>> for ByBytes {
    fn weight(&self, key: &Key, entry: &Arc<Entry>) -> u64 {
        (size_of::<Key>() + key.bytes() + entry.bytes()) as u64
    }
}

#[derive(Clone, Debug)]
struct Evictions(Arc<CacheMetrics>);

impl Lifecycle<Key, Arc<Entry>> for Evictions {
    type RequestState = ();

    fn on_evict(&self, (): &mut (), key: Key, _: Arc<Entry>) {
        self.0.evicted(key.as_ref().kind());
    }
}

#[cfg(test)]
mod tests;
