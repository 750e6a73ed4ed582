//! The effective history of a partition, folded: aggregates, and the commands that were answered.

use std::sync::Arc;

use eventlog::bugs::Bug;
use eventlog::{Chain, Checkpoint, Link, Positions};
use rustc_hash::FxHashMap;
use uuid::Uuid;

use super::cold::{Changed, Cold, ColdError, Delta, Old, Restored};
use super::domain::{Domain, Left, Origin, Work};
use super::hot::{Hot, units};
use super::remembered::{Kept, Remembered};

/// Aggregates that one eviction looks at: the writers' thread has other things to do.
const LOOKS_MAX: usize = 2_000;

/// What a partition's effective records have made of it: in memory what changed since the last snapshot and what was looked
/// at lately, in the snapshot the rest.
pub struct Fold<D: Domain> {
    pub(super) chain: Chain,
    states: Hot<D::Key, D::State>,
    /// Aggregates for which the process manager has something to do, wherever they are.
    open: FxHashMap<D::Key, Work>,
    pub(super) remembered: Remembered<D::Answer>,
    /// The commands topic is carried out up to and including that offset.
    carried_out: Option<u64>,
    /// The last snapshot; none where nobody keeps any, and all is in memory.
    cold: Option<Arc<dyn Cold<D>>>,
    /// It began with the log's beginning, and no snapshot was made of it yet.
    from_nothing: bool,
    /// Offset of the last effective record in the last snapshot.
    stored_offset: i64,
    /// The delta that is being stored, and its last effective record.
    storing: Option<(u64, i64)>,
}

/// Where an aggregate is, as of what is folded.
pub enum Found<D: Domain> {
    /// In memory.
    Hot(D::State),
    /// In this snapshot, if anywhere: it has not changed since.
    Cold(Arc<dyn Cold<D>>),
    /// Nowhere.
    Nowhere,
}

/// What folding a record led to.
pub(super) struct Folded<D: Domain> {
    /// The aggregate that it changed.
    pub changed: Option<D::Key>,
    /// What is remembered of its command; none of a barrier.
    pub kept: Option<Kept<D::Answer>>,
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
            open: self.open.clone(),
            remembered: self.remembered.clone(),
            cold: self.cold.clone(),
            ..*self
        }
    }
}

impl<D: Domain> Fold<D> {
    /// Nothing folded yet, from there on.
    pub fn new(checkpoint: Checkpoint) -> Self {
        Self {
            chain: Chain::from(checkpoint),
            states: Hot::default(),
            open: FxHashMap::default(),
            remembered: Remembered::default(),
            carried_out: None,
            cold: None,
            from_nothing: true,
            stored_offset: -1,
            storing: None,
        }
    }

    /// What a snapshot says.
    pub fn restored(restored: Restored<D>) -> Self {
        Self {
            open: restored.open.into_iter().collect(),
            remembered: Remembered::at(restored.log_time),
            carried_out: restored.carried_out,
            cold: Some(restored.cold),
            from_nothing: false,
            stored_offset: restored.checkpoint.last_offset,
            ..Self::new(restored.checkpoint)
        }
    }

    /// Where it stands in the log.
    pub fn checkpoint(&self) -> Checkpoint {
        self.chain.checkpoint()
    }

