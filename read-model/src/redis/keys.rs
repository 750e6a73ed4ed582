//! Names of keys. Nobody else makes any.

use std::fmt::Display;

use eventlog::{Topic, TopicPartition};
use uuid::Uuid;

use crate::MODEL_VERSION;

/// Makes keys under a prefix.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    prefix: String,
}

impl Keys {
    pub(crate) fn new(prefix: &str) -> Self {
        Self {
            prefix: format!("{prefix}:{MODEL_VERSION}"),
        }
    }

    fn slot(&self, partition: TopicPartition, rest: &str, id: impl Display) -> String {
        format!(
            "{{{}:{}:{}}}:{rest}{id}",
            self.prefix,
            partition.topic.index(),
            partition.partition
        )
    }

    pub(crate) fn watermark(&self, partition: TopicPartition) -> String {
        self.slot(partition, "wm", "")
    }

    pub(crate) fn order(&self, partition: i32, order_id: Uuid) -> String {
        self.slot(
            TopicPartition {
                topic: Topic::Orders,
                partition,
            },
            "order:",
            order_id,
        )
    }

    pub(crate) fn stock(&self, partition: i32, sku: &str) -> String {
        self.slot(
            TopicPartition {
                topic: Topic::Stock,
                partition,
            },
            "stock:",
            sku,
        )
    }

    /// A pattern for the documents of a partition, without its watermark.
    pub(crate) fn documents(&self, partition: TopicPartition) -> String {
        match partition.topic {
            Topic::Orders => self.slot(partition, "order:", "*"),
            Topic::Stock => self.slot(partition, "stock:", "*"),
        }
    }

    /// Which log the model is made from.
    pub(crate) fn deployment(&self) -> String {
        format!("{}:deployment", self.prefix)
    }
}
