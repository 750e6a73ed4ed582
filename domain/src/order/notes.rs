//! An order's notes: persistent, so that a clone costs nothing and one more note next to nothing, however many there are.
//!
//! Stored, they are a list in the order in which they were added, so that equal orders have equal bytes; what finds a note by
//! its id is made anew when they are read back.

use std::sync::Arc;

use rpds::ListSync;
use schemas::Timestamp;
use schemas::orders::NoteAdded;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// What a note takes beside its texts, about: itself, its share of the list and of the ids.
const NOTE_BYTES: usize = 200;

/// Up to so many ids, a run is copied with each id: as fast as anything else.
const RUN_MIN: usize = 32;

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

#[derive(Clone, Debug, Default)]
struct Kept {
    /// The newest first: one more touches none of those that are there.
    list: ListSync<Note>,
    ids: Ids,
    bytes: usize,
}

/// Ids in sorted runs that are shared by all clones. One more makes one run of the last ones, as long as none is larger than
/// those behind it together (J. L. Bentley, J. B. Saxe, 1980): each id is copied a few times only, and the runs are few.
#[derive(Clone, Debug, Default)]
struct Ids(Vec<Arc<[Uuid]>>);

impl Ids {
    fn insert(&mut self, id: Uuid) {
        let mut merged = Vec::with_capacity(2 * RUN_MIN);
        merged.push(id);
        while let Some(last) = self.0.pop_if(|last| last.len() <= merged.len().max(RUN_MIN)) {
            merged.extend_from_slice(&last);
        }
        // Mostly runs already.
        merged.sort();
        self.0.push(merged.into());
    }

    fn contains(&self, id: Uuid) -> bool {
        self.0.iter().any(|run| run.binary_search(&id).is_ok())
    }
}

impl Notes {
    /// Adds one. False, and nothing added, where there is one of that id.
    pub(super) fn add(&mut self, note: Note) -> bool {
        if self.contains(note.note_id) {
            return false;
        }
        let notes = Arc::make_mut(self.0.get_or_insert_default());
        notes.bytes += NOTE_BYTES + note.author.len() + note.text.len();
        notes.ids.insert(note.note_id);
        notes.list.push_front_mut(note);
        true
    }

    pub(super) fn contains(&self, note_id: Uuid) -> bool {
        self.0.as_ref().is_some_and(|notes| notes.ids.contains(note_id))
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
        let newest_first: Vec<&Note> = self.0.iter().flat_map(|notes| &notes.list).collect();
        newest_first.into_iter().rev()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u128) -> Uuid {
        // In no order.
        Uuid::from_u128(number.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835))
    }

    #[test]
    fn every_id_is_found_in_few_runs_and_copies_stay_what_they_were() {
        let mut ids = Ids::default();
        let mut copies = Vec::new();
        for number in 0..2_000 {
            if number % 500 == 0 {
                copies.push((number, ids.clone()));
            }
            ids.insert(id(number));
            assert!(ids.0.len() <= 8, "{} runs of {}", ids.0.len(), number + 1);
        }
        assert!((0..2_000).all(|number| ids.contains(id(number))));
        assert!(!ids.contains(id(2_000)));
        for (count, copy) in copies {
            assert!((0..2_000).all(|number| copy.contains(id(number)) == (number < count)));
        }
    }

    #[test]
    fn notes_are_listed_in_the_order_in_which_they_came_and_none_twice() {
        let note = |number| Note {
            note_id: id(number),
            author: "a".to_owned(),
            text: number.to_string(),
            reply_to: None,
            at: Timestamp(0),
        };
        let mut notes = Notes::default();
        for number in 0..5 {
            assert!(notes.add(note(number)));
        }
        let before = notes.clone();
        assert!(!notes.add(note(3)));
        assert_eq!(notes, before);
        let texts: Vec<&str> = notes.iter().map(|note| note.text.as_str()).collect();
        assert_eq!(texts, ["0", "1", "2", "3", "4"]);
        assert!(notes.add(note(5)));
        assert_eq!((notes.len(), before.len()), (6, 5));
    }
}
