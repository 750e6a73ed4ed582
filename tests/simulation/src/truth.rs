//! What the log says, by the chain rule alone and as plainly as it can be written: the judge of everybody else.

use std::collections::BTreeMap;

use command_service::writer::Domain as _;
use eventlog::{Link, LogRecord, NewRecord};
use uuid::Uuid;

use crate::Violation;
use crate::board::{Board, Boards, Command, Kind, Wish, decide, evolve, expire_id, like_id, note_id};

/// An effective record that answered a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answered {
    /// Of the request.
    pub fingerprint: [u8; 16],
    /// What it answered.
    pub answer: (Kind, u64),
    /// Where it is.
    pub offset: i64,
}

/// The log, and what its effective records make.
#[derive(Clone, Debug, Default)]
pub struct Truth {
    /// Everything that landed.
    pub log: Vec<LogRecord>,
    /// The boards.
    pub boards: BTreeMap<u8, Board>,
    /// The commands that were answered.
    pub answered: BTreeMap<Uuid, Answered>,
    /// How many records are void.
    pub void: u64,
    /// The commands that events ask for, with their fingerprints.
    pub steps: BTreeMap<Uuid, (Command, [u8; 16])>,
    /// The commands topic is carried out up to there.
    pub carried_out: Option<u64>,
    last: Option<Link>,
}

impl Truth {
    /// The offset that the next record gets.
    pub fn end(&self) -> i64 {
        i64::try_from(self.log.len()).unwrap_or(i64::MAX)
    }

    /// A record lands. `commands` says what each command wanted.
    pub fn land(&mut self, record: &NewRecord, commands: &BTreeMap<Uuid, Command>) -> Result<i64, Violation> {
        let offset = self.end();
        self.log.push(record.at_offset(offset));
        if record.after != self.last.unwrap_or(Link::ZERO) {
            self.void += 1;
            return Ok(offset);
        }
        self.last = Some(record.link);
        if record.source.is_some() {
            if record.source <= self.carried_out {
                return Err(Violation::OutOfTurn);
            }
            self.carried_out = record.source;
        }
        if record.command == [0; 32] {
            return Ok(offset);
        }
        self.count(record, offset, commands)?;
        Ok(offset)
    }

    /// The effective record of a command.
    fn count(
        &mut self,
        record: &NewRecord,
        offset: i64,
        commands: &BTreeMap<Uuid, Command>,
    ) -> Result<(), Violation> {
        let event = Boards.decode(&record.value).map_err(|_| Violation::Illegal)?;
        let id = Uuid::from_slice(&record.command[..16]).unwrap_or_default();
        let fingerprint = record.command[16..].try_into().unwrap_or_default();
        // What is neither a client's nor asked for by an event that counts is nobody's.
        let command = commands.get(&id).copied().or_else(|| {
            let step = self.steps.get(&id).filter(|step| step.1 == fingerprint);
            step.map(|(command, _)| *command)
        });
        let command = command.ok_or(Violation::Illegal)?;
        if decide(self.boards.get(&command.board), command.wish, event.at) != event.kind {
            return Err(Violation::Illegal);
        }
        let mut sequence = 0;
        if event.kind != Kind::Refused {
            let board = evolve(self.boards.remove(&event.board), event, record.event_id, event.at);
            sequence = board.sequence;
            self.boards.insert(event.board, board);
        }
        self.ask(command, event.kind, record.event_id);
        let answered = Answered {
            fingerprint,
            answer: (event.kind, sequence),
            offset,
        };
        if self.answered.insert(id, answered).is_some() {
            return Err(Violation::Doubled);
        }
        Ok(())
    }

    /// Notes what an effective event asks for.
    fn ask(&mut self, command: Command, kind: Kind, event_id: Uuid) {
        let Command { board, wish } = command;
        match (wish, kind) {
            (Wish::Like(reply), _) => {
                let refused = kind == Kind::Refused;
                let command = Command {
                    board: 1 - board,
                    wish: Wish::Note(reply, refused),
                };
                self.steps
                    .insert(note_id(reply), (command, [u8::from(refused); 16]));
            }
            (_, Kind::Replied) => {
                let command = Command {
                    board: 1 - board,
                    wish: Wish::Like(event_id),
                };
                self.steps.insert(like_id(event_id), (command, [0; 16]));
            }
            (_, Kind::Posted)
                if self
                    .boards
                    .get(&board)
                    .is_some_and(|board| board.opened_by == event_id) =>
            {
                let command = Command {
                    board,
                    wish: Wish::Expire,
                };
                self.steps.insert(expire_id(event_id), (command, [0; 16]));
            }
            _ => {}
        }
    }
}
