//! From questions to whoever answers them: how far partitions' histories go, and what an aggregate is. Here, or at the owners,
//! and where an owner is gone, at the next one, as with commands.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;
use eventlog::internal::AggregateQuestion;
use eventlog::{Positions, TopicPartition};
use futures::future::join_all;

use super::peer::{Peer, PeerService};
use super::{MemberId, Route, Router};
use crate::engine::NotAnswered;
use crate::engine::slots::{partition_at, slot_count, slot_of};
use crate::metrics;
use crate::states::partition_for;

/// What the next round asks: slots of this instance, and those of each other one.
#[derive(Default)]
struct Round {
    here: Vec<usize>,
    there: BTreeMap<MemberId, (Peer, Vec<usize>)>,
}

impl<L: PeerService> Router<L> {
    /// Proves how far these partitions' histories go: everything that was acknowledged before the call is before the positions.
    ///
    /// Each partition is asked of its owner. Where an owner turns out to be gone, the next candidate is asked at once, and so on
    /// until the time is over. Partitions that do not exist are [`NotAnswered::Unavailable`].
    pub async fn prove(
        &self,
        partitions: &[TopicPartition],
        timeout: Duration,
    ) -> Result<Positions, NotAnswered> {
        let deadline = Instant::now() + timeout;
        let mut open = self.slots(partitions)?;
        let (mut proven, mut tried) = (Positions::new(), Vec::new());
        while !open.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(NotAnswered::TimedOut);
            }
            let Round { here, there } = self.round(&open, &tried)?;
            let local = async {
                if here.is_empty() {
                    return Ok(Vec::new());
                }
                self.local().prove(here, left).await
            };
            let remote = there
                .values()
                .map(|(peer, slots)| self.prove_there(peer, slots, left));
            let (local, remote) = tokio::join!(local, join_all(remote));
            let mut answers = local?;
            for (id, answer) in there.keys().zip(remote) {
                match answer {
                    Some(answer) => answers.extend(answer?),
                    None => tried.push(*id),
                }
            }
            for (slot, next_offset) in answers {
                if open.remove(&slot) {
                    proven.observe(partition_at(slot, self.partitions()), next_offset);
                }
            }
        }
        Ok(proven)
    }

    /// Reads an aggregate as its writer has folded it: an [`eventlog::internal::AggregateAnswer`] in JSON.
    ///
    /// It is asked of the owner of its partition and, where that is gone, of the next candidate, until the time is over.
    pub async fn read(&self, question: &AggregateQuestion, timeout: Duration) -> Result<Bytes, NotAnswered> {
        let deadline = Instant::now() + timeout;
        let slot = slot_of(partition_for(question, self.partitions()), self.partitions());
        let mut tried = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(NotAnswered::TimedOut);
            }
            let peer = match self.cluster().route_around(slot, &tried) {
                Route::Here => return self.local().read(question.clone(), left).await,
                Route::Nobody => return Err(NotAnswered::Unavailable),
                Route::There(peer) => peer,
            };
            match peer.read(question, left).await {
                Ok(answer) => {
                    metrics::forwarded("answered");
                    return Ok(answer);
                }
                Err(error) => {
                    if let Some(reason) = self.failed(&peer, &error) {
                        return Err(reason);
                    }
                    tried.push(peer.id());
                }
            }
        }
    }

    fn slots(&self, partitions: &[TopicPartition]) -> Result<BTreeSet<usize>, NotAnswered> {
        let count = slot_count(self.partitions());
        let slots = partitions.iter().map(|partition| {
            let exists = (0..self.partitions()).contains(&partition.partition);
            let slot = slot_of(*partition, self.partitions());
            (exists && slot < count)
                .then_some(slot)
                .ok_or(NotAnswered::Unavailable)
        });
        slots.collect()
    }

    fn round(&self, slots: &BTreeSet<usize>, tried: &[MemberId]) -> Result<Round, NotAnswered> {
        let mut round = Round::default();
        for slot in slots {
            match self.cluster().route_around(*slot, tried) {
                Route::Here => round.here.push(*slot),
                Route::There(peer) => {
                    let (_, slots) = round.there.entry(peer.id()).or_insert((peer, Vec::new()));
                    slots.push(*slot);
                }
                Route::Nobody => return Err(NotAnswered::Unavailable),
            }
        }
        Ok(round)
    }

    /// What a peer proves; none where it is gone.
    async fn prove_there(
        &self,
        peer: &Peer,
        slots: &[usize],
        timeout: Duration,
    ) -> Option<Result<Vec<(usize, i64)>, NotAnswered>> {
        match peer.prove(slots, timeout).await {
            // A peer that leaves one out would be asked for it again and again.
            Ok(proven)
                if slots
                    .iter()
                    .all(|slot| proven.iter().any(|(found, _)| found == slot)) =>
            {
                metrics::forwarded("answered");
                Some(Ok(proven))
            }
            Ok(_) => Some(Err(NotAnswered::Unavailable)),
            Err(error) => self.failed(peer, &error).map(Err),
        }
    }
}
