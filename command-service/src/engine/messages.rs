//! What travels between the engine's parts: inputs of the writers' thread, reads that it asks for, and what clients are told.

use std::sync::Arc;

use domain::Command;
use eventlog::{LogRecord, PlainRecord, Report, TopicPartition};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::checkpoints::Saved;
use super::process_manager::Half;
use super::questions::Place;
use super::readers::Reader;
use crate::shop::Answer;
use crate::writer::{ColdError, Request, Upto};

/// What reaches the thread.
pub(super) enum Input {
    /// A client's command.
    Submit {
        slot: usize,
        submission: Submission,
        reply: oneshot::Sender<Decision>,
    },
    /// Somebody wants to know what became of a command.
    LookUp {
        id: Uuid,
        reply: oneshot::Sender<Option<Standing>>,
    },
    /// Somebody wants to know how far a partition's history goes, proven.
    Prove {
        slot: usize,
        reply: oneshot::Sender<Result<i64, NotAnswered>>,
        place: Place,
    },
    /// Somebody wants to read an aggregate.
    Look { slot: usize, reader: Reader },
    /// A partition's snapshot cannot be read, as somebody found who read an aggregate.
    Unreadable { slot: usize, error: ColdError },
    /// What came of a step of the process manager that another instance was asked for.
    Stepped { step: ErrandStep, decision: Decision },
    /// Accepted commands, as they lie in their topic.
    Accepted(Vec<PlainRecord>),
    /// What this instance is to each partition from now on, in the order of slots.
    Roles(Vec<Role>),
    /// The thread is to end.
    Stop,
    /// A delivery report.
    Report(Report),
    /// Records for a writer that asked for them.
    Read(Batch),
    /// What became of a checkpoint.
    Saved(Saved),
}

/// What an instance is to a partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// It decides the partition's commands.
    Owner,
    /// It folds what the owner writes, and takes over where the owner is gone.
    Standby,
    /// Nothing.
    #[default]
    Idle,
}

/// What is asked of a reading thread.
#[derive(Clone, Copy, Debug)]
pub(super) enum Order {
    Read(Job),
    Stop(TopicPartition),
}

/// A read that a writer asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Job {
    pub slot: usize,
    /// Which of the writer's reads it is: what comes of an older one is thrown away.
    pub generation: u64,
    pub partition: TopicPartition,
    pub from: i64,
    pub upto: Upto,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Batch {
    pub slot: usize,
    pub generation: u64,
    pub records: Vec<LogRecord>,
    pub end: ReadEnd,
    /// As many of them are shared as batches are on their way.
    pub _queued: Arc<()>,
}

/// How a batch ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadEnd {
    /// There is more to come.
    More,
    /// It came to where it was to stop.
    Reached,
    /// The log ends before where it was to begin.
    Truncated,
}

/// A step of the process manager for another instance's partition.
#[derive(Debug)]
pub struct Errand {
    /// For [`super::Handle::finish`].
    pub step: ErrandStep,
    /// What is to be decided there.
    pub request: Request<Command>,
}

/// Which step an [`Errand`] belongs to.
#[derive(Clone, Copy, Debug)]
pub struct ErrandStep {
    pub(super) id: Uuid,
    pub(super) half: Half,
}

/// A command on its way to a writer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submission {
    /// The command. It is handed on many times until it is answered.
    pub request: Box<Request<Command>>,
    /// Whether it is enough to keep it durably, to be carried out when its turn comes.
    pub respond_async: bool,
    /// Whether it is a step of the process manager: an order that was let in is carried through, however much waits.
    pub is_step: bool,
}

impl Submission {
    /// A command whose answer is waited for.
    pub fn now(request: Request<Command>) -> Self {
        Self {
            request: Box::new(request),
            respond_async: false,
            is_step: false,
        }
    }

    /// A step of another instance's process manager.
    pub fn step(request: Request<Command>) -> Self {
        Self {
            request: Box::new(request),
            respond_async: false,
            is_step: true,
        }
    }
}

/// What comes of a [`Submission`].
pub type Decision = Result<Standing, NotAnswered>;

/// How a command stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It waits for its turn: its partition and offset among the accepted commands, where they are known.
    Accepted(Option<(i32, i64)>),
    /// It was answered.
    Answered(Answered),
}

impl Standing {
    /// The answer, of a command whose answer was waited for.
    pub fn answered(self) -> Result<Answered, NotAnswered> {
        match self {
            Self::Answered(answered) => Ok(answered),
            Self::Accepted(_) => Err(NotAnswered::Unavailable),
        }
    }
}

/// A command's answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answered {
    /// What is answered.
    pub answer: Answer,
    /// Where its record is.
    pub partition: TopicPartition,
    /// The offset behind its record.
    pub next_offset: i64,
    /// Whether the command had been answered before, or was asked twice.
    pub replayed: bool,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum NotAnswered {
    /// The command id came with another request before.
    #[error("the same key was used with another request")]
    Mismatch,
    /// Too much is waiting. Nothing was sent for the command.
    #[error("too many commands are waiting")]
    Overloaded,
    /// No writer takes the command now; or nobody knows what became of it, and asking again tells.
    #[error("the writer cannot take the command now")]
    Unavailable,
    /// No answer in time. Asking again, with the same key, tells what became of it.
    #[error("no answer came in time")]
    TimedOut,
}
