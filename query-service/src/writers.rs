//! Asks the writers, through the command service: how far the log goes, proven; and what one order or SKU is by their own state.
//!
//! `instances` finds an instance that answers, `proofs` lets those who ask for proofs at once share a request, `aggregates` reads.
//! Any instance takes any request. What it does not do: wait for models, decide what is fresh enough (`reads`), or keep answers: a
//! proof is of use only to those who asked before it began.

mod aggregates;
mod instances;
mod proofs;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use eventlog::{Positions, TopicPartition, internal};
use http::StatusCode;
use reqwest::Url;
use service_kit::config::Secret;

pub use aggregates::WriterReading;
use instances::Instances;
use proofs::Proofs;

/// Why the writers gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WritersError {
    /// No instance is there: refused, reset, closed.
    #[error("no command service is there: {0}")]
    Unreachable(String),
    /// An instance says that it cannot answer now: overload, a take-over, a log that cannot be written.
    #[error("the command service cannot answer now")]
    Unavailable,
    /// No answer in time.
    #[error("the command service has not answered in time")]
    TimedOut,
    /// An instance says no to the request as such: a secret that differs, a partition that it does not have.
    #[error("the command service answers {0}")]
    Refused(StatusCode),
    /// The answer cannot be read.
    #[error("the answer of the command service cannot be read: {0}")]
    Unreadable(String),
}

/// The way to the writers. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Writers(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    instances: Instances,
    proofs: Proofs,
}

impl Writers {
    /// Asks the command service's instances at these addresses; connects to none yet.
    ///
    /// # Errors
    /// Where no HTTP client can be made.
    pub fn new(urls: Vec<Url>, secret: &Secret) -> reqwest::Result<Self> {
        Ok(Self(Arc::new(Inner {
            instances: Instances::new(urls, secret)?,
            proofs: Proofs::default(),
        })))
    }

    /// Proves how far these partitions' histories go: everything that was acknowledged before the call is before the positions.
    /// All partitions are in the answer.
    ///
    /// Those who ask for the same partitions at once share a request, which begins after the last of them asked.
    pub async fn prove(
        &self,
        partitions: &[TopicPartition],
        timeout: Duration,
    ) -> Result<Positions, WritersError> {
        let mut partitions = partitions.to_vec();
        partitions.sort_unstable();
        partitions.dedup();
        if partitions.is_empty() {
            return Ok(Positions::new());
        }
        let proof = proofs::join(&self.0, partitions, Instant::now() + timeout);
        tokio::time::timeout(timeout, proof)
            .await
            .unwrap_or(Err(WritersError::TimedOut))
    }
}

impl Inner {
    /// One request for a proof.
    async fn prove(
        &self,
        partitions: &[TopicPartition],
        deadline: Instant,
    ) -> Result<Positions, WritersError> {
        let proven: Positions = self
            .instances
            .ask(internal::PROOFS, &partitions, deadline)
            .await?;
        if partitions
            .iter()
            .all(|partition| proven.get(*partition).is_some())
        {
            Ok(proven)
        } else {
            Err(WritersError::Unreadable("it lacks a partition".to_owned()))
        }
    }
}
