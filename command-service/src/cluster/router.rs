//! From a command to whoever decides it: here, or at the owner of its partition, or, where the owner is gone, at the next one.

use std::time::{Duration, Instant};

use bytes::Bytes;
use uuid::Uuid;

use super::peer::{Peer, PeerError, PeerService, client_encode};
use super::{Cluster, Route};
use crate::engine::slots::{partition_for, slot_of};
use crate::engine::{Decision, Handle, NotAnswered, Standing, Submission};
use crate::metrics;

/// How long other instances may take to say what they know of a command.
const LOOK_UP_TIMEOUT: Duration = Duration::from_secs(3);

/// Decides commands in this process, or says why not. Never asks another instance.
pub trait LocalSubmitter: Send + Sync + 'static {
    /// Has a command decided here, and waits until its record is effective.
    fn submit(&self, submission: Submission, timeout: Duration) -> impl Future<Output = Decision> + Send;
}

impl LocalSubmitter for Handle {
    async fn submit(&self, submission: Submission, timeout: Duration) -> Decision {
        Self::submit(self, submission, timeout).await
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

    /// Partitions of each event topic.
    pub const fn partitions(&self) -> i32 {
        self.partitions
    }

    /// The members.
    pub const fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Has a command decided by the owner of its partition, wherever that is, and waits until its record is effective.
    ///
    /// Where the owner turns out to be gone, the next candidate is asked at once, and so on until the time is over: the command's
    /// id makes repeats harmless. What an owner that is there says is passed on, overload included.
    pub async fn submit(&self, submission: Submission, timeout: Duration) -> Decision {
        let deadline = Instant::now() + timeout;
        let slot = slot_of(
            partition_for(&submission.request.command, self.partitions),
            self.partitions,
        );
        let mut tried = Vec::new();
        let mut body: Option<Bytes> = None;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(NotAnswered::TimedOut);
            }
            let peer = match self.cluster.route_around(slot, &tried) {
                Route::Here => return self.local.submit(submission, left).await,
                Route::Nobody => return Err(NotAnswered::Unavailable),
                Route::There(peer) => peer,
            };
            let encoded = match &body {
                Some(encoded) => encoded.clone(),
                None => client_encode(&submission).map_err(|error| error.not_answered())?,
            };
            body = Some(encoded.clone());
            if let Some(outcome) = self.forward(&peer, encoded, left).await {
                return outcome;
            }
            tried.push(peer.id());
        }
    }

    /// How a command stands, as any instance knows it. None only where each instance that is there says that it knows nothing, and
    /// each partition is decided by one of them.
    pub async fn look_up(&self, id: Uuid) -> Result<Option<Standing>, NotAnswered>
    where
        L: PeerService,
    {
        let here = self.local.look_up(id).await?;
        if matches!(here, Some(Standing::Answered(_))) {
            return Ok(here);
        }
        let peers = self.cluster.peers();
        let asked = peers.iter().map(|peer| peer.look_up(id, LOOK_UP_TIMEOUT));
        let mut best = here;
        let mut failed = None;
        for (peer, found) in peers.iter().zip(futures::future::join_all(asked).await) {
            match found {
                Ok(Some(standing @ Standing::Answered(_))) => return Ok(Some(standing)),
                Ok(Some(standing)) => best = best.or(Some(standing)),
                Ok(None) => {}
                Err(error) => {
                    tracing::debug!(peer = peer.name(), %error, "cluster.look_up");
                    failed = Some(error.not_answered());
                }
            }
        }
        match (best, failed) {
            (Some(standing), _) => Ok(Some(standing)),
            (None, Some(reason)) => Err(reason),
            (None, None) => Ok(None),
        }
    }

    /// What a failed request to a peer means for whoever asked; none where the peer is gone, which the others get to know.
    pub(super) fn failed(&self, peer: &Peer, error: &PeerError) -> Option<NotAnswered> {
        if let PeerError::Gone(reason) = error {
            tracing::debug!(peer = peer.name(), reason, "cluster.request.gone");
            metrics::forwarded("gone");
            self.cluster.report_gone(peer.id());
            return None;
        }
        let timed_out = *error == PeerError::TimedOut;
        metrics::forwarded(if timed_out { "timed_out" } else { "failed" });
        if !timed_out {
            tracing::warn!(peer = peer.name(), %error, "cluster.request.failed");
        }
        Some(error.not_answered())
    }

    /// What a peer says; none where it is gone.
    async fn forward(&self, peer: &Peer, body: Bytes, timeout: Duration) -> Option<Decision> {
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
            Err(error) => self.failed(peer, &error).map(Err),
        }
    }
}
