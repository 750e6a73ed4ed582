//! One order: who wrote what to it, knowing what, and what readers were shown.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use uuid::Uuid;

use super::{Breach, Knowledge, Rule, Thing, Why, same};

/// How far a line's stock is shown to have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reservation {
    /// Not answered.
    Pending,
    /// Answered, by no event of the stock.
    Refused,
    /// Answered by an event of the stock.
    Reserved,
    /// Answered, and given back by another one.
    Released,
}

/// A note as it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShownNote {
    /// Its number, which is its text.
    pub number: u64,
    /// Its id.
    pub id: Uuid,
    /// What it answers.
    pub reply_to: Option<Uuid>,
}

/// An order as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownOrder {
    /// Its sequence.
    pub sequence: u64,
    /// Everything but its notes: a hash of it, and the lines. None where only the sequence was said.
    pub view: Option<(u64, Vec<Reservation>)>,
    /// Its notes, oldest first. None where they are not shown.
    pub notes: Option<Vec<ShownNote>>,
}

#[derive(Debug)]
struct Note {
    with: Knowledge,
    acknowledged: Option<(Uuid, u64)>,
}

#[derive(Debug)]
pub(super) struct Order {
    pub(super) id: Uuid,
    pub(super) customer: Arc<str>,
    /// What was acknowledged to anybody.
    pub(super) acknowledged: u64,
    /// Each line's SKU, and what was acknowledged of it before the order was placed.
    lines: Vec<(u32, u64)>,
    /// What whoever placed it knew.
    with: Knowledge,
    notes: BTreeMap<u64, Note>,
    /// The notes as readers were shown them, and what the writers of all up to each knew.
    shown: Vec<(u64, Knowledge)>,
    /// What was shown at each sequence, without notes.
    views: HashMap<u64, u64>,
    /// How many notes were shown at each sequence.
    note_counts: HashMap<u64, u64>,
}

impl Order {
    pub(super) fn new(id: Uuid, customer: Arc<str>, lines: Vec<(u32, u64)>, with: Knowledge) -> Self {
        Self {
            id,
            customer,
            acknowledged: 0,
            lines,
            with,
            notes: BTreeMap::new(),
            shown: Vec::new(),
            views: HashMap::new(),
            note_counts: HashMap::new(),
        }
    }

    pub(super) fn noting(&mut self, note: u64, with: Knowledge) {
        let acknowledged = None;
        self.notes.insert(note, Note { with, acknowledged });
    }

    pub(super) fn noted(&mut self, note: u64, id: Uuid, sequence: u64) {
        if let Some(note) = self.notes.get_mut(&note) {
            note.acknowledged = Some((id, sequence));
        }
    }

    /// Whether what is shown can be this order at that sequence.
    pub(super) fn check(&mut self, thing: Thing, shown: &ShownOrder) -> Result<(), Breach> {
        if let Some((hash, lines)) = &shown.view {
            same(&mut self.views, thing, shown.sequence, *hash)?;
            if lines.len() != self.lines.len() {
                let what = format!(
                    "{thing} has {} lines instead of {}",
                    lines.len(),
                    self.lines.len()
                );
                return Err(Breach::new(Rule::Content, what));
            }
        }
        let Some(notes) = &shown.notes else {
            return Ok(());
        };
        same(&mut self.note_counts, thing, shown.sequence, notes.len() as u64)?;
        for (at, note) in notes.iter().enumerate() {
            self.check_note(thing, shown.sequence, at, note)?;
            // The cause is in the same answer, before its effect.
            if let Some(cause) = note.reply_to
                && !notes[..at].iter().any(|earlier| earlier.id == cause)
            {
                let what = format!("{thing} shows a reply and not the note {cause} that it answers");
                return Err(Breach::new(Rule::CausalOrder, what));
            }
        }
        let hidden = self.notes.iter().find(|(number, note)| {
            note.acknowledged
                .is_some_and(|(_, sequence)| sequence <= shown.sequence)
                && !notes.iter().any(|note| note.number == **number)
        });
        match hidden {
            None => Ok(()),
            Some((number, _)) => Err(Breach::new(
                Rule::Content,
                format!("{thing} at {} hides the note {number}", shown.sequence),
            )),
        }
    }

    fn check_note(
        &mut self,
        thing: Thing,
        sequence: u64,
        at: usize,
        shown: &ShownNote,
    ) -> Result<(), Breach> {
        let number = shown.number;
        let wrong = |what: &str| {
            let what = format!("{thing} at {sequence} shows note {number}, {what}");
            Err(Breach::new(Rule::Content, what))
        };
        let Some(note) = self.notes.get(&number) else {
            return wrong("which nobody wrote");
        };
        if let Some((id, written)) = note.acknowledged {
            if id != shown.id {
                return wrong("whose id is another one");
            }
            if written > sequence {
                return wrong("which was written later");
            }
        }
        match self.shown.get(at) {
            Some((known, _)) if *known != number => wrong("where another note was shown"),
            Some(_) => Ok(()),
            None => {
                let mut together = match self.shown.last() {
                    Some((_, before)) => before.clone(),
                    None => Knowledge::default(),
                };
                together.learn_all(&note.with, Why::Cause);
                self.shown.push((number, together));
                Ok(())
            }
        }
    }

    /// Adds what a reader must be shown from now on, because it was shown this.
    pub(super) fn teach(&self, shown: &ShownOrder, knowledge: &mut Knowledge) {
        knowledge.learn_all(&self.with, Why::Cause);
        if let Some(notes) = &shown.notes
            && let Some((_, together)) = notes.len().checked_sub(1).and_then(|last| self.shown.get(last))
        {
            knowledge.learn_all(together, Why::Cause);
        }
        // Where no notes are shown, their events are in the sequence all the same.
        if shown.notes.is_none() {
            let covered = self.notes.values().filter(|note| {
                note.acknowledged
                    .is_some_and(|(_, sequence)| sequence <= shown.sequence)
            });
            for note in covered {
                knowledge.learn_all(&note.with, Why::Cause);
            }
        }
        if let Some((_, reservations)) = &shown.view {
            for ((sku, before), reservation) in self.lines.iter().zip(reservations) {
                let events = match reservation {
                    Reservation::Pending => continue,
                    // A refusal is a record and no event; it was decided on what was there before.
                    Reservation::Refused => 0,
                    Reservation::Reserved => 1,
                    Reservation::Released => 2,
                };
                knowledge.learn(Thing::Stock(*sku), before + events, Why::Cause);
            }
        }
    }
}
