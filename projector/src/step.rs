//! What a reader makes of a record: a step of its partition.

use eventlog::{Checkpoint, Positions, TopicPartition};
use schemas::{OrderEvent, StockEvent, Timestamp};
use uuid::Uuid;

/// What goes with an order's event into the history.
#[derive(Debug, Default)]
pub(crate) struct Origin {
    /// The command that it answers.
    pub(crate) command_id: Uuid,
    /// What it depends on.
    pub(crate) causes: Positions,
}

/// What a record does to the views.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Nothing: void, a refusal, a barrier.
    None,
    /// Changes an order.
    Order(Box<OrderEvent>, Origin),
    /// Changes stock.
    Stock(Box<StockEvent>, Positions),
    /// It counts, and cannot be decoded. The partition stops before it.
    Poison(String),
}

/// One record of a partition, judged and decoded.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) partition: TopicPartition,
    pub(crate) offset: i64,
    /// Where the partition stands after it; before it, where it is poison.
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

/// Steps for tests: partitions of effective records whose links are told from their offsets.
#[cfg(test)]
pub(crate) mod samples {
    use eventlog::{Link, Topic};

    use super::*;

    pub(crate) const A: TopicPartition = TopicPartition {
        topic: Topic::Orders,
        partition: 0,
    };
    pub(crate) const B: TopicPartition = TopicPartition {
        topic: Topic::Stock,
        partition: 1,
    };

    /// Where a partition stands before an offset.
    pub(crate) fn before(offset: i64) -> Checkpoint {
        let mut link = [0; 16];
        link[8..].copy_from_slice(&offset.to_be_bytes());
        Checkpoint {
            next_offset: offset,
            last_offset: offset - 1,
            link: Link(link),
        }
    }

    pub(crate) fn step(partition: TopicPartition, offset: i64) -> Step {
        Step {
            partition,
            offset,
            checkpoint: before(offset + 1),
            occurred_at: None,
            effect: Effect::None,
        }
    }

    pub(crate) fn poison(partition: TopicPartition, offset: i64) -> Step {
        Step {
            checkpoint: before(offset),
            effect: Effect::Poison("unknown schema".to_owned()),
            ..step(partition, offset)
        }
    }

    pub(crate) const fn chunk(steps: Vec<Step>, bytes: usize) -> Chunk {
        Chunk { steps, bytes }
    }
}
