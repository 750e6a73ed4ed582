//! Who waits for what a writer says.

use tokio::sync::oneshot;
use uuid::Uuid;

use super::messages::{Decision, NotAnswered};
use super::process_manager::Half;
use super::questions::Place;

pub(super) enum Caller {
    /// A client, for its command's answer.
    Client(oneshot::Sender<Decision>),
    /// The process manager, for a step's half.
    Step(Uuid, Half),
    /// The command of that id, which was accepted and lies at that offset among the accepted ones.
    Accepted(Uuid, i64),
    /// Somebody who wants to know how far the history goes, and the place that this takes.
    Proof(oneshot::Sender<Result<i64, NotAnswered>>, Place),
}
