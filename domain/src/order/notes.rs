//! An order's notes: persistent, so that a clone costs nothing and one more note next to nothing, however many there are.
//!
//! Stored, they are a list in the order in which they were added, so that equal orders have equal bytes; what finds a note by
//! its id is made anew when they are read back.

use std::sync::Arc;

use rpds::{HashTrieSetSync, VectorSync};
use schemas::Timestamp;
use schemas::orders::NoteAdded;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// Children of a node of the set of ids. Each note copies the nodes on the way to its id, so small nodes beat few levels.
const DEGREE: u8 = 8;

/// What a note takes beside its texts, about: itself, its share of the list and of the set.
const NOTE_BYTES: usize = 200;

/// A note on an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// Its id.
    pub note_id: Uuid,
    /// Who wrote it.
    pub author: String,
    /// What.
    pub text: String,
    /// The note that it answers.
    pub reply_to: Option<Uuid>,
    /// When.
    pub at: Timestamp,
}

/// An order's notes. Most orders have none, and need no memory for them.
#[derive(Clone, Debug, Default)]
pub(super) struct Notes(Option<Arc<Kept>>);

#[derive(Clone, Debug)]
struct Kept {
    list: VectorSync<Arc<Note>>,
    ids: HashTrieSetSync<Uuid>,
    bytes: usize,
}

impl Notes {
    /// Adds one. False, and nothing added, where there is one of that id.
    pub(super) fn add(&mut self, note: Note) -> bool {
        if self.contains(note.note_id) {
            return false;
        }
        let notes = self.0.get_or_insert_with(|| {
            Arc::new(Kept {
                list: VectorSync::new_sync(),
                ids: HashTrieSetSync::new_with_degree_sync(DEGREE),
                bytes: 0,
            })
        });
        let notes = Arc::make_mut(notes);
        notes.bytes += NOTE_BYTES + note.author.len() + note.text.len();
        notes.ids.insert_mut(note.note_id);
        notes.list.push_back_mut(Arc::new(note));
        true
    }

    pub(super) fn contains(&self, note_id: Uuid) -> bool {
        self.0.as_ref().is_some_and(|notes| notes.ids.contains(&note_id))
    }

    pub(super) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |notes| notes.list.len())
    }

    /// Bytes of memory that they take, about. O(1).
    pub(super) fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |notes| notes.bytes)
    }

    /// In the order in which they were added.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Note> {
        self.0
            .iter()
            .flat_map(|notes| notes.list.iter().map(AsRef::as_ref))
    }
}

impl From<&NoteAdded> for Note {
    fn from(event: &NoteAdded) -> Self {
        Self {
            note_id: event.note_id,
            author: event.author.clone(),
            text: event.text.clone(),
            reply_to: event.reply_to,
            at: event.occurred_at,
        }
    }
}

impl PartialEq for Notes {
    /// The ids follow from the list.
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(notes), Some(others)) => Arc::ptr_eq(notes, others) || notes.list == others.list,
            (none, other) => none.is_none() && other.is_none(),
        }
    }
}

impl Eq for Notes {}

impl Serialize for Notes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeSeq;
        let mut seq = serializer.serialize_seq(Some(self.len()))?;
        for note in self.iter() {
            seq.serialize_element(note)?;
        }
        seq.end()
    }
}

impl<'de> Deserialize<'de> for Notes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reading;

        impl<'de> Visitor<'de> for Reading {
            type Value = Notes;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a list of notes")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Notes, A::Error> {
                let mut notes = Notes::default();
                while let Some(note) = seq.next_element::<Note>()? {
                    if !notes.add(note) {
                        return Err(serde::de::Error::custom("two notes have one id"));
                    }
                }
                Ok(notes)
            }
        }

        deserializer.deserialize_seq(Reading)
    }
}
