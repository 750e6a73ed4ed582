//! Writers by number: all partitions of one topic, then all of the next.

use domain::Command;
use eventlog::{Topic, TopicPartition, partition_of};
use uuid::Uuid;

/// How many writers there are.
pub fn slot_count(partitions: i32) -> usize {
    Topic::ALL.len() * usize::try_from(partitions).unwrap_or(0)
}

/// The number of a partition's writer.
pub(crate) fn slot_of(partition: TopicPartition, partitions: i32) -> usize {
    let index = i32::from(partition.topic.index()) * partitions + partition.partition;
    usize::try_from(index).unwrap_or(usize::MAX)
}

/// The partition of a writer.
pub(crate) fn partition_at(slot: usize, partitions: i32) -> TopicPartition {
    let per_topic = usize::try_from(partitions).unwrap_or(1).max(1);
    let topic = Topic::ALL[slot / per_topic];
    TopicPartition {
        topic,
        partition: i32::try_from(slot % per_topic).unwrap_or(0),
    }
}

/// The partition that a command belongs to.
pub(crate) fn partition_for(command: &Command, partitions: i32) -> TopicPartition {
    let target = command.target();
    TopicPartition {
        topic: target.topic,
        partition: partition_of(target.key.as_bytes(), partitions),
    }
}

/// The number of the writer that an order belongs to.
pub(crate) fn order_slot(order_id: Uuid, partitions: i32) -> usize {
    let partition = TopicPartition {
        topic: Topic::Orders,
        partition: partition_of(order_id.to_string().as_bytes(), partitions),
    };
    slot_of(partition, partitions)
}
