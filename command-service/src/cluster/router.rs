//! From a command to whoever decides it: here, or at the owner of its partition, or, where the owner is gone, at the next one.

use std::time::{Duration, Instant};

use bytes::Bytes;
use domain::Command;

use super::peer::{Peer, PeerError, client_encode};
use super::{Cluster, Route};
use crate::engine::slots::{partition_for, slot_of};
use crate::engine::{Answered, Handle, NotAnswered};
use crate::metrics;
use crate::writer::Request;

/// Decides commands in this process, or says why not. Never asks another instance.
pub trait LocalSubmitter: Send + Sync + 'static {
    /// Has a command decided here, and waits until its record is effective.
    fn submit(
        &self,
        request: Request<Command>,
        timeout: Duration,
    ) -> impl Future<Output = Result<Answered, NotAnswered>> + Send;
}

impl LocalSubmitter for Handle {
    async fn submit(&self, request: Request<Command>, timeout: Duration) -> Result<Answered, NotAnswered> {
        Self::submit(self, request, timeout).await
    }
}

/// The way in for commands of clients. Cheap to clone where the local part is.
#[derive(Clone)]
pub struct Router<L> {
    cluster: Cluster,
    local: L,
    partitions: i32,
}

impl<L: LocalSubmitter> Router<L> {
    /// Routes by the cluster's view; `partitions` is the number of each topic's.
    pub const fn new(cluster: Cluster, local: L, partitions: i32) -> Self {
        Self {
            cluster,
            local,
            partitions,
        }
    }

    /// The part that decides here.
    pub const fn local(&self) -> &L {
        &self.local
    }

    /// The members.
    pub const fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Has a command decided by the owner of its partition, wherever that is, and waits until its record is effective.
    ///
    /// Where the owner turns out to be gone, the next candidate is asked at once, and so on until the time is over: the command's
    /// id makes repeats harmless. What an owner that is there says is passed on, overload included.
    pub async fn submit(
        &self,
        request: Request<Command>,
        timeout: Duration,
    ) -> Result<Answered, NotAnswered> {
        let deadline = Instant::now() + timeout;
        let slot = slot_of(partition_for(&request.command, self.partitions), self.partitions);
        let mut tried = Vec::new();
        let mut body: Option<Bytes> = None;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(NotAnswered::TimedOut);
            }
            let peer = match self.cluster.route_around(slot, &tried) {
                Route::Here => return self.local.submit(request, left).await,
                Route::Nobody => return Err(NotAnswered::Unavailable),
                Route::There(peer) => peer,
            };
            let encoded = match &body {
                Some(encoded) => encoded.clone(),
                None => client_encode(&request).map_err(|error| error.not_answered())?,
            };
            body = Some(encoded.clone());
            if let Some(outcome) = self.forward(&peer, encoded, left).await {
                return outcome;
            }
            tried.push(peer.id());
        }
    }

    /// What a peer says; none where it is gone.
    async fn forward(
        &self,
        peer: &Peer,
        body: Bytes,
        timeout: Duration,
    ) -> Option<Result<Answered, NotAnswered>> {
        match peer.submit_encoded(body, timeout).await {
            Ok(decision) => {
                metrics::forwarded(match &decision {
                    Ok(_) => "answered",
                    Err(NotAnswered::Mismatch) => "mismatch",
                    Err(NotAnswered::Overloaded) => "overloaded",
                    Err(NotAnswered::Unavailable) => "unavailable",
                    Err(NotAnswered::TimedOut) => "timed_out",
                });
                Some(decision)
            }
            Err(PeerError::Gone(reason)) => {
                tracing::debug!(peer = peer.name(), reason, "cluster.request.gone");
                metrics::forwarded("gone");
                self.cluster.report_gone(peer.id());
                None
            }
            Err(error) => {
                let timed_out = error == PeerError::TimedOut;
                metrics::forwarded(if timed_out { "timed_out" } else { "failed" });
                if !timed_out {
                    tracing::warn!(peer = peer.name(), %error, "cluster.request.failed");
                }
                Some(Err(error.not_answered()))
            }
        }
    }
}
