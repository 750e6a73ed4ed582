//! What a reader makes of a record: a step of its partition.

use eventlog::{Checkpoint, Positions, TopicPartition};
use schemas::{OrderEvent, StockEvent, Timestamp};

/// What a record does to the views.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Nothing: void, a refusal, a barrier.
    None,
    /// Changes an order.
    Order(Box<OrderEvent>, Positions),
    /// Changes stock.
    Stock(Box<StockEvent>, Positions),
    /// It counts, and cannot be decoded. The partition stops before it.
    Poison(String),
}

/// One record of a partition, judged and decoded.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) partition: TopicPartition,
    /// Where the partition stands after it.
    pub(crate) checkpoint: Checkpoint,
    /// When the event occurred, for the delay.
    pub(crate) occurred_at: Option<Timestamp>,
    pub(crate) effect: Effect,
}

/// What was there at once.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    pub(crate) steps: Vec<Step>,
    /// Size of the records, about.
    pub(crate) bytes: usize,
}
