//! An order's notes as a model holds them.

use super::NoteView;
use crate::reading::from_json;
use crate::store::StoreError;

/// Notes, oldest first, as the JSON that is stored and shown. A note only ever comes to the others, so that one more costs what it
/// is long itself, however many there are before it: nothing of them is read or written anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notes(String);

impl Notes {
    /// As they are stored. What is between the brackets is looked at only by who asks for [`Notes::each`].
    pub(crate) fn stored(json: &str) -> Result<Self, StoreError> {
        if json.starts_with('[') && json.ends_with(']') {
            Ok(Self(json.to_owned()))
        } else {
            Err(StoreError::Corrupt("an order's notes are no array".to_owned()))
        }
    }

    /// Adds one. An error, and nothing added, where it is not to be written as JSON, which no note is.
    pub fn push(&mut self, note: &NoteView) -> serde_json::Result<()> {
        let note = serde_json::to_string(note)?;
        let end = self.0.len() - 1;
        if end > 1 {
            self.0.insert(end, ',');
        }
        self.0.insert_str(self.0.len() - 1, &note);
        Ok(())
    }

    /// A JSON array of [`NoteView`].
    pub fn as_json(&self) -> &str {
        &self.0
    }

    /// Each of them.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] where what was stored are no notes.
    pub fn each(&self) -> Result<Vec<NoteView>, StoreError> {
        from_json(&self.0)
    }
}

impl Default for Notes {
    /// None.
    fn default() -> Self {
        Self("[]".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use schemas::Timestamp;
    use uuid::Uuid;

    use super::*;
    use crate::reading::to_json;

    #[test]
    fn one_more_is_the_same_as_all_written_anew() {
        let note = |number: u8| NoteView {
            note_id: Uuid::from_u128(number.into()),
            author: "[]".to_owned(),
            text: "\u{0}\n\"],[\"".to_owned(),
            reply_to: (number > 0).then_some(Uuid::nil()),
            at: Timestamp(number.into()),
        };
        let (mut notes, mut all) = (Notes::default(), Vec::new());
        assert_eq!(notes.as_json(), "[]");
        for number in 0..4 {
            notes.push(&note(number)).unwrap();
            all.push(note(number));
            assert_eq!(notes.as_json(), to_json(&all).unwrap());
            assert_eq!(notes.each().unwrap(), all);
            assert_eq!(Notes::stored(notes.as_json()).unwrap(), notes);
        }
        for bad in ["", "[", "{}", "null", "]["] {
            assert!(Notes::stored(bad).is_err(), "{bad:?}");
        }
    }
}
