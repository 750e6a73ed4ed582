//! What the bytes in a snapshot are: postcard, each value behind a checksum of its key and itself.

use eventlog::{Checkpoint, Link, Topic};
use redb::TableDefinition;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::runs::Run;
use super::{Identity, Stored};
use crate::writer::{ColdError, Kept};

/// Of the tables and of [`Meta`]. Raise it with any change to them.
const FORMAT: u32 = 5;

/// One entry, under the empty key: [`Meta`].
pub(super) const META: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("meta");
/// Aggregates by their keys.
pub(super) const STATES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("states");
/// Keys of aggregates for which the process manager has something to do, and when (`crate::writer::Work`).
pub(super) const OPEN: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("open");

/// What a snapshot is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Meta {
    pub format: u32,
    pub storage: u32,
    log_id: [u8; 8],
    topic: u8,
    partition: i32,
    next_offset: i64,
    last_offset: i64,
    link: [u8; 16],
    pub log_time: Option<i64>,
    pub carried_out: Option<u64>,
    /// The runs of commands, in the order of their numbers.
    pub runs: Vec<Run>,
}

impl Meta {
    pub fn new<D: Stored>(identity: Identity, checkpoint: Checkpoint) -> Self {
        Self {
            format: FORMAT,
            storage: D::STORAGE_VERSION,
            log_id: identity.log_id.0,
            topic: identity.partition.topic.index(),
            partition: identity.partition.partition,
            next_offset: checkpoint.next_offset,
            last_offset: checkpoint.last_offset,
            link: checkpoint.link.0,
            log_time: None,
            carried_out: None,
            runs: Vec::new(),
        }
    }

    pub const fn checkpoint(&self) -> Checkpoint {
        Checkpoint {
            next_offset: self.next_offset,
            last_offset: self.last_offset,
            link: Link(self.link),
        }
    }

    /// Why it cannot be used; none where it can.
    pub fn unusable<D: Stored>(&self, identity: Identity) -> Option<String> {
        let expected = Self {
            log_time: self.log_time,
            carried_out: self.carried_out,
            runs: self.runs.clone(),
            ..Self::new::<D>(identity, self.checkpoint())
        };
        let of = |meta: &Self| {
            let topic = Topic::from_index(meta.topic);
            format!(
                "format {}, storage version {}, log {:02x?}, {topic:?} {}",
                meta.format, meta.storage, meta.log_id, meta.partition
            )
        };
        (*self != expected).then(|| format!("it is of {}; wanted is {}", of(self), of(&expected)))
    }
}

/// A remembered command as it is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(bound(deserialize = "A: Deserialize<'de>"))]
pub(super) struct OldCommand<A> {
    pub at: i64,
    pub kept: Kept<A>,
}

/// A key, or anything that needs no checksum of its own.
pub(super) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    // Only a type that postcard does not know (one of unknown length) cannot be encoded, and a test encodes each of ours.
    postcard::to_allocvec(value).unwrap_or_default()
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ColdError> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok(_) => Err(ColdError("more bytes than the value has".to_owned())),
        Err(error) => Err(ColdError(error.to_string())),
    }
}

fn checksum(key: &[u8], body: &[u8]) -> [u8; 4] {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(body);
    hasher.finalize().to_le_bytes()
}

/// A value under a key.
pub(super) fn seal<T: Serialize>(key: &[u8], value: &T) -> Vec<u8> {
    let sealed = postcard::to_extend(value, vec![0; 4]).unwrap_or_default();
    let mut sealed = sealed;
    if let Some((sum, body)) = sealed.split_first_chunk_mut::<4>() {
        *sum = checksum(key, body);
    }
    sealed
}

/// The value under a key.
pub(super) fn unseal<T: DeserializeOwned>(key: &[u8], sealed: &[u8]) -> Result<T, ColdError> {
    let (sum, body) = sealed
        .split_first_chunk::<4>()
        .ok_or_else(|| ColdError("cut short".to_owned()))?;
    if *sum != checksum(key, body) {
        return Err(ColdError("a checksum does not match".to_owned()));
    }
    decode(body)
}
