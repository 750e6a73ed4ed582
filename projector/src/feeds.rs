//! Which feed a session reads: the shared one where that holds its place, else one of its own.
//!
//! Near the end of the log all models read one feed, so each record is fetched, judged and decoded once. A model that is
//! behind (its store was down, or lost everything) does not hold the others back: it gets a reader of its own, and moves
//! over to the shared feed once that holds the place that it has come to. There is always at most one shared feed: the
//! first one, or, after that one ended, the next whose session looks. Generations that are filled at the same time share
//! another one in the same way, from the log's beginning on.
//!
//! A feed is of the partitions that are this projector's (`division`). When those change, all sessions begin anew, and so do
//! the shared feeds: nothing is read that nobody here works on.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::feed::{Feed, Publisher, Subscription};
use crate::metrics;
use crate::ring::{Places, Reach, Refusal};

/// Starts a reader for a model that fills a feed from these places on.
type Start = dyn Fn(&'static str, Places, Publisher) -> std::io::Result<()> + Send + Sync;

/// Where sessions get their feeds; one for all models.
pub(crate) struct Feeds {
    start: Box<Start>,
    shared: Mutex<Shared>,
}

/// The feeds that more than one session may read.
#[derive(Debug, Default)]
struct Shared {
    /// Of which division they are.
    epoch: u64,
    /// Near the end of the log.
    near: Weak<Feed>,
    /// The last one that was begun to fill a generation.
    fill: Weak<Feed>,
}

impl fmt::Debug for Feeds {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Feeds").finish_non_exhaustive()
    }
}

impl Feeds {
    pub(crate) fn new(
        start: impl Fn(&'static str, Places, Publisher) -> std::io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self {
            start: Box::new(start),
            shared: Mutex::default(),
        }
    }

    /// A source that begins at these places, which are those of a division. Only who `leads` begins the shared one: what is
    /// filled beside it is far behind.
    pub(crate) fn open(
        &self,
        model: &'static str,
        leads: bool,
        epoch: u64,
        places: &Places,
    ) -> std::io::Result<Source> {
        let mut shared = self.shared();
        if shared.epoch < epoch {
            // Who still reads those of the last division ends them when he leaves.
            *shared = Shared {
                epoch,
                ..Shared::default()
            };
        }
        // Who has not heard yet that the division has changed reads by himself, for the moment until he does.
        let late = shared.epoch > epoch;
        let mut settled = false;
        if !late && let Some(feed) = open(&shared.near) {
            match feed.subscribe(places) {
                Ok(subscription) => {
                    return Ok(Source {
                        subscription,
                        epoch,
                        settled,
                    });
                }
                Err(refusal) => settled = is_final(model, refusal),
            }
        }
        if !late
            && !leads
            && let Some(feed) = open(&shared.fill)
            && let Ok(subscription) = feed.subscribe(places)
        {
            tracing::info!(model, "projector.reader.joined");
            return Ok(Source {
                subscription,
                epoch,
                settled,
            });
        }
        let reach = match (leads, open(&shared.near)) {
            _ if late => Reach::FAR,
            (false, _) => Reach::FILL,
            (true, Some(_)) => Reach::FAR,
            (true, None) => Reach::NEAR,
        };
        let (publisher, subscription) = Feed::begin(places.clone(), reach);
        match reach {
            Reach::NEAR => shared.near = Arc::downgrade(publisher.feed()),
            Reach::FILL => shared.fill = Arc::downgrade(publisher.feed()),
            _ => {}
        }
        if reach != Reach::NEAR {
            tracing::info!(model, "projector.reader.own");
        }
        (self.start)(model, places.clone(), publisher)?;
        Ok(Source {
            subscription,
            epoch,
            settled,
        })
    }

    /// Moves a source that stands at these places over to the shared feed, where it can; says so.
    pub(crate) fn settle(
        &self,
        model: &'static str,
        leads: bool,
        source: &mut Source,
        places: impl FnOnce() -> Places,
    ) {
        if source.settled {
            return;
        }
        let mut shared = self.shared();
        if source.epoch != shared.epoch {
            return;
        }
        match open(&shared.near) {
            None if leads && source.subscription.feed().is_open() => {
                shared.near = Arc::downgrade(source.subscription.feed());
            }
            None => {}
            Some(feed) if Arc::ptr_eq(&feed, source.subscription.feed()) => {}
            Some(feed) => match feed.subscribe(&places()) {
                Ok(subscription) => {
                    source.subscription = subscription;
                    tracing::info!(model, "projector.reader.shared");
                }
                Err(refusal) => source.settled = is_final(model, refusal),
            },
        }
    }

    /// The log is not what it was: what the shared feed holds is not given to anybody who comes from now on, and who
    /// reads it moves over to the next one.
    pub(crate) fn retire(&self) {
        let shared = self.shared();
        for feed in [&shared.near, &shared.fill].into_iter().filter_map(open) {
            feed.close();
        }
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a session reads.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) subscription: Subscription,
    /// Of which division it is.
    epoch: u64,
    /// It stays with its own reader.
    settled: bool,
}

impl Source {
    /// Whether it was begun far behind the others, and has not come to them yet.
    pub(crate) fn is_far(&self) -> bool {
        self.subscription.feed().is_far()
    }
}

fn open(shared: &Weak<Feed>) -> Option<Arc<Feed>> {
    shared.upgrade().filter(|feed| feed.is_open())
}

/// A chain that stands differently was read from a log that was another one, and will not come round.
fn is_final(model: &'static str, refusal: Refusal) -> bool {
    if let Refusal::Differs(partition) = refusal {
        let (topic, partition) = (metrics::topic(partition), partition.partition);
        tracing::warn!(
            model,
            topic,
            partition,
            "projector.reader.differs: the shared reader has another chain there; this model goes on by itself"
        );
        return true;
    }
    false
}

#[cfg(test)]
mod tests;
