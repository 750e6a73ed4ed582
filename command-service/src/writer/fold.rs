//! The effective history of a partition, folded: aggregates, and the commands that were answered.

use eventlog::bugs::Bug;
use eventlog::{Chain, Checkpoint, Link};
use rustc_hash::FxHashMap;
use uuid::Uuid;

use super::domain::{Domain, Left};
use super::remembered::{Kept, Remembered};

/// What a partition's effective records have made of it.
pub struct Fold<D: Domain> {
    pub(super) chain: Chain,
    states: FxHashMap<D::Key, D::State>,
    pub(super) remembered: Remembered<D::Answer>,
    /// The commands topic is carried out up to and including that offset.
    carried_out: Option<u64>,
}

/// An effective record, as far as a fold uses it.
pub(super) struct Effective<'a, E> {
    pub event: &'a E,
    pub event_id: Uuid,
    /// Nil for a barrier.
    pub command_id: Uuid,
    pub fingerprint: [u8; 16],
    /// `tw_source`
    pub source: Option<u64>,
}

impl<D: Domain> Clone for Fold<D> {
    /// As cheap as the aggregates are to clone.
    fn clone(&self) -> Self {
        Self {
            chain: self.chain.clone(),
            states: self.states.clone(),
            remembered: self.remembered.clone(),
            carried_out: self.carried_out,
        }
    }
}

impl<D: Domain> Fold<D> {
    /// Nothing folded yet, from there on.
    pub fn new(checkpoint: Checkpoint) -> Self {
        Self {
            chain: Chain::from(checkpoint),
            states: FxHashMap::default(),
            remembered: Remembered::default(),
            carried_out: None,
        }
    }

    /// Where it stands in the log.
    pub fn checkpoint(&self) -> Checkpoint {
        self.chain.checkpoint()
    }

    /// The fold as a checkpoint keeps it: right behind the last effective record, as the link vouches for nothing after it.
    #[must_use]
    pub fn as_saved(mut self) -> Self {
        let checkpoint = self.chain.to_save();
        self.chain = Chain::from(Checkpoint {
            next_offset: checkpoint.last_offset + 1,
            ..checkpoint
        });
        self
    }

    /// The first offset that is not folded.
    pub fn next_offset(&self) -> i64 {
        self.chain.checkpoint().next_offset
    }

    /// The link of the last effective record.
    pub fn link(&self) -> Link {
        self.chain.checkpoint().link
    }

    /// An aggregate.
    pub fn state(&self, key: &D::Key) -> Option<&D::State> {
        self.states.get(key)
    }

    /// All aggregates.
    pub fn states(&self) -> impl Iterator<Item = (&D::Key, &D::State)> {
        self.states.iter()
    }

    /// What is kept of an answered command.
    pub fn kept(&self, id: Uuid) -> Option<&Kept<D::Answer>> {
        self.remembered.get(id)
    }

    /// The last offset of the commands topic whose command, and every one before it, is carried out.
    pub fn carried_out(&self) -> Option<u64> {
        self.carried_out
    }

    /// Folds an effective record that the chain has just moved over. Returns the aggregate that it changed.
    pub(super) fn apply(
        &mut self,
        domain: &D,
        record: &Effective<'_, D::Event>,
    ) -> Result<Option<D::Key>, D::Poison> {
        let leaves = match domain.changes(record.event) {
            Some(key) => {
                let state = domain.evolve(self.states.remove(&key), record.event, record.event_id)?;
                Some((key, state))
            }
            None => None,
        };
        Ok(self.accept(domain, record, leaves))
    }

    /// The same, where what the record makes of its aggregate is known.
    pub(super) fn accept(
        &mut self,
        domain: &D,
        record: &Effective<'_, D::Event>,
        leaves: Option<Left<D>>,
    ) -> Option<D::Key> {
        self.carried_out = self.carried_out.max(record.source);
        let forgotten = Bug::ForgetRejections.is_in() && leaves.is_none();
        if !record.command_id.is_nil() && !forgotten {
            let answer = domain.answer(record.event, leaves.as_ref().map(|(_, state)| state));
            let kept = Kept {
                fingerprint: record.fingerprint,
                answer,
                next_offset: self.chain.checkpoint().next_offset,
            };
            self.remembered
                .insert(record.command_id, kept, domain.occurred_at(record.event));
        }
        leaves.map(|(key, state)| {
            self.states.insert(key.clone(), state);
            key
        })
    }
}
