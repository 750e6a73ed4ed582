//! One reader's steps on their way to the sessions: a [`Ring`] with somebody who fills it and somebody who waits.
//!
//! A feed ends with its reader, and its reader ends once nobody subscribes any more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use eventlog::{LogError, TopicPartition};
use tokio::sync::watch;

use crate::ring::{Behind, Places, Reach, Refusal, Ring, Subscriber};
use crate::step::{Chunk, Step};

/// A subscriber takes what is there, up to this.
const STEPS_MAX: usize = 4_000;
const BYTES_MAX: usize = 4 << 20;

/// Why a subscription gives no more.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Missed {
    /// Others were faster, and what comes next is not held any more.
    #[error("the shared reader is too far ahead")]
    Behind,
    /// The reader ended, by an error of the log that does not go away.
    #[error(transparent)]
    Log(Arc<LogError>),
    /// The reader ended, and should not have.
    #[error("the reader ended")]
    NoReader,
}

/// What the reader and the subscribers share.
#[derive(Debug)]
pub(crate) struct Feed {
    state: Mutex<State>,
    /// Tells subscribers that there is more, or that there will be no more.
    grown: watch::Sender<()>,
    /// Tells the reader that somebody took something, or left.
    taken: Condvar,
    reach: Reach,
}

#[derive(Debug)]
struct State {
    ring: Ring,
    /// Nobody comes in any more.
    closed: bool,
    /// Why there will be no more.
    ended: Option<Missed>,
}

impl State {
    const fn is_open(&self) -> bool {
        !self.closed && self.ended.is_none()
    }
}

impl Feed {
    /// A feed that begins there, its filler, and its first subscriber.
    pub(crate) fn begin(starts: Places, reach: Reach) -> (Publisher, Subscription) {
        let (ring, subscriber) = Ring::new(starts, reach);
        let feed = Arc::new(Self {
            state: Mutex::new(State {
                ring,
                closed: false,
                ended: None,
            }),
            grown: watch::Sender::new(()),
            taken: Condvar::new(),
            reach,
        });
        let subscription = Subscription::new(Arc::clone(&feed), subscriber, BTreeMap::new(), BTreeSet::new());
        (Publisher { feed }, subscription)
    }

    /// Comes in at these places, where the feed holds them.
    pub(crate) fn subscribe(self: &Arc<Self>, places: &Places) -> Result<Subscription, Refusal> {
        let mut state = self.state();
        if !state.is_open() {
            return Err(Refusal::Elsewhere);
        }
        let subscriber = state.ring.subscribe(places)?;
        let foreign = state.ring.beside(places);
        drop(state);
        let known = places
            .iter()
            .map(|(partition, place)| (*partition, place.next_offset))
            .collect();
        Ok(Subscription::new(Arc::clone(self), subscriber, known, foreign))
    }

    /// Whether somebody can come in.
    pub(crate) fn is_open(&self) -> bool {
        self.state().is_open()
    }

    /// Whether it is for who is far behind.
    pub(crate) fn is_far(&self) -> bool {
        self.reach != Reach::NEAR
    }

    /// Lets nobody come in any more.
    pub(crate) fn close(&self) {
        self.state().closed = true;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, why: Missed) {
        self.state().ended.get_or_insert(why);
        self.grown.send_replace(());
    }
}

/// The reader's end of a feed.
#[derive(Debug)]
pub(crate) struct Publisher {
    feed: Arc<Feed>,
}

impl Publisher {
    pub(crate) const fn feed(&self) -> &Arc<Feed> {
        &self.feed
    }

    /// Waits until somebody has use for more; false once nobody subscribes any more, and nobody can from then on.
    pub(crate) fn wanted(&self) -> bool {
        let mut state = self.feed.state();
        while state.ring.has_subscribers() {
            if state.ring.has_room() {
                return true;
            }
            state = self
                .feed
                .taken
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.ended.get_or_insert(Missed::NoReader);
        false
    }

    pub(crate) fn publish(&self, chunk: Chunk) {
        self.feed.state().ring.push(chunk);
        self.feed.grown.send_replace(());
    }

    /// Says why there will be no more, after what was published.
    pub(crate) fn fail(&self, error: LogError) {
        self.feed.end(Missed::Log(Arc::new(error)));
    }
}

impl Drop for Publisher {
    /// However the reader ends, nobody waits for it.
    fn drop(&mut self) {
        self.feed.end(Missed::NoReader);
    }
}

/// A session's end of a feed.
#[derive(Debug)]
pub(crate) struct Subscription {
    feed: Arc<Feed>,
    subscriber: Subscriber,
    grown: watch::Receiver<()>,
    /// Where it came in: what comes before that is known.
    known: BTreeMap<TopicPartition, i64>,
    /// What is read for others, and is no affair of this one's.
    foreign: BTreeSet<TopicPartition>,
}

impl Subscription {
    fn new(
        feed: Arc<Feed>,
        subscriber: Subscriber,
        known: BTreeMap<TopicPartition, i64>,
        foreign: BTreeSet<TopicPartition>,
    ) -> Self {
        let grown = feed.grown.subscribe();
        Self {
            feed,
            subscriber,
            grown,
            known,
            foreign,
        }
    }

    pub(crate) const fn feed(&self) -> &Arc<Feed> {
        &self.feed
    }

    /// Waits for chunks, and takes what else is there. Nothing is lost where the caller stops waiting.
    pub(crate) async fn next(&mut self) -> Result<Vec<Arc<Chunk>>, Missed> {
        loop {
            self.grown.mark_unchanged();
            if let Some(chunks) = self.take()? {
                return Ok(chunks);
            }
            // The sender is in the feed, which is held here.
            let _ = self.grown.changed().await;
        }
    }

    fn take(&self) -> Result<Option<Vec<Arc<Chunk>>>, Missed> {
        let mut state = self.feed.state();
        let chunks = state
            .ring
            .take(self.subscriber, STEPS_MAX, BYTES_MAX)
            .map_err(|Behind| Missed::Behind)?;
        if !chunks.is_empty() {
            self.feed.taken.notify_one();
            return Ok(Some(chunks));
        }
        state.ended.clone().map_or(Ok(None), Err)
    }

    /// The steps of chunks that were taken, without those from before the places where the subscription began, and those of
    /// partitions that it did not come for.
    pub(crate) fn fresh<'a>(&mut self, chunks: &'a [Arc<Chunk>]) -> Vec<&'a Step> {
        let steps = chunks.iter().flat_map(|chunk| &chunk.steps);
        steps
            .filter(|step| !self.foreign.contains(&step.partition) && !self.knows(step))
            .collect()
    }

    fn knows(&mut self, step: &Step) -> bool {
        let known = self
            .known
            .get(&step.partition)
            .is_some_and(|next_offset| step.offset < *next_offset);
        if !known {
            self.known.remove(&step.partition);
        }
        known
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.feed.state().ring.unsubscribe(self.subscriber);
        self.feed.taken.notify_one();
    }
}
