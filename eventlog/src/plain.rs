//! Topics that are no chain: commands that wait, and dead letters. Their records are keys and values, nothing more is judged.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};

use crate::config::LogConfig;
use crate::error::LogError;
use crate::introduced::Introduced;

/// A topic beside the event topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlainTopic {
    /// `<prefix>.commands`: accepted commands, partitioned like the events of their aggregates.
    Commands,
    /// `<prefix>.dead-letters`: what could not be read, one partition.
    DeadLetters,
}

impl PlainTopic {
    /// The topic's name under a prefix.
    pub fn name(self, prefix: &str) -> String {
        match self {
            Self::Commands => format!("{prefix}.commands"),
            Self::DeadLetters => format!("{prefix}.dead-letters"),
        }
    }
}

/// A record as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlainRecord {
    /// Its partition.
    pub partition: i32,
    /// Its offset in the partition.
    pub offset: i64,
    /// Empty where there is none.
    pub key: Vec<u8>,
    /// Empty where there is none.
    pub value: Vec<u8>,
}

/// Reads assigned partitions of a plain topic from given offsets on, in order within each partition.
pub struct PlainReader {
    consumer: BaseConsumer,
    topic: String,
    introduced: Introduced,
}

impl PlainReader {
    /// A reader with nothing assigned. `name` is its client id, for the broker's logs.
    pub fn new(config: &LogConfig, topic: PlainTopic, name: &str) -> Result<Self, LogError> {
        let consumer = config
            .client(name)
            // Not used, but the client insists on one.
            .set("group.id", format!("{}.{name}", config.prefix))
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest")
            .set("isolation.level", "read_uncommitted")
            .set("fetch.wait.max.ms", "100")
            .set("fetch.error.backoff.ms", "50")
            .set("queued.max.messages.kbytes", "16384")
            .create()?;
        Ok(Self {
            consumer,
            topic: topic.name(&config.prefix),
            introduced: Introduced::default(),
        })
    }

    /// Replaces what is read: each partition from its offset on.
    pub fn assign(&mut self, partitions: &[(i32, i64)]) -> Result<(), LogError> {
        if !partitions.is_empty() {
            self.introduced.introduce(&self.consumer, &self.topic);
        }
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for (partition, offset) in partitions {
            list.add_partition_offset(&self.topic, *partition, Offset::Offset(*offset))?;
        }
        self.consumer.assign(&list)?;
        Ok(())
    }

    /// The next record of any assigned partition, or none within the timeout.
    pub fn poll(&mut self, timeout: Duration) -> Result<Option<PlainRecord>, LogError> {
        let message = match self.consumer.poll(timeout) {
            None => return Ok(None),
            Some(Ok(message)) => message,
            Some(Err(error)) => return Err(error.into()),
        };
        Ok(Some(PlainRecord {
            partition: message.partition(),
            offset: message.offset(),
            key: message.key().unwrap_or_default().to_vec(),
            value: message.payload().unwrap_or_default().to_vec(),
        }))
    }

    /// The offset that the next record of a partition will get, as the broker says now.
    pub fn end(&self, partition: i32, timeout: Duration) -> Result<i64, LogError> {
        let (_, high) = self.consumer.fetch_watermarks(&self.topic, partition, timeout)?;
        Ok(high)
    }
}
