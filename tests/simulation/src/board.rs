//! A small domain in which every mistake shows: boards with posts, replies to them, a payment in time and an expiry, and
//! a like of the other board for each reply, which the process manager asks for and notes.
//!
//! A reply is legal only where the post is (so it matters *whose* command made a state), posts are limited (so it matters
//! how many came before), a payment depends on the time that came with its command (so two attempts of one command can be
//! decided differently on the same state), and an event's value names neither its command nor the state.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use command_service::writer::{Domain, Origin, Request, Work};
use eventlog::bugs::Bug;
use schemas::{Timestamp, ids};
use uuid::Uuid;

/// Posts on a board at most.
pub const POSTS_MAX: usize = 4;
/// How long after its first post a board can be paid for.
pub const WINDOW: i64 = 3;
/// How often a board is liked at most.
pub const LIKES_MAX: u8 = 2;

thread_local! {
    /// The clock that a fold must never read.
    pub static CLOCK: Cell<i64> = const { Cell::new(0) };
}

/// The boards.
#[derive(Clone, Copy, Debug)]
pub struct Boards;

/// What somebody wants of a board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Another post.
    Post,
    /// A reply to what a command posted.
    Reply(Uuid),
    /// Pay for the board, in time.
    Pay,
    /// Close a board that nobody paid for in time.
    Expire,
    /// Like a board because of that reply, which is on the other one.
    Like(Uuid),
    /// Note on the reply's board that the like is done with, and whether it was refused.
    Note(Uuid, bool),
}

/// A wish and the board that it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command {
    /// Which board.
    pub board: u8,
    /// What.
    pub wish: Wish,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// The command was refused.
    Refused,
    /// A post.
    Posted,
    /// A reply.
    Replied,
    /// The payment.
    Paid,
    /// The end of a board that nobody paid for.
    Expired,
    /// Nothing.
    Barrier,
    /// A like.
    Liked,
    /// The end of what a reply asks for.
    Noted,
}

/// An event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// What.
    pub kind: Kind,
    /// Where; 0 for a barrier.
    pub board: u8,
    /// When it was decided.
    pub at: i64,
}

/// What a board can be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Status {
    /// Not paid for.
    #[default]
    Open,
    /// Paid for in time.
    Paid,
    /// Not paid for in time.
    Expired,
}

/// A board.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Board {
    /// Events that posted.
    pub posts: BTreeSet<Uuid>,
    /// When the first one was.
    pub opened_at: i64,
    /// The first one.
    pub opened_by: Uuid,
    /// How often it is liked.
    pub likes: u8,
    /// Replies whose like is not noted, each with the event that will note it.
    pub unnoted: BTreeMap<Uuid, Uuid>,
    /// Whether it is paid for.
    pub status: Status,
    /// How many events made it.
    pub sequence: u64,
}

/// The id of the command that likes a board because of a reply.
pub fn like_id(reply: Uuid) -> Uuid {
    ids::step_id(reply, "like", 0)
}

/// The id of the command that notes it.
pub fn note_id(reply: Uuid) -> Uuid {
    ids::step_id(ids::event_id(like_id(reply)), "note", 0)
}

/// The id of the command that closes a board in time.
pub fn expire_id(opened_by: Uuid) -> Uuid {
    ids::step_id(opened_by, "expire", 0)
}

/// The decision, apart from the machine: also what the oracle checks.
pub fn decide(board: Option<&Board>, wish: Wish, at: i64) -> Kind {
    let fits = |legal: bool, kind| if legal { kind } else { Kind::Refused };
    match (wish, board) {
        (Wish::Post, board) => fits(
            board.is_none_or(|board| board.posts.len() < POSTS_MAX),
            Kind::Posted,
        ),
        (_, None) => Kind::Refused,
        (Wish::Reply(to), Some(board)) => fits(board.posts.contains(&ids::event_id(to)), Kind::Replied),
        (Wish::Pay, Some(board)) => fits(
            board.status == Status::Open && at < board.opened_at + WINDOW,
            Kind::Paid,
        ),
        (Wish::Expire, Some(board)) => fits(
            board.status == Status::Open && at >= board.opened_at + WINDOW,
            Kind::Expired,
        ),
        (Wish::Like(_), Some(board)) => fits(board.likes < LIKES_MAX, Kind::Liked),
        (Wish::Note(reply, _), Some(board)) => fits(board.unnoted.contains_key(&reply), Kind::Noted),
    }
}

