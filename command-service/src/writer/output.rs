//! What goes out of the state machine, and its bounds.

use std::sync::Arc;

use eventlog::{Fault, NewRecord};

use super::domain::Domain;
use super::remembered::Kept;

/// Bounds of a writer.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Records in flight at most.
    pub in_flight_max: usize,
    /// Commands waiting to be decided at most; more are turned away.
    pub waiting_max: usize,
    /// A record without a report for that long is in doubt, in milliseconds.
    pub doubt_after_ms: u64,
    /// At least so long lies between two barriers, in milliseconds: those who ask meanwhile share the next one.
    pub barrier_every_ms: u64,
    /// Aggregates that wait for a deadline only and are announced with one tick at most, after a take-over.
    pub told_at_once: usize,
}

/// How far to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Upto {
    /// Up to and including the record at this offset.
    Offset(i64),
    /// Up to what is the log's end when the read begins.
    End,
    /// For ever, as another writer appends. [`super::Core::reached_end`] tells when what was the end is reached.
    Ever,
}

/// What the machine wants done. `C` names a caller.
#[derive(Clone, Debug)]
pub enum Output<D: Domain, C> {
    /// Append a record and report what became of it under this ticket.
    Append {
        /// For [`super::Core::report`].
        ticket: usize,
        /// What to append.
        record: Arc<NewRecord>,
    },
    /// Read the log from this offset on.
    Read {
        /// The first offset to read.
        from: i64,
        /// Where to stop.
        upto: Upto,
    },
    /// Answer a caller: its command's record is effective.
    Answer {
        /// Whom.
        caller: C,
        /// The answer, and where it is.
        kept: Kept<D::Answer>,
        /// Whether the command had been answered before, or was asked twice.
        replayed: bool,
    },
    /// Tell a caller of [`super::Core::prove`] how far the history goes: everything that was acknowledged before it asked is
    /// folded.
    Proven {
        /// Whom.
        caller: C,
        /// The first offset that is not folded.
        next_offset: i64,
    },
    /// The same command id came with another request.
    Mismatch {
        /// Whom to tell.
        caller: C,
    },
    /// The command was not taken in, and nothing was sent for it.
    Unavailable {
        /// Whom to tell.
        caller: C,
    },
    /// An aggregate changed, and the process manager may have something to do for it.
    Changed {
        /// The aggregate.
        key: D::Key,
        /// The trace that the change belongs to.
        traceparent: Option<std::sync::Arc<str>>,
    },
    /// A record was void.
    Void {
        /// Where.
        offset: i64,
        /// Why.
        fault: Fault,
    },
    /// Somebody else wrote in between, or a record is in doubt: what is in flight is settled from the log.
    Unsettled {
        /// Records in flight.
        in_flight: usize,
        /// Whether any of them is in doubt.
        doubt: bool,
    },
    /// The stored part of the state cannot be read: all that was folded is thrown away, and the log read from its beginning.
    StateLost {
        /// Why.
        reason: String,
    },
    /// An effective record cannot be folded. The writer takes no more commands.
    Stopped {
        /// Where.
        offset: i64,
        /// Why.
        reason: String,
    },
}
