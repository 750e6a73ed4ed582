//! What services ask the command service of the writers: paths and bodies, in one place for whoever asks and whoever answers.
//!
//! It is no part of the API: only services may ask it. What it does not do: ask, answer, or say who may.

use serde::{Deserialize, Serialize};

use crate::{Positions, Topic, TopicPartition};

/// `POST`: proves how far partitions' histories go. From a list of [`TopicPartition`] to [`Positions`].
pub const PROOFS: &str = "/internal/v1/proofs";

/// `POST`: reads an aggregate as its writer has folded it. From [`AggregateQuestion`] to [`AggregateAnswer`].
pub const AGGREGATES: &str = "/internal/v1/aggregates";

/// Header: how long whoever asks waits for the answer, in milliseconds.
pub const TIMEOUT_MS: &str = "tw-timeout-ms";

/// As many partitions can be asked for at once.
pub const PARTITIONS_MAX: usize = 4096;

/// What is wanted to be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AggregateQuestion {
    /// Where its events are.
    pub topic: Topic,
    /// Its key there: the order's id or the SKU.
    pub key: String,
    /// Its partition folded at least up to (not including) this offset.
    pub at_least: i64,
}

/// An aggregate as its writer has folded it. Nothing that is not acknowledged is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AggregateAnswer<S> {
    /// Its state; none where there is no such aggregate.
    pub state: Option<S>,
    /// Its partition.
    pub partition: TopicPartition,
    /// How far that is folded: the first offset that is not.
    pub next_offset: i64,
    /// What its events depend on.
    pub causes: Positions,
}