    /// The fold as a checkpoint keeps it: right behind the last effective record, as the link vouches for nothing after it.
    #[must_use]
    pub fn as_saved(mut self) -> Self {
        self.chain = Chain::from(right_behind(self.chain.to_save()));
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

    /// An aggregate that is in memory: see [`super::Core::look_up`].
    pub fn state(&self, key: &D::Key) -> Option<&D::State> {
        self.states.get(key)
    }

    /// All aggregates that are in memory.
    pub fn states(&self) -> impl Iterator<Item = (&D::Key, &D::State)> {
        self.states.iter()
    }

    /// Whether the process manager has something to do for an aggregate.
    pub(super) fn is_open(&self, key: &D::Key) -> bool {
        self.open.contains_key(key)
    }

    /// Aggregates for which the process manager has something to do, wherever they are.
    pub fn open(&self) -> impl Iterator<Item = (&D::Key, Work)> {
        self.open.iter().map(|(key, work)| (key, *work))
    }

    /// Takes an aggregate into memory, if there is one. It stays until [`Fold::evict`].
    pub(super) fn warm(&mut self, domain: &D, key: &D::Key) -> Result<(), ColdError> {
        if self.states.touch(key) {
            return Ok(());
        }
        let Some(cold) = &self.cold else { return Ok(()) };
        if let Some(state) = cold.state(key)? {
            let units = units(domain.bytes(&state));
            self.states.load(key.clone(), state, units);
        }
        Ok(())
    }

    /// Finds an aggregate for a reader, who looks into the snapshot itself: nothing is read here, and nothing taken into memory.
    pub fn find(&self, key: &D::Key) -> Found<D> {
        match (self.states.get(key), &self.cold) {
            (Some(state), _) => Found::Hot(state.clone()),
            (None, Some(cold)) => Found::Cold(Arc::clone(cold)),
            (None, None) => Found::Nowhere,
        }
    }

    /// What is kept of an answered command.
    pub fn kept(&self, id: Uuid) -> Result<Option<Kept<D::Answer>>, ColdError> {
        if let Some(kept) = self.remembered.get(id) {
            return Ok(Some(kept.clone()));
        }
        let Some(cold) = &self.cold else { return Ok(None) };
        let old = cold.kept(id)?;
        Ok(old
            .filter(|old| !self.remembered.is_forgotten(old.at))
            .map(|old| old.kept))
    }

    /// Commands and units of aggregates (a KiB each) that are not in a snapshot and not on their way there.
    pub fn unstored(&self) -> usize {
        self.states.changed_units() + self.remembered.unstored()
    }

    /// How many aggregates and commands these are.
    pub fn unstored_count(&self) -> usize {
        self.states.changed() + self.remembered.unstored()
    }

    /// What the next snapshot needs; none while one is being made, or where nothing happened.
    pub(super) fn delta(&mut self, domain: &D, number: u64) -> Option<Delta<D>> {
        let saved = self.chain.to_save();
        if self.storing.is_some() || saved.last_offset == self.stored_offset {
            return None;
        }
        self.storing = Some((number, saved.last_offset));
        let states = self.states.hand_over(|key, state| Changed {
            key: key.clone(),
            state: state.clone(),
            work: domain.work(state),
        });
        let commands = self.remembered.hand_over().map(|(id, at, kept)| {
            let kept = kept.clone();
            (id, Old { at, kept })
        });
        let commands = commands.collect();
        Some(Delta {
            number,
            checkpoint: right_behind(saved),
            log_time: self.remembered.log_time(),
            carried_out: self.carried_out,
            from_nothing: self.from_nothing,
            states,
            commands,
        })
    }

    /// What was handed over is in this snapshot; none: it is not, and will be handed over again.
    pub(super) fn stored(&mut self, number: u64, cold: Option<Arc<dyn Cold<D>>>) {
        // An answer for what was thrown away since.
        let Some((_, last_offset)) = self.storing.take_if(|(storing, _)| *storing == number) else {
            return;
        };
        self.states.stored(cold.is_some());
        self.remembered.stored(cold.is_some());
        if cold.is_some() {
            self.cold = cold;
            self.from_nothing = false;
            self.stored_offset = last_offset;
        }
    }

    /// Lets go of what the snapshot has and nobody looked at lately, as far as there is more than that in memory: of aggregates so
    /// many units.
    pub(super) fn evict(&mut self, states_max: usize, commands_max: usize) -> usize {
        if self.cold.is_none() {
            return 0;
        }
        self.remembered.evict(commands_max);
        self.states.evict(states_max, LOOKS_MAX)
    }

    /// Aggregates in memory.
    pub fn hot(&self) -> usize {
        self.states.len()
    }

    /// The last offset of the commands topic whose command, and every one before it, is carried out.
    pub fn carried_out(&self) -> Option<u64> {
        self.carried_out
    }

    /// Folds an effective record that the chain has just moved over and whose aggregate is warm.
    pub(super) fn apply(
        &mut self,
        domain: &D,
        record: &Effective<'_, D::Event>,
        causes: &Positions,
    ) -> Result<Folded<D>, D::Poison> {
        let leaves = match domain.changes(record.event) {
            Some(key) => {
                let origin = Origin {
                    event_id: record.event_id,
                    causes,
                };
                let state = domain.evolve(self.states.take(&key), record.event, origin)?;
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
    ) -> Folded<D> {
        self.carried_out = self.carried_out.max(record.source);
        let forgotten = Bug::ForgetRejections.is_in() && leaves.is_none();
        let kept = (!record.command_id.is_nil() && !forgotten).then(|| Kept {
            fingerprint: record.fingerprint,
            answer: domain.answer(record.event, leaves.as_ref().map(|(_, state)| state)),
            next_offset: self.next_offset(),
        });
        if let Some(kept) = &kept {
            self.remembered
                .insert(record.command_id, kept.clone(), domain.occurred_at(record.event));
        }
        let changed = leaves.map(|(key, state)| {
            match domain.work(&state) {
                Some(work) => self.open.insert(key.clone(), work),
                None => self.open.remove(&key),
            };
            let units = units(domain.bytes(&state));
            self.states.put(key.clone(), state, units);
            key
        });
        Folded { changed, kept }
    }
}

fn right_behind(saved: Checkpoint) -> Checkpoint {
    Checkpoint {
        next_offset: saved.last_offset + 1,
        ..saved
    }
}
