//! What a reader has read lately, for any number of subscribers, each at its own pace. Pure: no thread, no clock.
//!
//! A subscriber may come in at any place that is held, but only where the chain stands there exactly as its own does: same
//! offset, same last effective record, same link. The fastest subscriber sets the pace at which is read, and one that is so
//! slow that the ring would grow without bound has lost its place, and reads by itself; but where nobody waits for what is read,
//! the slowest sets the pace, so that all is read once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use eventlog::{Checkpoint, TopicPartition};

use crate::step::{Chunk, Effect};

/// Where partitions are read up to.
pub(crate) type Places = BTreeMap<TopicPartition, Checkpoint>;

/// How far reading goes ahead of those who take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reach {
    pace: Pace,
    /// Chunks that whoever sets the pace has not taken yet.
    ahead_chunks_max: u64,
    /// What is held for subscribers that are slower than the fastest.
    held_bytes_max: usize,
    /// What all have taken is held for somebody who comes in later.
    kept_bytes_max: usize,
}

/// Which subscriber sets the pace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    Fastest,
    Slowest,
}

impl Reach {
    /// Near the end of the log.
    pub(crate) const NEAR: Self = Self {
        pace: Pace::Fastest,
        ahead_chunks_max: 4,
        held_bytes_max: 16 << 20,
        // Who comes in later is behind by a batch or two.
        kept_bytes_max: 4 << 20,
    };
    /// For who is far behind, and reads by himself.
    pub(crate) const FAR: Self = Self {
        ahead_chunks_max: 48,
        held_bytes_max: 64 << 20,
        ..Self::NEAR
    };
    /// For generations that are filled. All models are rebuilt at the same time, mostly, and their projections begin within a
    /// second.
    pub(crate) const FILL: Self = Self {
        pace: Pace::Slowest,
        kept_bytes_max: 64 << 20,
        ..Self::FAR
    };
}

/// Why somebody cannot come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The place is not held: it is behind, or ahead, or of a partition that is not read.
    Elsewhere,
    /// The place is held, and the chain stands differently there.
    Differs(TopicPartition),
}

/// The place of a subscriber is not held any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Behind;

/// A subscriber's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Subscriber(u64);

#[derive(Debug)]
pub(crate) struct Ring {
    chunks: VecDeque<Arc<Chunk>>,
    /// The number of the first chunk that is held; they are counted from zero.
    first: u64,
    bytes: usize,
    /// Where each partition stands before the first chunk that is held.
    floors: Places,
    /// Where each partition stands after the last chunk. A partition that the reader left has no place.
    heads: Places,
    /// The number of the next chunk of each subscriber.
    cursors: BTreeMap<Subscriber, u64>,
    subscribed: u64,
    reach: Reach,
}

impl Ring {
    /// Nothing is read yet, and somebody waits for it.
    pub(crate) fn new(starts: Places, reach: Reach) -> (Self, Subscriber) {
        let first = Subscriber(0);
        let ring = Self {
            chunks: VecDeque::new(),
            first: 0,
            bytes: 0,
            floors: starts.clone(),
            heads: starts,
            cursors: BTreeMap::from([(first, 0)]),
            subscribed: 1,
            reach,
        };
        (ring, first)
    }

    /// Comes in at these places. The first chunks may hold steps from before them.
    pub(crate) fn subscribe(&mut self, places: &Places) -> Result<Subscriber, Refusal> {
        let cursor = self.find(places)?;
        let subscriber = Subscriber(self.subscribed);
        self.subscribed += 1;
        self.cursors.insert(subscriber, cursor);
        Ok(subscriber)
    }

    /// The partitions that are read beside these.
    pub(crate) fn beside(&self, places: &Places) -> BTreeSet<TopicPartition> {
        let read = self.floors.keys().copied();
        read.filter(|partition| !places.contains_key(partition)).collect()
    }

    pub(crate) fn unsubscribe(&mut self, subscriber: Subscriber) {
        self.cursors.remove(&subscriber);
    }