/// The fold, apart from the machine. Never fails: whether an event was legal is the oracle's question.
pub fn evolve(board: Option<Board>, event: Event, event_id: Uuid, opened_at: i64) -> Board {
    let mut board = board.unwrap_or_default();
    match event.kind {
        Kind::Refused | Kind::Barrier => return board,
        Kind::Posted => {
            if board.posts.is_empty() {
                board.opened_at = opened_at;
                board.opened_by = event_id;
            }
            board.posts.insert(event_id);
        }
        Kind::Replied => {
            board.unnoted.insert(event_id, ids::event_id(note_id(event_id)));
        }
        Kind::Liked => board.likes += 1,
        Kind::Noted => board.unnoted.retain(|_, noted_by| *noted_by != event_id),
        Kind::Paid => board.status = Status::Paid,
        Kind::Expired => board.status = Status::Expired,
    }
    board.sequence += 1;
    board
}

impl Domain for Boards {
    type Command = Command;
    type Event = Event;
    type State = Board;
    type Key = u8;
    type Answer = (Kind, u64);
    type Poison = String;

    fn target(&self, command: &Command) -> u8 {
        command.board
    }
    fn key_bytes(&self, key: &u8) -> Vec<u8> {
        vec![*key]
    }
    fn decide(&self, state: Option<&Board>, request: &Request<Command>) -> Event {
        let at = request.at.micros();
        Event {
            kind: decide(state, request.command.wish, at),
            board: request.command.board,
            at,
        }
    }
    fn changes(&self, event: &Event) -> Option<u8> {
        (!matches!(event.kind, Kind::Refused | Kind::Barrier)).then_some(event.board)
    }
    fn evolve(&self, state: Option<Board>, event: &Event, origin: Origin<'_>) -> Result<Board, String> {
        let opened_at = if Bug::FoldReadsClock.is_in() {
            CLOCK.get()
        } else {
            event.at
        };
        Ok(evolve(state, *event, origin.event_id, opened_at))
    }
    fn bytes(&self, _: &Board) -> usize {
        std::mem::size_of::<Board>()
    }
    fn sequence(&self, state: &Board) -> u64 {
        state.sequence
    }
    fn answer(&self, event: &Event, after: Option<&Board>) -> (Kind, u64) {
        (event.kind, after.map_or(0, |board| board.sequence))
    }
    fn replay(&self, _: &Board, _: &Request<Command>) -> Option<(Kind, u64)> {
        None
    }
    fn work(&self, board: &Board) -> Option<Work> {
        if !board.unnoted.is_empty() {
            return Some(Work::Now);
        }
        (board.status == Status::Open).then_some(Work::Later)
    }
    fn barrier(&self, at: Timestamp) -> Event {
        Event {
            kind: Kind::Barrier,
            board: 0,
            at: at.micros(),
        }
    }
    fn no_causes(&self) -> Arc<[u8]> {
        [].into()
    }
    fn occurred_at(&self, event: &Event) -> Timestamp {
        Timestamp(event.at)
    }
    fn type_name(&self, _: &Event) -> &'static str {
        "simulation.Event"
    }
    fn encode(&self, event: &Event) -> Result<Vec<u8>, String> {
        let mut value = vec![event.kind as u8, event.board];
        value.extend(event.at.to_be_bytes());
        Ok(value)
    }
    fn decode(&self, value: &[u8]) -> Result<Event, String> {
        let (&[kind, board], at) = value.split_first_chunk().ok_or("too short")?;
        let kind = [
            Kind::Refused,
            Kind::Posted,
            Kind::Replied,
            Kind::Paid,
            Kind::Expired,
            Kind::Barrier,
            Kind::Liked,
            Kind::Noted,
        ]
        .into_iter()
        .find(|known| *known as u8 == kind)
        .ok_or("no such event")?;
        let at = i64::from_be_bytes(at.try_into().map_err(|_| "not a time")?);
        Ok(Event { kind, board, at })
    }
}
