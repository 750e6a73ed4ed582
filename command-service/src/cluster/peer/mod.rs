//! What instances say to each other: HTTP/2 in clear text, one connection for each pair, every request with a bearer.
//!
//! [`server`] hands requests to a [`PeerService`], which the engine's side implements; [`Peer`] is another instance, to be
//! asked. What goes over the wire is JSON where it is ours, and bytes that are not looked at where it is the engine's.

mod auth;
mod client;
pub(super) mod server;
#[cfg(test)]
mod tests;

use std::time::Duration;

use bytes::Bytes;
use eventlog::internal::AggregateQuestion;
use http::{HeaderName, StatusCode};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::router::LocalSubmitter;
use crate::engine::{NotAnswered, Standing};

pub use auth::PeerKey;
pub(super) use client::encode as client_encode;
pub use client::{Peer, StateStream};

/// Bytes of a request's body at most. A command has 256 KiB at most as it comes from a client.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;

/// Requests that one instance may have under way at another one; more wait at the sender.
pub const STREAMS_MAX: u32 = 4096;

/// Bytes of a request's headers, uncompressed. Ours have four of them.
const HEADER_BYTES_MAX: u32 = 4096;

/// Bytes that may be under way on one connection, and in one request, before the receiver has taken any.
const CONNECTION_WINDOW_BYTES: u32 = 16 * 1024 * 1024;
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;

/// The longest that a forwarded request is waited for, whatever it asks for.
const TIMEOUT_MAX: Duration = Duration::from_mins(1);

/// Which instance is meant: another one may have got the port of one that died.
const INSTANCE: HeaderName = HeaderName::from_static("tw-instance");

/// How long the caller waits, in milliseconds.
const TIMEOUT_MS: HeaderName = HeaderName::from_static("tw-timeout-ms");

/// The chunks of a slot's state. The end of the channel is the end of the state; an error says that there is no more though there
/// should be.
pub type StateChunks = mpsc::Receiver<Result<Bytes, NotAnswered>>;

/// What one instance does for the others.
///
/// A forwarded command goes to [`LocalSubmitter::submit`], which decides it here or says why not: it has no way to forward it
/// again.
pub trait PeerService: LocalSubmitter {
    /// How a command stands, as far as is known here; none where it was never heard of.
    fn look_up(&self, command_id: Uuid)
    -> impl Future<Output = Result<Option<Standing>, NotAnswered>> + Send;

    /// Proves how far the history of these slots goes, by an append to each: all of them, with their next offsets.
    fn prove(
        &self,
        slots: Vec<usize>,
        timeout: Duration,
    ) -> impl Future<Output = Result<Vec<(usize, i64)>, NotAnswered>> + Send;

    /// Reads an aggregate as it is folded here: an [`eventlog::internal::AggregateAnswer`] in JSON.
    fn read(
        &self,
        question: AggregateQuestion,
        timeout: Duration,
    ) -> impl Future<Output = Result<Bytes, NotAnswered>> + Send;

    /// How far these slots are folded here.
    fn positions(&self, slots: Vec<usize>) -> impl Future<Output = Result<Bytes, NotAnswered>> + Send;

    /// The state of a slot, for whoever would have to fold its log otherwise.
    fn state(&self, slot: usize) -> impl Future<Output = Result<StateChunks, NotAnswered>> + Send;
}

/// Why a peer gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// It is not there: refused, reset, closed, or it answers no pings. What was asked may have been done all the same.
    #[error("the peer is gone: {0}")]
    Gone(String),
    /// It is there, and has not answered in time.
    #[error("the peer has not answered in time")]
    TimedOut,
    /// It said no itself, for a reason of the engine's.
    #[error("the peer does not answer: {0}")]
    NotAnswered(NotAnswered),
    /// It said no to the request as such: a key that differs, a version that does not know it.
    #[error("the peer answers {0}")]
    Refused(StatusCode),
    /// The request or the answer broke on its way, or cannot be read; the connection is sound.
    #[error("the exchange with the peer failed: {0}")]
    Failed(String),
}

impl PeerError {
    /// What a client is told.
    pub const fn not_answered(&self) -> NotAnswered {
        match self {
            Self::TimedOut => NotAnswered::TimedOut,
            Self::NotAnswered(reason) => *reason,
            Self::Gone(_) | Self::Refused(_) | Self::Failed(_) => NotAnswered::Unavailable,
        }
    }
}

mod paths {
    pub const SUBMIT: &str = "/peer/v1/submit";
    pub const COMMANDS: &str = "/peer/v1/commands/";
    pub const PROVE: &str = "/peer/v1/prove";
    pub const AGGREGATES: &str = "/peer/v1/aggregates";
    pub const POSITIONS: &str = "/peer/v1/positions";
    pub const STATE: &str = "/peer/v1/state/";
}