    pub(crate) fn has_subscribers(&self) -> bool {
        !self.cursors.is_empty()
    }

    /// Whether more is to be read: who sets the pace has taken nearly all.
    pub(crate) fn has_room(&self) -> bool {
        let cursors = self.cursors.values();
        let pace = match self.reach.pace {
            Pace::Fastest => cursors.max(),
            Pace::Slowest => cursors.min(),
        };
        pace.is_some_and(|cursor| self.end() - cursor < self.reach.ahead_chunks_max)
    }

    /// Takes in what was read.
    pub(crate) fn push(&mut self, chunk: Chunk) {
        stand_after(&chunk, &mut self.heads);
        for step in &chunk.steps {
            if matches!(step.effect, Effect::Poison(_)) {
                self.heads.remove(&step.partition);
            }
        }
        self.bytes += chunk.bytes;
        self.chunks.push_back(Arc::new(chunk));
        self.forget();
    }

    /// The next chunks of a subscriber, up to a number of steps and bytes that only the last one exceeds.
    pub(crate) fn take(
        &mut self,
        subscriber: Subscriber,
        steps_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<Arc<Chunk>>, Behind> {
        let cursor = self.cursors.get_mut(&subscriber).ok_or(Behind)?;
        let passed = cursor.checked_sub(self.first).ok_or(Behind)?;
        let (mut taken, mut steps, mut bytes) = (Vec::new(), 0, 0);
        for chunk in self
            .chunks
            .iter()
            .skip(usize::try_from(passed).unwrap_or(usize::MAX))
        {
            if steps >= steps_max || bytes >= bytes_max {
                break;
            }
            (steps, bytes) = (steps + chunk.steps.len(), bytes + chunk.bytes);
            taken.push(Arc::clone(chunk));
            *cursor += 1;
        }
        Ok(taken)
    }

    fn end(&self) -> u64 {
        self.first + self.chunks.len() as u64
    }

    /// The number of the first chunk that somebody at these places needs.
    fn find(&self, places: &Places) -> Result<u64, Refusal> {
        let mut open = Places::new();
        for (partition, place) in places {
            let (Some(floor), Some(head)) = (self.floors.get(partition), self.heads.get(partition)) else {
                return Err(Refusal::Elsewhere);
            };
            if !(floor.next_offset..=head.next_offset).contains(&place.next_offset) {
                return Err(Refusal::Elsewhere);
            }
            if place != head {
                open.insert(*partition, *place);
            }
        }
        let mut number = self.end();
        for chunk in self.chunks.iter().rev() {
            if open.is_empty() {
                break;
            }
            number -= 1;
            for step in &chunk.steps {
                if open.get(&step.partition) == Some(&step.checkpoint) {
                    open.remove(&step.partition);
                }
            }
        }
        let differs = |(partition, place): &(&TopicPartition, &Checkpoint)| {
            self.floors.get(partition).is_none_or(|floor| floor != *place)
        };
        match open.iter().find(differs) {
            Some((partition, _)) => Err(Refusal::Differs(*partition)),
            // What is left stands at its floor: all is needed.
            None => Ok(number),
        }
    }

    /// Lets go of what need not be held any more.
    fn forget(&mut self) {
        while self.chunks.len() > 1 {
            // Who lost his place needs nothing.
            let needed = self.cursors.values().any(|cursor| *cursor == self.first);
            let bytes_max = if needed {
                self.reach.held_bytes_max
            } else {
                self.reach.kept_bytes_max
            };
            if self.bytes <= bytes_max {
                return;
            }
            if let Some(chunk) = self.chunks.pop_front() {
                self.first += 1;
                self.bytes -= chunk.bytes;
                stand_after(&chunk, &mut self.floors);
            }
        }
    }
}

/// Moves places on over a chunk. A poisonous step has the checkpoint from before it.
fn stand_after(chunk: &Chunk, places: &mut Places) {
    for step in &chunk.steps {
        if let Some(place) = places.get_mut(&step.partition) {
            *place = step.checkpoint;
        }
    }
}

#[cfg(test)]
mod tests;
