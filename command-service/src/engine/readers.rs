//! Those who wait until a partition is folded far enough to read an aggregate of it.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use tokio::sync::oneshot;

use super::messages::NotAnswered;
use super::questions::Place;
use crate::shop::{Key, Shop};
use crate::writer::{Fold, Found};

/// An aggregate as it is folded, and how far that is.
pub(super) struct FoundAt {
    pub found: Found<Shop>,
    pub next_offset: i64,
}

/// Somebody who wants to read an aggregate.
pub(super) struct Reader {
    pub key: Key,
    /// Folded up to there at least.
    pub at_least: i64,
    pub reply: oneshot::Sender<Result<FoundAt, NotAnswered>>,
    pub _place: Place,
}

impl Reader {
    fn tell(self, fold: &Fold<Shop>) {
        let found = FoundAt {
            found: fold.find(&self.key),
            next_offset: fold.next_offset(),
        };
        // Whoever asked may be gone.
        let _ = self.reply.send(Ok(found));
    }
}

/// The one that wants least first.
impl Ord for Reader {
    fn cmp(&self, other: &Self) -> Ordering {
        other.at_least.cmp(&self.at_least)
    }
}

impl PartialOrd for Reader {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Reader {
    fn eq(&self, other: &Self) -> bool {
        self.at_least == other.at_least
    }
}

impl Eq for Reader {}

/// The readers of one partition.
#[derive(Default)]
pub(super) struct Readers(BinaryHeap<Reader>);

impl Readers {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn push(&mut self, reader: Reader) {
        self.0.push(reader);
    }

    /// Tells those for whom enough is folded.
    pub fn tell(&mut self, fold: &Fold<Shop>) {
        while self
            .0
            .peek()
            .is_some_and(|reader| reader.at_least <= fold.next_offset())
        {
            if let Some(reader) = self.0.pop() {
                reader.tell(fold);
            }
        }
    }

    /// Turns all away: nothing more will be folded, or what is folded is wrong.
    pub fn turn_away(&mut self) {
        for reader in self.0.drain() {
            let _ = reader.reply.send(Err(NotAnswered::Unavailable));
        }
    }

    /// Forgets those who gave up: what they wait for may never come.
    pub fn forget_gone(&mut self) {
        self.0.retain(|reader| !reader.reply.is_closed());
    }
}

#[cfg(test)]
mod tests {
    use eventlog::Checkpoint;

    use super::*;
    use crate::engine::questions::Questions;

    fn fold(next_offset: i64) -> Fold<Shop> {
        Fold::new(Checkpoint {
            next_offset,
            ..Checkpoint::BEGINNING
        })
    }

    #[test]
    fn each_is_told_as_soon_as_enough_is_folded() {
        let (mut readers, questions) = (Readers::default(), Questions::default());
        let mut answers = Vec::new();
        for at_least in [7, 3, 5, 9] {
            let (reply, answer) = oneshot::channel();
            readers.push(Reader {
                key: Key::Stock("a".into()),
                at_least,
                reply,
                _place: questions.enter().unwrap(),
            });
            answers.push(answer);
        }
        let mut told = |readers: &mut Readers| -> Vec<bool> {
            readers.forget_gone();
            answers
                .iter_mut()
                .map(|answer| answer.try_recv().is_ok())
                .collect()
        };
        readers.tell(&fold(2));
        assert_eq!(told(&mut readers), [false; 4]);
        readers.tell(&fold(6));
        assert_eq!(told(&mut readers), [false, true, true, false]);
        readers.tell(&fold(7));
        assert_eq!(told(&mut readers), [true, false, false, false]);
        drop(answers);
        readers.forget_gone();
        assert!(readers.is_empty());
    }
}
