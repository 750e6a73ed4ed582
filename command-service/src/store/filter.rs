//! Which commands may be in a snapshot: a Bloom filter, so that a command that was never seen costs no read.

use std::sync::atomic::{AtomicUsize, Ordering};

use fastbloom::AtomicBloomFilter;
use rustc_hash::FxBuildHasher;

/// One command in so many that was never seen costs a read.
const FALSE_POSITIVES: f64 = 0.01;

/// Commands that the smallest filter is made for: 20 KiB.
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

    pub fn insert(&self, id: u128) {
        self.bloom.insert(&id);
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    pub fn may_have(&self, id: u128) -> bool {
        self.bloom.contains(&id)
    }

    /// Whether so many more fit in.
    pub fn has_room_for(&self, more: usize) -> bool {
        self.count.load(Ordering::Relaxed) + more <= self.capacity
    }
}
