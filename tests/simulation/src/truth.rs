//! What the log says, by the chain rule alone and as plainly as it can be written: the judge of everybody else.

use std::collections::BTreeMap;

use command_service::writer::Domain as _;
use eventlog::{Link, LogRecord, NewRecord};
use uuid::Uuid;

use crate::Violation;
use crate::board::{Board, Boards, Command, Kind, decide, evolve};

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
        let event = Boards.decode(&record.value).map_err(|_| Violation::Illegal)?;
        let Some(command) = commands.get(&Uuid::from_slice(&record.command[..16]).unwrap_or_default()) else {
            return Ok(offset);
        };
        if decide(self.boards.get(&command.board), command.wish, event.at) != event.kind {
            return Err(Violation::Illegal);
        }
        let mut sequence = 0;
        if event.kind != Kind::Refused {
            let board = evolve(self.boards.remove(&event.board), event, record.event_id, event.at);
            sequence = board.sequence;
            self.boards.insert(event.board, board);
        }
        let answered = Answered {
            fingerprint: record.command[16..].try_into().unwrap_or_default(),
            answer: (event.kind, sequence),
            offset,
        };
        let id = Uuid::from_slice(&record.command[..16]).unwrap_or_default();
        if self.answered.insert(id, answered).is_some() {
            return Err(Violation::Doubled);
        }
        Ok(offset)
    }
}
