//! Events that are the engine's, not the domain's. Each event topic has them in its own Avro namespace.
#![allow(missing_docs, reason = "the .avsc files document the fields")]

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// A command passed validation and was refused. Recorded so that the same command gets the same answer for ever.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandRejected {
    pub occurred_at: Timestamp,
    /// The command's name, as in the domain: `PayOrder`.
    pub command: String,
    /// The slug of the problem's type: `wrong-amount`.
    pub reason: String,
    /// The answer's `application/problem+json`, as text.
    pub problem: String,
}

/// An ordinary chained record that every fold ignores: appended to prove how far a writer has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Barrier {
    pub occurred_at: Timestamp,
}
