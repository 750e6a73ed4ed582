//! The tail: one thread that follows the event topics, so that this service knows what has changed, and when.
//!
//! It judges each record by the chain rule, and for each effective one raises the [tags](crate::cache::tags) that it touches,
//! puts the event into the [live ring](ring), and only then says that it has come past it. Nobody waits for it: before it has
//! begun, and while Kafka or the registry are down, reads are served from the models, and nothing from memory that could be old.
//!
//! * `session` is its life: where to start, and what to do when something goes wrong; `start` finds the place, `follow` is the thread.
//! * [`ring`] is what live streams read, through [`Tail::live`].
//!
//! What it deliberately does not do: fold events. What an aggregate looks like is the models' business.

mod event;
mod follow;
pub(crate) mod ring;
mod session;
mod start;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use eventlog::TopicPartition;
use tokio::sync::watch;
use uuid::Uuid;

#[cfg(test)]
pub(crate) use event::samples;
pub(crate) use event::{LiveEvent, Text};
pub(crate) use session::{Following, keep};

use crate::cache::tags::Tags;
use ring::{Cursor, Elsewhere, OrderCursor, OrderPlaces, Ring};

/// What the tail knows, shared by its thread and everybody who asks.
#[derive(Debug)]
pub(crate) struct Tail {
    tags: Tags,
    partitions: i32,
    ring: Mutex<Ring>,
    /// Raised whenever the tail has moved.
    moved: watch::Sender<u64>,
    started: Instant,
    /// In milliseconds since `started`, plus one; 0 for never.
    heard_at_ms: AtomicU64,
}

impl Tail {
    /// Nothing is known yet.
    pub(crate) fn new(partitions: i32, tag_bytes: usize, ring_bytes: usize) -> Self {
        Self {
            tags: Tags::new(partitions, tag_bytes),
            partitions,
            ring: Mutex::new(Ring::new(ring_bytes)),
            moved: watch::Sender::new(0),
            started: Instant::now(),
            heard_at_ms: AtomicU64::new(0),
        }
    }

    /// When each thing last changed.
    pub(crate) const fn tags(&self) -> &Tags {
        &self.tags
    }

    /// Every partition of every event topic.
    pub(crate) fn partitions(&self) -> impl Iterator<Item = TopicPartition> + use<> {
        TopicPartition::all(self.partitions)
    }

    /// How long before `now` the tail was last known to have everything: it had come as far as the log's ends were then, as the
    /// broker said. None: never.
    pub(crate) fn silent_for(&self, now: Instant) -> Option<Duration> {
        let heard = self.heard_at_ms.load(Ordering::Relaxed).checked_sub(1)?;
        let since = now.saturating_duration_since(self.started);
        Some(since.saturating_sub(Duration::from_millis(heard)))
    }

    /// The tail has everything that was there at that time.
    pub(crate) fn heard(&self, at: Instant) {
        let since = at.saturating_duration_since(self.started).as_millis();
        let since = u64::try_from(since).unwrap_or(u64::MAX - 1);
        self.heard_at_ms.fetch_max(since + 1, Ordering::Relaxed);
    }

    /// The latest events of orders.
    pub(crate) fn live(&self) -> Live<'_> {
        Live(self)
    }

    /// Wakes whoever waits for the tail to move.
    fn say_moved(&self) {
        self.moved.send_modify(|count| *count += 1);
    }

    pub(crate) fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How live streams read: come in with [`Live::subscribe`], [`Live::take`] what is there, wait on [`Live::moved`], take again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Live<'a>(&'a Tail);

impl Live<'_> {
    /// Comes in at these positions of the orders' partitions; a partition that is not named is wanted from now on.
    pub(crate) fn subscribe(self, places: &OrderPlaces) -> Result<Cursor, Elsewhere> {
        self.0.ring().subscribe(places)
    }

    /// The next events, at most so many; none where the follower has all. He must have begun before what is held.
    pub(crate) fn take(self, cursor: &mut Cursor, max: usize) -> Result<Vec<Arc<LiveEvent>>, Elsewhere> {
        self.0.ring().take(cursor, max)
    }

    /// Follows an order until [`Live::leave`]: what this gives changes whenever there is something to take.
    pub(crate) fn follow(self, order_id: Uuid) -> watch::Receiver<i64> {
        self.0.ring().follow(order_id)
    }

    /// Ends what [`Live::follow`] began.
    pub(crate) fn leave(self, order_id: Uuid) {
        self.0.ring().leave(order_id);
    }

    /// Comes in at that place of an order that is followed.
    pub(crate) fn subscribe_order(
        self,
        order_id: Uuid,
        partition: i32,
        place: i64,
    ) -> Result<OrderCursor, Elsewhere> {
        self.0.ring().subscribe_order(order_id, partition, place)
    }

    /// As [`Live::take`], of one order.
    pub(crate) fn take_order(
        self,
        cursor: &mut OrderCursor,
        max: usize,
    ) -> Result<Vec<Arc<LiveEvent>>, Elsewhere> {
        self.0.ring().take_order(cursor, max)
    }

    /// From where on each partition is held.
    pub(crate) fn floors(self) -> OrderPlaces {
        self.0.ring().floors().clone()
    }

    /// Where each partition stands.
    pub(crate) fn heads(self) -> OrderPlaces {
        self.0.ring().heads().clone()
    }

    /// Changes whenever the tail has moved. Subscribe to it before taking, or a move may be missed.
    pub(crate) fn moved(self) -> watch::Receiver<u64> {
        self.0.moved.subscribe()
    }
}
