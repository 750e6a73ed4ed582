//! The process manager of the boards: what `engine::process_manager` is to the shop.
//!
//! Each writer that leads has one, and each issues what the boards ask for: the like that a reply asks for, the note of its
//! answer, and the expiry once its own clock says that it is due.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use command_service::writer::{Expected, Request};
use eventlog::bugs::Bug;
use schemas::Timestamp;
use uuid::Uuid;

use super::{Caller, World};
use crate::Violation;
use crate::board::{Board, Command, Kind, Status, WINDOW, Wish, expire_id, like_id, note_id};

/// Which half of a step; an expiry has one only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Half {
    Asking,
    Recording,
    Closing,
}

#[derive(Debug)]
struct Step {
    /// The reply's.
    board: u8,
    reply: Uuid,
    /// Whether the like was refused; none while it is asked for.
    refused: Option<bool>,
}

/// The steps that are under way at a writer.
#[derive(Debug, Default)]
pub(super) struct Manager {
    steps: BTreeMap<Uuid, Step>,
    deadlines: BTreeSet<(i64, u8)>,
    closing: BTreeMap<Uuid, u8>,
    /// To be submitted.
    queue: VecDeque<(Uuid, Half)>,
    /// Turned away, to be tried again.
    stalled: Vec<(Uuid, Half)>,
}

impl Manager {
    /// Begins what a board asks for and is not under way.
    fn begin(&mut self, key: u8, board: &Board) {
        if board.status == Status::Open {
            self.deadlines.insert((board.opened_at + WINDOW, key));
        }
        for reply in board.unnoted.keys() {
            let cause = if Bug::StepWithoutCause.is_in() {
                board.opened_by
            } else {
                *reply
            };
            let id = like_id(cause);
            self.steps.entry(id).or_insert_with(|| {
                self.queue.push_back((id, Half::Asking));
                Step {
                    board: key,
                    reply: *reply,
                    refused: None,
                }
            });
        }
    }

    fn request(&self, id: Uuid, half: Half, at: i64) -> Option<Request<Command>> {
        let (id, board, wish) = match half {
            Half::Closing => (id, *self.closing.get(&id)?, Wish::Expire),
            Half::Asking => {
                let step = self.steps.get(&id)?;
                (id, 1 - step.board, Wish::Like(step.reply))
            }
            Half::Recording => {
                let step = self.steps.get(&id)?;
                (
                    note_id(step.reply),
                    step.board,
                    Wish::Note(step.reply, step.refused?),
                )
            }
        };
        Some(Request {
            id,
            fingerprint: [u8::from(matches!(wish, Wish::Note(_, true))); 16],
            at: Timestamp(at),
            expected: Expected::Any,
            causes: [].into(),
            traceparent: None,
            source: None,
            command: Command { board, wish },
        })
    }

    /// No writer took it.
    pub fn stall(&mut self, id: Uuid, half: Half) {
        self.stalled.push((id, half));
    }
}

impl World {
    /// A board changed at a writer that leads.
    pub(super) fn changed(&mut self, number: usize, key: u8) {
        let node = &mut self.nodes[number];
        if let Some(board) = node.core.fold().state(&key).filter(|_| node.leads) {
            node.manager.begin(key, board);
        }
    }

    /// Time passed for a writer's process manager: deadlines come, and what stalled is tried again.
    pub(super) fn close_due(&mut self, number: usize) {
        let now = self.clock(number);
        let node = &mut self.nodes[number];
        let manager = &mut node.manager;
        while let Some((due, key)) = manager.deadlines.first().copied()
            && due <= now
        {
            manager.deadlines.pop_first();
            let board = node.core.fold().state(&key);
            if let Some(board) = board.filter(|board| board.status == Status::Open) {
                let id = expire_id(board.opened_by);
                manager.closing.insert(id, key);
                manager.queue.push_back((id, Half::Closing));
            }
        }
        manager.queue.extend(manager.stalled.drain(..));
    }

    /// Submits what a writer's process manager wants.
    pub(super) fn submit_steps(&mut self, number: usize) -> Result<(), Violation> {
        // What is turned away waits for the clock; what is answered at once may bring more.
        while let Some((id, half)) = self.nodes[number].manager.queue.pop_front() {
            let at = self.clock(number);
            let node = &mut self.nodes[number];
            let Some(request) = node.manager.request(id, half, at) else {
                continue;
            };
            node.core.submit(request, Caller::Step(id, half));
            self.seen.steps += 1;
            self.say(|| format!("writer {number} does its part of step {id}: {half:?}"));
            self.collect(number)?;
        }
        Ok(())
    }

    /// A step's half has its answer.
    pub(super) fn step_answered(&mut self, number: usize, id: Uuid, half: Half, kind: Kind, replayed: bool) {
        let manager = &mut self.nodes[number].manager;
        match half {
            Half::Asking => {
                if let Some(step) = manager.steps.get_mut(&id) {
                    step.refused = Some(kind == Kind::Refused);
                    manager.queue.push_back((id, Half::Recording));
                }
            }
            Half::Recording => {
                // Somebody else noted it: the board did not change just now, and may ask for something all the same.
                if let Some(step) = manager.steps.remove(&id)
                    && (replayed || kind == Kind::Refused)
                {
                    self.changed(number, step.board);
                }
            }
            Half::Closing => {
                manager.closing.remove(&id);
            }
        }
    }

    /// The id of the command of a step's half.
    pub(super) fn step_command(&self, number: usize, id: Uuid, half: Half) -> Option<Uuid> {
        let manager = &self.nodes[number].manager;
        match half {
            Half::Asking | Half::Closing => Some(id),
            Half::Recording => manager.steps.get(&id).map(|step| note_id(step.reply)),
        }
    }

    /// Whether no event asks for anything any more.
    pub(super) fn is_at_rest(&self) -> bool {
        let truth = &self.truth;
        truth.boards.values().all(|board| board.status != Status::Open)
            && truth
                .steps
                .iter()
                .all(|(id, (command, _))| command.wish == Wish::Expire || truth.answered.contains_key(id))
    }
}
