//! The part of a partition's state that is not in memory: what [`super::Fold`] asks of it, and what it is given.
//!
//! A [`Cold`] is a snapshot that never changes: aggregates and remembered commands as of a checkpoint. What changed since is
//! in memory, so the two together are the state, and the machine stays as deterministic as it was. Whoever keeps the
//! snapshots (`crate::store`; [`InMemory`] for tests) gets a [`Delta`] from time to time and answers with the next one.

use std::fmt::Debug;
use std::sync::Arc;

use eventlog::Checkpoint;
use rustc_hash::FxHashMap;
use uuid::Uuid;

use super::domain::{Domain, Work};
use super::remembered::{KEPT_MICROS, Kept};

/// A snapshot cannot be read. What was folded is worth nothing then: a missing aggregate is not the same as none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stored state cannot be read: {0}")]
pub struct ColdError(pub String);

/// A command that was answered a while ago.
#[derive(Clone, Debug, PartialEq)]
pub struct Old<A> {
    /// Log time of its record, in microseconds.
    pub at: i64,
    /// What is kept of it.
    pub kept: Kept<A>,
}

/// A snapshot of a partition's state.
pub trait Cold<D: Domain>: Send + Sync {
    /// An aggregate.
    fn state(&self, key: &D::Key) -> Result<Option<D::State>, ColdError>;
    /// A remembered command. One that is older than a day of log time may still be found.
    fn kept(&self, id: Uuid) -> Result<Option<Old<D::Answer>>, ColdError>;
}

/// An aggregate that changed since the last snapshot.
#[derive(Clone, Debug)]
pub struct Changed<D: Domain> {
    /// Its name.
    pub key: D::Key,
    /// Its state at the checkpoint.
    pub state: D::State,
    /// What the process manager has to do for it.
    pub work: Option<Work>,
}

/// What makes the next snapshot of the last one. A copy of its own: the machine goes on meanwhile.
#[derive(Clone, Debug)]
pub struct Delta<D: Domain> {
    /// Which one it is; goes back with [`super::Core::stored`].
    pub number: u64,
    /// What was folded when it was taken, right behind the last effective record.
    pub checkpoint: Checkpoint,
    /// Log time there, in microseconds; none where nothing was remembered yet.
    pub log_time: Option<i64>,
    /// The commands topic is carried out up to and including that offset.
    pub carried_out: Option<u64>,
    /// The fold began with nothing: whatever snapshot there is belongs to another history and has to go.
    pub from_nothing: bool,
    /// Aggregates that changed.
    pub states: Vec<Changed<D>>,
    /// Commands that were answered, in the order of the log.
    pub commands: Vec<(Uuid, Old<D::Answer>)>,
}

impl<D: Domain> Delta<D> {
    /// What was remembered before that log time, in microseconds, is forgotten.
    pub fn forget_before(&self) -> i64 {
        self.log_time
            .map_or(i64::MIN, |now| now.saturating_sub(KEPT_MICROS))
    }
}

/// What a writer starts from: a snapshot whose checkpoint the caller has found in the log.
pub struct Restored<D: Domain> {
    /// Where the snapshot was taken.
    pub checkpoint: Checkpoint,
    /// Log time there, in microseconds.
    pub log_time: Option<i64>,
    /// The commands topic is carried out up to and including that offset.
    pub carried_out: Option<u64>,
    /// Aggregates for which the process manager has something to do.
    pub open: Vec<(D::Key, Work)>,
    /// The snapshot.
    pub cold: Arc<dyn Cold<D>>,
}

/// Snapshots in memory, for tests.
#[derive(Debug)]
pub struct InMemory<D: Domain> {
    checkpoint: Checkpoint,
    log_time: Option<i64>,
    carried_out: Option<u64>,
    states: FxHashMap<D::Key, D::State>,
    open: FxHashMap<D::Key, Work>,
    commands: FxHashMap<Uuid, Old<D::Answer>>,
}

impl<D: Domain> Default for InMemory<D> {
    fn default() -> Self {
        Self {
            checkpoint: Checkpoint::BEGINNING,
            log_time: None,
            carried_out: None,
            states: FxHashMap::default(),
            open: FxHashMap::default(),
            commands: FxHashMap::default(),
        }
    }
}

impl<D: Domain> Clone for InMemory<D> {
    fn clone(&self) -> Self {
        Self {
            states: self.states.clone(),
            open: self.open.clone(),
            commands: self.commands.clone(),
            ..*self
        }
    }
}

impl<D: Domain> InMemory<D> {
    /// Makes the next snapshot.
    pub fn save(&mut self, delta: Delta<D>) {
        if delta.from_nothing {
            *self = Self::default();
        }
        let forget_before = delta.forget_before();
        self.checkpoint = delta.checkpoint;
        self.log_time = delta.log_time;
        self.carried_out = delta.carried_out;
        for Changed { key, state, work } in delta.states {
            match work {
                Some(work) => self.open.insert(key.clone(), work),
                None => self.open.remove(&key),
            };
            self.states.insert(key, state);
        }
        self.commands.extend(delta.commands);
        self.commands.retain(|_, old| old.at >= forget_before);
    }

    /// What a writer starts from.
    pub fn restored(&self) -> Restored<D>
    where
        Self: Cold<D> + 'static,
    {
        Restored {
            checkpoint: self.checkpoint,
            log_time: self.log_time,
            carried_out: self.carried_out,
            open: self.open.iter().map(|(key, work)| (key.clone(), *work)).collect(),
            cold: Arc::new(self.clone()),
        }
    }
}

impl<D: Domain> Cold<D> for InMemory<D>
where
    D::Key: Send + Sync,
    D::State: Send + Sync,
    D::Answer: Send + Sync,
{
    fn state(&self, key: &D::Key) -> Result<Option<D::State>, ColdError> {
        Ok(self.states.get(key).cloned())
    }

    fn kept(&self, id: Uuid) -> Result<Option<Old<D::Answer>>, ColdError> {
        Ok(self.commands.get(&id).cloned())
    }
}
