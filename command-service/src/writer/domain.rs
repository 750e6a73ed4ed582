//! What the engine asks of a domain. The shop's answer is `shop.rs`.

use std::fmt::{Debug, Display};
use std::hash::Hash;
use std::sync::Arc;

use eventlog::Positions;
use schemas::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A domain: how commands are decided against aggregates and how events change them. Pure.
pub trait Domain {
    /// What somebody wants.
    type Command: Clone + Debug;
    /// What happened.
    type Event: Clone + Debug;
    /// One aggregate. What is in flight holds a clone of each that it changes, and each is moved from hand to hand: it should be
    /// small, and behind a pointer where it is not.
    type State: Clone + Debug;
    /// Names an aggregate.
    type Key: Clone + Debug + Eq + Hash;
    /// What is kept of a command, so that it is answered the same again. The same whether made when the record was
    /// acknowledged or when it was read from the log.
    type Answer: Clone + Debug + PartialEq;
    /// A value that cannot be decoded, or an event that does not fit the state.
    type Poison: Display;

    /// The aggregate that a command is for.
    fn target(&self, command: &Self::Command) -> Self::Key;
    /// The aggregate's key in the log.
    fn key_bytes(&self, key: &Self::Key) -> Vec<u8>;
    /// Decides a command on a state: the event that answers it, a refusal included.
    fn decide(&self, state: Option<&Self::State>, request: &Request<Self::Command>) -> Self::Event;
    /// The aggregate that an event changes; none for a refusal.
    fn changes(&self, event: &Self::Event) -> Option<Self::Key>;
    /// Folds an event that [`Domain::changes`] its aggregate.
    fn evolve(
        &self,
        state: Option<Self::State>,
        event: &Self::Event,
        origin: Origin<'_>,
    ) -> Result<Self::State, Self::Poison>;
    /// Bytes of memory that a state takes, about. Asked with every change, so it must not depend on what the state holds.
    fn bytes(&self, state: &Self::State) -> usize;
    /// How many events an aggregate has.
    fn sequence(&self, state: &Self::State) -> u64;
    /// The answer that an event gives, with the state right after it.
    fn answer(&self, event: &Self::Event, after: Option<&Self::State>) -> Self::Answer;
    /// The answer to a command whose effect the state itself remembers: what it created.
    fn replay(&self, state: &Self::State, request: &Request<Self::Command>) -> Option<Self::Answer>;
    /// What the process manager has to do for the aggregate; none where it has nothing to do.
    fn work(&self, state: &Self::State) -> Option<Work>;
    /// An event that changes nothing, for [`super::Core::prove`].
    fn barrier(&self, at: Timestamp) -> Self::Event;
    /// `tw_causes` of a record that depends on nothing.
    fn no_causes(&self) -> Arc<[u8]>;
    /// When the event was decided.
    fn occurred_at(&self, event: &Self::Event) -> Timestamp;
    /// The full name of the event's record.
    fn type_name(&self, event: &Self::Event) -> &'static str;
    /// The event in Confluent framing.
    fn encode(&self, event: &Self::Event) -> Result<Vec<u8>, Self::Poison>;
    /// The event of a framed value.
    fn decode(&self, value: &[u8]) -> Result<Self::Event, Self::Poison>;
}

/// What the record of an event says beside it, as far as a fold may use it.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// The event's id.
    pub event_id: Uuid,
    /// What it depends on.
    pub causes: &'a Positions,
}

/// When the process manager has something to do for an aggregate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Work {
    /// At once.
    Now,
    /// When a deadline comes.
    Later,
}

/// An aggregate as an event leaves it.
pub type Left<D> = (<D as Domain>::Key, <D as Domain>::State);

/// The version that a command asks its aggregate to have: `If-Match` (RFC 9110, section 13.1.1).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expected {
    /// Any version, and none.
    #[default]
    Any,
    /// `*`: the aggregate must be there.
    Existing,
    /// One of these sequences; never met where there is none.
    OneOf(Vec<u64>),
}

impl Expected {
    /// Whether an aggregate with this sequence (none: not there) is what was asked for.
    pub fn met_by(&self, sequence: Option<u64>) -> bool {
        match self {
            Self::Any => true,
            Self::Existing => sequence.is_some(),
            Self::OneOf(wanted) => sequence.is_some_and(|sequence| wanted.contains(&sequence)),
        }
    }
}

/// A command with all that its decision and its record need. Time and ids come in as values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request<C> {
    /// The command's id.
    pub id: Uuid,
    /// Of the request that it came with: another request under the same id is refused.
    pub fingerprint: [u8; 16],
    /// When it came in: the only time that its decision sees.
    pub at: Timestamp,
    /// The version that the aggregate must have.
    pub expected: Expected,
    /// What it depends on, as in `tw_causes`.
    pub causes: Arc<[u8]>,
    /// W3C trace context.
    pub traceparent: Option<Arc<str>>,
    /// Its offset in the commands topic, where it came from there.
    pub source: Option<u64>,
    /// What is wanted.
    pub command: C,
}

impl<C> Request<C> {
    /// The header `tw_command`: command id, then fingerprint.
    pub fn tag(&self) -> [u8; 32] {
        let mut tag = [0; 32];
        tag[..16].copy_from_slice(self.id.as_bytes());
        tag[16..].copy_from_slice(&self.fingerprint);
        tag
    }
}
