//! What may be in a table of a snapshot: a Bloom filter, so that a command that was never seen, or an aggregate that is about
//! to be created, costs no read.

use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fastbloom::AtomicBloomFilter;
use rustc_hash::FxBuildHasher;

/// The share of keys that were never seen and cost a read all the same, of some 50 us: 14 bits for each key.
const FALSE_POSITIVES: f64 = 0.001;

/// Keys that the smallest filter is made for: 29 KiB.
const CAPACITY_MIN: usize = 16_384;

/// Shared by the one thread that stores and the one that reads.
pub(super) struct Filter {
    bloom: AtomicBloomFilter<FxBuildHasher>,
    capacity: usize,
    count: AtomicUsize,
}

impl Filter {
    /// An empty one, with room for twice as many.
    pub fn for_twice(count: usize) -> Self {
        let capacity = (2 * count).max(CAPACITY_MIN);
        Self {
            bloom: AtomicBloomFilter::with_false_pos(FALSE_POSITIVES)
                .hasher(FxBuildHasher)
                .expected_items(capacity),
            capacity,
            count: AtomicUsize::new(0),
        }
    }

    pub fn insert(&self, key: &(impl Hash + ?Sized)) {
        // One that is written again takes no room.
        if !self.bloom.insert(key) {
            self.count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub fn may_have(&self, key: &(impl Hash + ?Sized)) -> bool {
        self.bloom.contains(key)
    }

    /// Whether so many more fit in.
    pub fn has_room_for(&self, more: usize) -> bool {
        self.count.load(Ordering::Relaxed) + more <= self.capacity
    }
}

/// The filters of one snapshot.
#[derive(Clone)]
pub(super) struct Filters {
    /// By id.
    pub commands: Arc<Filter>,
    /// By encoded key.
    pub states: Arc<Filter>,
}

impl Default for Filters {
    fn default() -> Self {
        Self {
            commands: Arc::new(Filter::for_twice(0)),
            states: Arc::new(Filter::for_twice(0)),
        }
    }
}
