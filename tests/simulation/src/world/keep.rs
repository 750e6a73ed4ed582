//! A writer's snapshots: made while it goes on, lost with it or not, and sometimes unreadable.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use command_service::writer::cold::{Cold, ColdError, Delta, InMemory, Old, Restored};
use command_service::writer::{Core, Domain};
use uuid::Uuid;

use super::Caller;
use crate::board::{Board, Boards};

/// What a writer that keeps snapshots has beside it.
#[derive(Default)]
pub(super) struct Keep {
    last: InMemory<Boards>,
    /// Handed over, and not stored yet.
    pending: Option<Delta<Boards>>,
    /// Whether reading fails.
    broken: Arc<AtomicBool>,
}

struct Breaking {
    snapshot: Arc<dyn Cold<Boards>>,
    broken: Arc<AtomicBool>,
}

impl Breaking {
    fn check(&self) -> Result<(), ColdError> {
        if self.broken.load(Ordering::Relaxed) {
            return Err(ColdError("broken".to_owned()));
        }
        Ok(())
    }
}

impl Cold<Boards> for Breaking {
    fn state(&self, key: &u8) -> Result<Option<Board>, ColdError> {
        self.check()?;
        self.snapshot.state(key)
    }

    fn kept(&self, id: Uuid) -> Result<Option<Old<<Boards as Domain>::Answer>>, ColdError> {
        self.check()?;
        self.snapshot.kept(id)
    }
}

impl Keep {
    /// Finishes the snapshot that is being made, or begins one.
    pub fn step(&mut self, core: &mut Core<Boards, Caller>) {
        match self.pending.take() {
            Some(delta) => {
                let number = delta.number;
                self.last.save(delta);
                core.stored(number, Some(self.restored().cold));
            }
            None => self.pending = core.delta(),
        }
    }

    /// The snapshot that is being made cannot be stored.
    pub fn fail(&mut self, core: &mut Core<Boards, Caller>) {
        if let Some(delta) = self.pending.take() {
            core.stored(delta.number, None);
        }
    }

    /// What a start finds.
    pub fn restored(&self) -> Restored<Boards> {
        let restored = self.last.restored();
        Restored {
            cold: Arc::new(Breaking {
                snapshot: restored.cold,
                broken: Arc::clone(&self.broken),
            }),
            ..restored
        }
    }

    /// The writer died: what was not stored is gone.
    pub fn die(&mut self) {
        self.pending = None;
    }

    /// From now on reading fails, until the writer noticed.
    pub fn break_down(&self) {
        self.broken.store(true, Ordering::Relaxed);
    }

    /// The writer threw its state away.
    pub fn repair(&self) {
        self.broken.store(false, Ordering::Relaxed);
    }

    /// Nothing is left.
    pub fn wipe(&mut self) {
        *self = Self::default();
    }
}
