//! The writer of one partition, as a pure state machine: no async, no clock, no Kafka, no randomness.
//!
//! Inputs are commands ([`Core::submit`]), records read ([`Core::record`], [`Core::reached_end`]), delivery reports
//! ([`Core::report`]) and ticks ([`Core::tick`]); outputs are records to append, reads to make and answers to give
//! ([`Output`]). Threads, Kafka and HTTP are around it: see `engine`.
//!
//! - [`fold`]: the effective history of the partition, and the commands that it remembers; [`cold`] is the part of it that is
//!   not in memory, and what a start needs. The machine reads it as it reads its memory: what it does follows from its inputs.
//! - [`core`]: what a writer holds and what comes in; `deciding` is what it decides ahead of the history, chains and sends,
//!   `settling` what becomes of it, and what to do when something else happened.
//! - [`domain`]: what the engine asks of a domain.
//! - [`Sources`]: which accepted command comes next.

pub mod cold;
pub mod core;
mod deciding;
pub mod domain;
mod flight;
pub mod fold;
#[cfg(feature = "model-checking")]
mod hashed;
mod hot;
mod output;
mod remembered;
mod settling;
mod snapshots;
mod sources;
#[cfg(test)]
mod tests;

pub use cold::{Cold, ColdError, Delta, Restored};
pub use core::Core;
pub use domain::{Domain, Expected, Origin, Request, Work};
pub use fold::{Fold, Found};
pub use output::{Limits, Output, Upto};
pub use remembered::{KEPT_MICROS, Kept};
pub use sources::Sources;
