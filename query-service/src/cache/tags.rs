//! When each thing last changed, as the log says: what decides whether a cached answer is still true.
//!
//! A *tag* names something that answers are made from: an order, a customer's list, a SKU, the sales. The [tail](crate::tail)
//! touches the tags of every event before it says that it has come past that event. A cached answer knows the position that
//! it was read at, and its tags; it is as good as new as long as no tag was touched behind that position.
//!
//! The memory is constant: a tag is a slot, by its hash. Two tags that share a slot invalidate each other, so there may be
//! too much reading, and never an old answer. Nothing here waits, locks or allocates.
//!
//! # Why an old answer cannot pass
//!
//! The tail is one thread. For an event at offset `o` it stores `o + 1` into the slots of the event's tags, and *then* publishes
//! the position `o + 1` (or a later one). A reader loads the position `t` *first*, then the floor, then the slots. The publishing
//! store is a release and the load an acquire, so whoever sees `t` sees every slot that was raised for an event before `t`.
//! Slots only rise. So if all slots of an answer that was read at `e` are at most `e`, then no event in `e..t` touched
//! any of its tags: at `t` the answer is what it was at `e`. Loaded in the other order, an event could fall between the two.
//!
//! The floor is where the tail began: what happened before it is in no slot, so an answer that was read before it is
//! worth nothing.
//!
//! Should the log turn out to be another one, all of that starts again as a new *generation*. An answer belongs to the
//! generation that was there before it was read. The floors go up to infinity first, so that no answer of the new generation
//! is judged by what is left of the old one; then the generation is raised, and only then are slots and positions
//! stored anew. A reader looks at the generation last: if anything that it saw was stored anew, it sees the new generation.

use std::hash::{BuildHasher, Hash};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use eventlog::{Topic, TopicPartition};
use rustc_hash::FxBuildHasher;
use uuid::Uuid;

use crate::bugs::Bug;

/// A floor that no position reaches.
const NOWHERE: i64 = i64::MAX;

