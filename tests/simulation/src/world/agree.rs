//! The last judgement: everybody who reads the log makes the same of it, and nobody was told what is not so.

use std::collections::BTreeMap;

use command_service::writer::Core;

use super::{Caller, LIMITS, World};
use crate::Violation;
use crate::board::{Board, Boards, CLOCK};

impl World {
    /// Everybody who reads the log says the same.
    pub(super) fn agree(&self) -> Result<(), Violation> {
        for client in self.clients.iter().filter(|client| client.gone) {
            let found = self.truth.answered.get(&client.id);
            if found.is_some_and(|found| found.fingerprint == client.fingerprint) {
                return Err(Violation::TakenAfterAll);
            }
        }
        CLOCK.set(-1);
        let mut readers = vec![Core::<Boards, Caller>::new(Boards, LIMITS)];
        for node in &self.nodes {
            readers.extend(
                node.saved
                    .clone()
                    .map(|fold| Core::resume(Boards, LIMITS, fold.as_saved())),
            );
            if let Some(keep) = &node.keep {
                keep.repair();
                readers.push(Core::restore(Boards, LIMITS, keep.restored()));
            }
        }
        for mut reader in readers {
            let from = usize::try_from(reader.fold().next_offset()).unwrap_or(0);
            for record in &self.truth.log[from..] {
                reader.record(record);
            }
            self.compare(&mut reader)?;
        }
        for node in &self.nodes {
            if node.core.fold().next_offset() == self.truth.end() {
                self.compare(&mut node.core.clone())?;
            }
        }
        Ok(())
    }

    fn compare(&self, core: &mut Core<Boards, Caller>) -> Result<(), Violation> {
        let boards: BTreeMap<u8, Board> = (0..2)
            .filter_map(|key| Some((key, core.look_up(&key)?.clone())))
            .collect();
        let fold = core.fold();
        let remembered = self.truth.answered.iter().all(|(id, answered)| {
            fold.kept(*id).ok().flatten().is_some_and(|kept| {
                kept.answer == answered.answer
                    && kept.fingerprint == answered.fingerprint
                    && kept.next_offset == answered.offset + 1
            })
        });
        if boards == self.truth.boards && remembered {
            Ok(())
        } else {
            Err(Violation::Disagreement)
        }
    }
}
