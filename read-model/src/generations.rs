//! Generations of a model: each is whole, with checkpoints of its own, and one of them is what is read.
//!
//! A generation is *filled* from the log; then it is *ready*; then it may be made the *live* one, at one instant, and the one
//! that was live before is *kept*. All of them are projected, so that a way back loses nothing, until one is discarded.
//! Where a version of the code has no live generation, the projector makes the first one that is ready live by itself: so a
//! new version takes over, and so a Redis that lost everything comes back.
//!
//! Postgres has a schema for each (`g1`, `g2`, …), Redis a part of the key. Which one is live is read together with the data,
//! so that no read ever mixes two.

use std::fmt;
use std::str::FromStr;

use eventlog::Positions;

use crate::compare::{Comparison, Part};
use crate::store::{Store, StoreError};

/// The version of the tables, keys and projections in this code. To be raised with every change of what a model holds:
/// another version fills generations of its own, beside those of the old one.
pub const MODEL_VERSION: i32 = 2;

/// Where a generation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It has not come to the end of the log yet.
    Filling,
    /// It has all, and nobody reads it yet.
    Ready,
    /// It is what is read.
    Live,
    /// It was what is read, and is kept for a way back.
    Kept,
}

impl State {
    /// As it is stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Filling => "filling",
            Self::Ready => "ready",
            Self::Live => "live",
            Self::Kept => "kept",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for State {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, StoreError> {
        [Self::Filling, Self::Ready, Self::Live, Self::Kept]
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| StoreError::Corrupt(format!("a generation is {text:?}")))
    }
}

/// A generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generation {
    /// Its number; a later one has a higher number.
    pub number: i32,
    /// The version of the code that fills and reads it.
    pub version: i32,
    /// Where it stands.
    pub state: State,
}

impl Generation {
    /// Whether it is of this code.
    pub const fn is_ours(&self) -> bool {
        self.version == MODEL_VERSION
    }
}

/// The generations of one model. Every call can be made again, whatever became of it the first time.
pub trait Generations: Clone + Send + Sync + 'static {
    /// The model's name: `postgres` or `redis`.
    const MODEL: &'static str;
    /// What writes one.
    type Store: Store;

    /// What writes this one.
    fn store(&self, number: i32) -> Result<Self::Store, StoreError>;

    /// All that there are, of every version, oldest first.
    fn list(&self) -> impl Future<Output = Result<Vec<Generation>, StoreError>> + Send;

    /// Begins the first one where there is none of any kind.
    fn begin(&self) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Begins another one, to be filled; its number.
    fn create(&self) -> impl Future<Output = Result<i32, StoreError>> + Send;

    /// How far one is.
    fn positions(&self, one: Generation) -> impl Future<Output = Result<Positions, StoreError>> + Send;

    /// Makes one that has come to the end of the log ready to be read.
    fn complete(&self, number: i32) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Whether every part of the live one can be read: what was lost with a part of the store is read by nobody until it
    /// has been made again, and mended.
    fn is_whole(&self, live: i32) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Makes every part of this one readable again, if it is the live one. Where another one is by now, nothing happens.
    fn mend(&self, live: i32) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Compares a part of two, while both go on; from `ready` on the new one can be read.
    fn compare(
        &self,
        old: i32,
        new: i32,
        part: Part,
        ready: impl Future<Output = ()> + Send,
    ) -> impl Future<Output = Result<Comparison, StoreError>> + Send;

    /// Makes one the live one, at one instant; the live one before is kept.
    ///
    /// # Errors
    /// [`StoreError::Refused`] where it is not there, is of another version, or is not ready.
    fn switch(&self, number: i32) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Discards one with all that it holds.
    ///
    /// # Errors
    /// [`StoreError::Refused`] where it is the live one of this version, or where this version has no live one, which those
    /// of others must not be taken away before.
    fn discard(&self, one: Generation) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// The live one of this version.
pub fn live(all: &[Generation]) -> Option<Generation> {
    all.iter()
        .copied()
        .find(|one| one.is_ours() && one.state == State::Live)
}
