//! The writer's state machine under every fault that can be thought of, from a seed.
//!
//! Two to four writers on one log; clients that ask any of them, again and twice; requests that are lost, late and doubled;
//! reports that are lost, late, doubled and in doubt; records that are dropped while later ones arrive, and records that
//! land when nobody counts on them any more; brokers that answer an old end of the log; crashes, with and without a
//! checkpoint; clocks that are off; commands that are accepted now and carried out when their turn comes, and some that come
//! both ways; a process manager at each writer that leads, with deadlines. The code under it is the one that runs in the service: [`command_service::writer`].
//!
//! - [`board`] is the domain in which mistakes show, [`truth`] the judge, [`world`] what happens.
//! - [`choices`] is where chance comes from; [`shrink`] makes a failing run short.
//! - [`model`] walks every interleaving of a small configuration.
//! - [`run`] runs one; `eventlog::bugs` are the mistakes that it must find.

pub mod board;
pub mod choices;
pub mod model;
pub mod shrink;
pub mod truth;
pub mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use choices::Choices;
use eventlog::bugs::{self, Bug};
use world::{Seen, World};

/// Things that happen before the faults are over.
const STEPS: usize = 260;

/// What must never be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Violation {
    /// An effective event is no legal decision on the true state before it.
    Illegal,
    /// A command has two effective records.
    Doubled,
    /// What was answered is not what the command's effective record says, or there is none.
    WrongAnswer,
    /// A command counts whose client was told that nothing was done.
    TakenAfterAll,
    /// A strong read misses what was acknowledged before it began.
    StaleRead,
    /// Two readers of the log make different things of it.
    Disagreement,
    /// A client got no answer though the faults were over.
    NoAnswer,
    /// Accepted commands were carried out in another order than they were accepted in, or a record says so.
    OutOfTurn,
    /// An accepted command was not carried out though the log says so, or though the faults were over.
    LeftOut,
    /// What an event asks for was not done though the faults were over.
    Outstanding,
    /// An effective record could not be folded.
    FoldFailed,
    /// An assertion in the writer failed.
    Assertion,
}

impl Violation {
    /// The property that is violated.
    pub const fn property(self) -> &'static str {
        match self {
            Self::Illegal => "each effective event is a legal decision on the true state before it",
            Self::Doubled => "a command has at most one effective record",
            Self::WrongAnswer => "an answer is that of the command's effective record",
            Self::TakenAfterAll => "what was turned away is not applied",
            Self::StaleRead => "a strong read sees what was acknowledged before it began",
            Self::Disagreement => "all readers agree",
            Self::NoAnswer => "every client gets an answer once faults stop",
            Self::OutOfTurn => "accepted commands are carried out in their order",
            Self::LeftOut => "each accepted command is carried out",
            Self::Outstanding => "what events ask for is done once faults stop",
            Self::FoldFailed => "what is effective can be folded",
            Self::Assertion => "the writer's own assertions hold",
        }
    }
}

/// A finished run.
#[derive(Debug)]
pub struct Run {
    /// What was violated, if anything.
    pub violation: Option<Violation>,
    /// What happened, how often.
    pub seen: Seen,
    /// The choices that lead there.
    pub tape: Vec<u32>,
    /// What happened, line by line, where it was asked for.
    pub trace: Vec<String>,
}

/// Runs a seed, with a bug or without.
pub fn run(seed: u64, bug: Option<Bug>) -> Run {
    run_choices(Choices::of_seed(seed), bug, false)
}

/// Runs what was chosen before.
pub fn replay(tape: Vec<u32>, bug: Option<Bug>, traced: bool) -> Run {
    run_choices(Choices::of_tape(tape), bug, traced)
}

fn run_choices(mut choices: Choices, bug: Option<Bug>, traced: bool) -> Run {
    bugs::with(bug, || {
        let mut world = World::new(&mut choices, traced);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            for _ in 0..STEPS {
                world.step(&mut choices)?;
            }
            world.heal()
        }));
        Run {
            violation: match outcome {
                Ok(outcome) => outcome.err(),
                Err(_) => Some(Violation::Assertion),
            },
            seen: world.seen,
            tape: choices.into_tape(),
            trace: world.trace.unwrap_or_default(),
        }
    })
}

/// The first of so many seeds that finds a bug, and what it violates.
pub fn find(bug: Bug, seeds: u64) -> Option<(u64, Violation)> {
    (0..seeds).find_map(|seed| Some((seed, run(seed, Some(bug)).violation?)))
}
