//! An answer as it is kept: its bytes, what its headers say, the position that it was read at, and what it was made from.

use std::time::Instant;

use bytes::Bytes;
use eventlog::{Positions, TopicPartition};
use http::HeaderValue;

use super::policy::Kind;
use super::tags::{Slot, Tags};

/// One partition that an answer depends on.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) partition: TopicPartition,
    /// The position that it was read at.
    pub(crate) at: i64,
    /// The tags of what it was made from.
    pub(crate) slots: Box<[Slot]>,
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    /// Of the tags; loaded before the answer was read.
    pub(crate) generation: u64,
    /// Every partition that it depends on.
    pub(crate) parts: Box<[Part]>,
    /// What whoever gets it has seen: where it was read at, and what it depends on.
    pub(crate) seen: Positions,
    /// The token that says so.
    pub(crate) token: HeaderValue,
    /// The version and its `ETag`, where it is of one aggregate.
    pub(crate) version: Option<Version>,
    /// The body; none where there is no such aggregate.
    pub(crate) json: Option<Bytes>,
    /// When it was read.
    pub(crate) filled_at: Instant,
}

/// An aggregate's version.
#[derive(Clone, Debug)]
pub(crate) struct Version {
    pub(crate) sequence: u64,
    pub(crate) etag: HeaderValue,
}

/// Whether an answer will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is as it was read, as far as is wanted.
    Good,
    /// Something that it was made from has changed, or may have.
    Touched,
    /// It may be true, and nobody here knows as of a position that is far enough.
    Behind,
}

impl Entry {
    /// Whether it is still true, and as of a position that is at least what is wanted.
    pub(crate) fn judge(&self, tags: &Tags, wanted: &Positions) -> Verdict {
        let mut behind = false;
        for part in &self.parts {
            let Some(covered) = tags.holds(self.generation, part.partition, part.at, &part.slots) else {
                return Verdict::Touched;
            };
            behind |= !wanted.is_empty() && wanted.get(part.partition).is_some_and(|wanted| wanted > covered);
        }
        if behind { Verdict::Behind } else { Verdict::Good }
    }

    /// Whether it was read at a position that is at least what is wanted: right whatever has changed since.
    pub(crate) fn was_read_at(&self, wanted: &Positions) -> bool {
        self.parts
            .iter()
            .all(|part| wanted.get(part.partition).is_none_or(|wanted| wanted <= part.at))
    }

    /// What it takes up, in bytes, about.
    pub(crate) fn bytes(&self) -> usize {
        let parts: usize = self
            .parts
            .iter()
            .map(|part| size_of::<Part>() + size_of_val(&*part.slots))
            .sum();
        size_of::<Self>()
            + parts
            + self.json.as_ref().map_or(0, Bytes::len)
            + self.token.len()
            + 40 * self.seen.iter().count()
            + 200
    }
}
