//! The ids of an order's notes, in memory and as writers store them: in their order, so that equal orders have equal bytes.

use rpds::HashTrieSetSync;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// Children of a node of the set. Each note copies the nodes on the way to its id, so small nodes beat few levels.
const DEGREE: u8 = 8;

pub(super) type Notes = HashTrieSetSync<Uuid>;

/// An order without notes.
pub(super) fn none() -> Notes {
    Notes::new_with_degree_sync(DEGREE)
}

pub(super) fn serialize<S: Serializer>(notes: &Notes, serializer: S) -> Result<S::Ok, S::Error> {
    let mut ids: Vec<&Uuid> = notes.iter().collect();
    ids.sort_unstable();
    ids.serialize(serializer)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Notes, D::Error> {
    let mut notes = none();
    for id in Vec::<Uuid>::deserialize(deserializer)? {
        notes.insert_mut(id);
    }
    Ok(notes)
}