/// What answers are made from. Each belongs to a partition, which is told beside it.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub(crate) enum Tag<'a> {
    /// An order: each of its events.
    Order(Uuid),
    /// Which orders a customer has: each that is placed.
    Customer(&'a str),
    /// A SKU: each of its events.
    Sku(&'a str),
    /// The sales statistics: each event that can change them.
    Sales,
}

/// A tag's place in its partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot(u32);

impl Slot {
    /// The slot of no tag: an answer that has it is good for where it was read at, and nowhere else.
    pub(crate) const NONE: Self = Self(u32::MAX);
}

/// What the tail knows of every partition.
#[derive(Debug)]
pub(crate) struct Tags {
    generation: AtomicU64,
    partitions: Box<[OfPartition]>,
    count: usize,
    /// Number of slots less one: a power of two less one.
    mask: u32,
}

#[derive(Debug)]
struct OfPartition {
    floor: AtomicI64,
    position: AtomicI64,
    slots: Box<[AtomicI64]>,
}

impl Tags {
    /// For so many partitions of each event topic, in about so many bytes. Nothing is known yet, so nothing is valid.
    pub(crate) fn new(partitions: i32, bytes: usize) -> Self {
        let count = usize::try_from(partitions).unwrap_or_default();
        let each = bytes / size_of::<AtomicI64>() / (Topic::ALL.len() * count).max(1);
        let slots = (each.max(2) + 1).next_power_of_two() / 2;
        let slots = slots.clamp(1, 1 << 24);
        Self {
            generation: AtomicU64::new(0),
            partitions: (0..Topic::ALL.len() * count)
                .map(|_| OfPartition {
                    floor: AtomicI64::new(NOWHERE),
                    position: AtomicI64::new(0),
                    slots: (0..slots).map(|_| AtomicI64::new(0)).collect(),
                })
                .collect(),
            count,
            mask: u32::try_from(slots - 1).unwrap_or(u32::MAX),
        }
    }

    /// The slot of a tag, the same in each partition.
    pub(crate) fn slot(&self, tag: &Tag<'_>) -> Slot {
        let hash = FxBuildHasher.hash_one(tag);
        #[allow(clippy::cast_possible_truncation, reason = "any bits of a hash will do")]
        let bits = (hash ^ (hash >> 32)) as u32;
        Slot(bits & self.mask)
    }

    fn of(&self, partition: TopicPartition) -> Option<&OfPartition> {
        let number = usize::try_from(partition.partition)
            .ok()
            .filter(|number| *number < self.count)?;
        self.partitions
            .get(usize::from(partition.topic.index()) * self.count + number)
    }

    /// The generation that an answer belongs to. Load it before the answer is read.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// How far the tail has come: the first offset that it has not taken in. 0 where it has not begun.
    pub(crate) fn position(&self, partition: TopicPartition) -> i64 {
        self.of(partition)
            .map_or(0, |of| of.position.load(Ordering::Acquire))
    }

    /// Up to where an answer holds that was read at `at` and is made from these tags of the partition: at least `at`, and as far
    /// as the tail where that is further. None if it is of another generation, or a tag was touched since, or may have been.
    pub(crate) fn holds(
        &self,
        generation: u64,
        partition: TopicPartition,
        at: i64,
        slots: &[Slot],
    ) -> Option<i64> {
        let of = self.of(partition)?;
        // The order of these loads is what makes it true; see the module's documentation.
        let position = of.position.load(Ordering::Acquire);
        let known = at >= of.floor.load(Ordering::Acquire);
        let untouched = |slot: &Slot| {
            of.slots
                .get(slot.0 as usize)
                .is_some_and(|last| last.load(Ordering::Acquire) <= at)
        };
        let untouched = |slot| untouched(slot) || Bug::PastTag.is_in();
        let valid = known && slots.iter().all(untouched) && self.generation() == generation;
        valid.then_some(position.max(at))
    }

    /// Starts a new generation, of which nothing is known: the log is another one. For the tail only, as all that follow.
    pub(crate) fn forget(&self) {
        for of in &self.partitions {
            of.floor.store(NOWHERE, Ordering::Release);
        }
        self.generation.fetch_add(1, Ordering::AcqRel);
        for of in &self.partitions {
            for slot in &of.slots {
                slot.store(0, Ordering::Release);
            }
            of.position.store(0, Ordering::Release);
        }
    }

    /// The tail begins at an offset: of what is before it, nothing is known.
    pub(crate) fn begin(&self, partition: TopicPartition, next_offset: i64) {
        if let Some(of) = self.of(partition) {
            of.position.store(next_offset, Ordering::Release);
            of.floor.store(next_offset, Ordering::Release);
        }
    }

    /// An event right before this offset touches a tag.
    pub(crate) fn touch(&self, partition: TopicPartition, tag: &Tag<'_>, next_offset: i64) {
        let slot = self.slot(tag);
        if let Some(last) = self.of(partition).and_then(|of| of.slots.get(slot.0 as usize)) {
            last.fetch_max(next_offset, Ordering::Release);
        }
    }

    /// What is right before this offset may have touched anything.
    pub(crate) fn touch_all(&self, partition: TopicPartition, next_offset: i64) {
        if let Some(of) = self.of(partition) {
            of.floor.fetch_max(next_offset, Ordering::Release);
        }
    }

    /// All tags of what is before this offset have been touched.
    pub(crate) fn publish(&self, partition: TopicPartition, next_offset: i64) {
        if let Some(of) = self.of(partition) {
            of.position.fetch_max(next_offset, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    use proptest::prelude::*;

    use super::*;

    const ORDERS: TopicPartition = TopicPartition {
        topic: Topic::Orders,
        partition: 1,
    };
    const STOCK: TopicPartition = TopicPartition {
        topic: Topic::Stock,
        partition: 1,
    };

    fn tags() -> Tags {
        Tags::new(2, 1 << 20)
    }

    #[test]
    fn nothing_is_valid_before_the_tail_began_nor_below_its_floor() {
        let tags = tags();
        assert_eq!(tags.holds(0, ORDERS, 100, &[]), None);
        tags.begin(ORDERS, 50);
        assert_eq!(tags.holds(0, ORDERS, 49, &[]), None);
        assert_eq!(tags.holds(0, ORDERS, 50, &[]), Some(50));
        assert_eq!(
            tags.holds(0, ORDERS, 60, &[]),
            Some(60),
            "a model may be ahead of the tail"
        );
        assert_eq!(tags.holds(0, STOCK, 100, &[]), None, "another partition");
        let beyond = TopicPartition {
            topic: Topic::Orders,
            partition: 2,
        };
        assert_eq!(tags.holds(0, beyond, 100, &[]), None);
    }

    #[test]
    fn an_answer_holds_until_one_of_its_tags_is_touched() {
        let tags = tags();
        tags.begin(STOCK, 0);
        let (mine, other) = (Tag::Sku("a"), Tag::Sku("b"));
        let slots = [tags.slot(&mine)];
        tags.touch(STOCK, &other, 11);
        tags.publish(STOCK, 11);
        assert_eq!(tags.holds(0, STOCK, 10, &slots), Some(11));
        tags.touch(STOCK, &mine, 12);
        assert_eq!(
            tags.holds(0, STOCK, 10, &slots),
            None,
            "touched, though not published"
        );
        tags.publish(STOCK, 12);
        assert_eq!(tags.holds(0, STOCK, 11, &slots), None);
        assert_eq!(
            tags.holds(0, STOCK, 12, &slots),
            Some(12),
            "read again behind the event"
        );
        assert_eq!(
            tags.holds(0, STOCK, 12, &[Slot::NONE]),
            None,
            "no slot of the table"
        );
        tags.touch_all(STOCK, 20);
        assert_eq!(tags.holds(0, STOCK, 19, &slots), None);
        assert_eq!(tags.holds(0, STOCK, 20, &slots), Some(20));
    }

    #[test]
    fn another_log_is_another_generation() {
        let tags = tags();
        tags.begin(STOCK, 0);
        assert_eq!(tags.holds(0, STOCK, 1_000, &[]), Some(1_000));
        tags.forget();
        assert_eq!(
            tags.holds(1, STOCK, 1_000, &[]),
            None,
            "the tail has not begun again"
        );
        tags.begin(STOCK, 0);
        assert_eq!(tags.holds(0, STOCK, 1_000, &[]), None, "of the old log");
        assert_eq!(tags.holds(1, STOCK, 1_000, &[]), Some(1_000));
    }

    #[test]
    fn slots_fit_the_memory() {
        for (partitions, bytes) in [(1, 0), (1, 100), (4, 1 << 20), (64, 16 << 20), (0, 1 << 20)] {
            let tags = Tags::new(partitions, bytes);
            let slots = tags.mask as usize + 1;
            assert!(slots.is_power_of_two());
            let total = slots * 8 * 2 * usize::try_from(partitions).unwrap();
            assert!(
                total <= bytes.max(16 * 2),
                "{partitions} partitions take {total} of {bytes} bytes"
            );
        }
    }

    /// One event of a small log: which of a few tags it touches.
    fn log() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(0..6_u8, 0..60)
    }

    proptest! {
        /// Whatever is touched when: an answer that is said to hold is the answer that a read at that position would give.
        #[test]
        fn what_holds_is_true(log in log(), begun in 0..20_usize, at in 0..60_usize, tag in 0..6_u8, bytes in 0..600_usize) {
            let tags = Tags::new(2, bytes);
            let sku = |n: u8| n.to_string();
            let version = |tag: u8, upto: usize| log.iter().take(upto).filter(|touched| **touched == tag).count();
            let begun = begun.min(log.len());
            tags.begin(STOCK, i64::try_from(begun).unwrap());
            let slots = [tags.slot(&Tag::Sku(&sku(tag)))];
            for upto in begun..=log.len() {
                if upto > begun {
                    let next = i64::try_from(upto).unwrap();
                    tags.touch(STOCK, &Tag::Sku(&sku(log[upto - 1])), next);
                    tags.publish(STOCK, next);
                }
                if at <= upto && let Some(covered) = tags.holds(0, STOCK, i64::try_from(at).unwrap(), &slots) {
                    prop_assert_eq!(covered, i64::try_from(upto).unwrap());
                    prop_assert!(at >= begun);
                    prop_assert_eq!(version(tag, at), version(tag, upto));
                }
            }
        }
    }

    /// The race itself: a thread that touches and publishes, and readers that must never be told that an answer holds as of
    /// a position that an event of its tag is before.
    #[test]
    fn no_reader_sees_a_position_without_its_tags() {
        const EVENTS: i64 = 200_000;
        let (tags, done) = (Arc::new(Tags::new(1, 1 << 10)), Arc::new(AtomicBool::new(false)));
        let partition = TopicPartition {
            topic: Topic::Stock,
            partition: 0,
        };
        tags.begin(partition, 0);
        let skus: Vec<String> = (0..4).map(|n| n.to_string()).collect();
        // Event at offset `o` touches SKU `o % 4`.
        let readers: Vec<_> = (0..2_i64)
            .map(|reader| {
                let (tags, done, sku) = (
                    Arc::clone(&tags),
                    Arc::clone(&done),
                    skus[usize::try_from(reader).unwrap()].clone(),
                );
                std::thread::spawn(move || {
                    let slots = [tags.slot(&Tag::Sku(&sku))];
                    let mut held = 0_u64;
                    while !done.load(Ordering::Relaxed) {
                        let at = tags.position(partition);
                        for _ in 0..20 {
                            if let Some(covered) = tags.holds(0, partition, at, &slots) {
                                held += 1;
                                let touched = (at..covered).any(|offset| offset % 4 == reader);
                                assert!(!touched, "{at}..{covered} has an event of SKU {reader}");
                            }
                        }
                    }
                    held
                })
            })
            .collect();
        for offset in 0..EVENTS {
            let sku = &skus[usize::try_from(offset % 4).unwrap()];
            tags.touch(partition, &Tag::Sku(sku), offset + 1);
            tags.publish(partition, offset + 1);
        }
        done.store(true, Ordering::Relaxed);
        for reader in readers {
            reader.join().unwrap();
        }
    }
}
