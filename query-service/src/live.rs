//! Streams of events, as server-sent events: resumable, without a gap and without a repetition.
//!
//! * `follower` is where a stream stands, and what comes next; pure.
//! * `frame` is what goes over the wire; `stream` drives a follower for as long as its reader reads.
//!
//! What is older than the [ring](crate::tail::ring) comes from Postgres. Nothing is held for a reader that is slow: who falls out
//! of the ring is told so, and where he can come in again.

mod follower;
mod frame;
mod stream;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use eventlog::{Positions, Topic, TopicPartition};
use service_kit::ProblemKind;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

pub(crate) use follower::{Follower, Scope};
pub(crate) use frame::token;
pub(crate) use stream::body;

use crate::config::StreamsConfig;
use crate::ends::Ends;
use crate::metrics::StreamMetrics;
use crate::models::Models;
use crate::tail::ring::OrderPlaces;

/// So many streams read what is kept at a time: each holds a page, and a connection.
const READING_MAX: usize = 8;

/// So long for each stream that is open, a stream of all orders rests between two looks: the more there are, the more events
/// go out at a time.
const REST: Duration = Duration::from_micros(4);

/// The most streams are open.
pub(crate) const TOO_MANY_STREAMS: ProblemKind = ProblemKind {
    slug: "too-many-streams",
    status: 503,
    title: "Too many streams are open",
    about: "This instance has as many streams open as it may. Ask again after as many seconds as Retry-After says, or another instance.",
};

/// Last event of a stream that was not read in time.
pub(crate) const STREAM_DROPPED: ProblemKind = ProblemKind {
    slug: "stream-dropped",
    status: 503,
    title: "The stream was not read in time",
    about: "Nothing is held for a reader that is slow. Send the id of this last event as Last-Event-ID: the stream goes on right behind what came before it, without a gap.",
};

/// What all streams share.
#[derive(Debug)]
pub(crate) struct Streams {
    open: AtomicUsize,
    open_max: usize,
    heartbeat: Duration,
    /// What the topics' names begin with.
    prefix: String,
    models: Models,
    ends: Ends,
    reading: Semaphore,
    metrics: StreamMetrics,
    shutdown: CancellationToken,
}

/// A stream that is open, until it is dropped.
#[derive(Debug)]
pub(crate) struct Open(Arc<Streams>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
        self.0.metrics.open.decrement(1.0);
    }
}

impl Streams {
    /// None is open.
    pub(crate) fn new(
        config: StreamsConfig,
        prefix: &str,
        models: Models,
        ends: Ends,
        shutdown: &CancellationToken,
    ) -> Self {
        Self {
            open: AtomicUsize::new(0),
            open_max: config.open_max,
            heartbeat: config.heartbeat,
            prefix: prefix.to_owned(),
            models,
            ends,
            reading: Semaphore::new(READING_MAX),
            metrics: StreamMetrics::new(),
            shutdown: shutdown.clone(),
        }
    }

    /// Opens one more; none where there are too many.
    pub(crate) fn open(self: &Arc<Self>) -> Option<Open> {
        if self.open.fetch_add(1, Ordering::Relaxed) >= self.open_max {
            self.open.fetch_sub(1, Ordering::Relaxed);
            self.metrics.refused.increment(1);
            return None;
        }
        self.metrics.open.increment(1.0);
        Some(Open(Arc::clone(self)))
    }

    /// How long a stream of all orders leaves between two looks.
    fn rest(&self) -> Duration {
        let open = u32::try_from(self.open.load(Ordering::Relaxed)).unwrap_or(u32::MAX);
        REST.saturating_mul(open)
    }

    /// Whether the log ends before one of these places. No, where nobody says.
    pub(crate) async fn is_ahead(&self, places: &OrderPlaces) -> bool {
        let partitions = places.keys().copied().map(orders).collect();
        let Some(ends) = self.ends.of(partitions).await else {
            return false;
        };
        places
            .iter()
            .any(|(partition, place)| ends.get(orders(*partition)).unwrap_or(0) < *place)
    }
}

const fn orders(partition: i32) -> TopicPartition {
    TopicPartition {
        topic: Topic::Orders,
        partition,
    }
}

/// Places as positions.
pub(crate) fn positions(places: impl IntoIterator<Item = (i32, i64)>) -> Positions {
    places
        .into_iter()
        .map(|(partition, place)| (orders(partition), place))
        .collect()
}
