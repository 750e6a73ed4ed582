//! Reading partitions: a plain consumer with `assign`, polled on its owner's thread.
//!
//! No consumer group: who reads what is decided elsewhere, and group membership is no lease. No stream consumer either:
//! those have open stalls upstream (rust-rdkafka #840, #665, #738).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use rustc_hash::FxHashMap;
use schemas::Topic;

use crate::config::LogConfig;
use crate::error::LogError;
use crate::introduced::Introduced;
use crate::positions::TopicPartition;
use crate::record::LogRecord;

/// Reads assigned partitions from given offsets on, in order within each partition.
pub struct LogReader {
    consumer: BaseConsumer,
    names: [(Topic, String); Topic::ALL.len()],
    introduced: [Introduced; Topic::ALL.len()],
}

impl LogReader {
    /// A reader with nothing assigned that follows the log. `name` is its client id, for the broker's logs.
    pub fn new(config: &LogConfig, name: &str) -> Result<Self, LogError> {
        // Fetch what is there once the last fetch is taken, not each record as it comes: a fetch costs the broker more than the
        // records in it. Whoever lags gets a megabyte of a partition at once.
        Self::with(config, name, "100", "1")
    }

    /// A reader that is far behind: the next records are fetched while the last ones are taken.
    pub fn far(config: &LogConfig, name: &str) -> Result<Self, LogError> {
        Self::with(config, name, "100", "10000")
    }

    /// A reader whose partitions change often: a new assignment is not fetched before the broker has answered the
    /// fetch of the old one, which waits for records that long.
    pub fn hopping(config: &LogConfig, name: &str) -> Result<Self, LogError> {
        Self::with(config, name, "5", "1")
    }

    /// How long the broker may wait for records, and how many of a partition are to lie ready.
    fn with(config: &LogConfig, name: &str, fetch_wait_ms: &str, ready: &str) -> Result<Self, LogError> {
        let consumer = config
            .client(name)
            // Not used, but the client insists on one.
            .set("group.id", format!("{}.{name}", config.prefix))
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("enable.partition.eof", "false")
            // The chain has no transactions in it; read as fast as records are there.
            .set("isolation.level", "read_uncommitted")
            .set("fetch.wait.max.ms", fetch_wait_ms)
            .set("fetch.error.backoff.ms", "50")
            .set("queued.min.messages", ready)
            .set("fetch.queue.backoff.ms", "1")
            .set("queued.max.messages.kbytes", "65536")
            .create()?;
        Ok(Self {
            consumer,
            names: Topic::ALL.map(|topic| (topic, topic.name(&config.prefix))),
            introduced: Default::default(),
        })
    }

    fn name(&self, topic: Topic) -> &str {
        &self.names[usize::from(topic.index())].1
    }

    /// Replaces what is read: each partition from its offset on. What was fetched of those before is thrown away.
    pub fn assign(&mut self, partitions: &[(TopicPartition, i64)]) -> Result<(), LogError> {
        self.introduce(partitions);
        self.consumer.assign(&self.list(partitions)?)?;
        Ok(())
    }

    /// Reads these partitions as well, each from its offset on; none of them may be read already. The others go on undisturbed.
    pub fn add(&mut self, partitions: &[(TopicPartition, i64)]) -> Result<(), LogError> {
        self.introduce(partitions);
        self.consumer.incremental_assign(&self.list(partitions)?)?;
        Ok(())
    }

    /// Reads these partitions no more; each of them must be read. The others go on undisturbed.
    pub fn remove(&mut self, partitions: &[TopicPartition]) -> Result<(), LogError> {
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for partition in partitions {
            list.add_partition(self.name(partition.topic), partition.partition);
        }
        self.consumer.incremental_unassign(&list)?;
        Ok(())
    }

    fn introduce(&mut self, partitions: &[(TopicPartition, i64)]) {
        for (topic, name) in &self.names {
            if partitions.iter().any(|(partition, _)| partition.topic == *topic) {
                self.introduced[usize::from(topic.index())].introduce(&self.consumer, name);
            }
        }
    }

    fn list(&self, partitions: &[(TopicPartition, i64)]) -> Result<TopicPartitionList, LogError> {
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for (partition, offset) in partitions {
            list.add_partition_offset(
                self.name(partition.topic),
                partition.partition,
                Offset::Offset(*offset),
            )?;
        }
        Ok(list)
    }

    /// The next record of any assigned partition, or none within the timeout.
    pub fn poll(&mut self, timeout: Duration) -> Result<Option<(TopicPartition, LogRecord)>, LogError> {
        let message = match self.consumer.poll(timeout) {
            None => return Ok(None),
            Some(Ok(message)) => message,
            Some(Err(error)) => return Err(self.explain(error)),
        };
        let Some((topic, _)) = self.names.iter().find(|(_, name)| name == message.topic()) else {
            return Ok(None);
        };
        let partition = TopicPartition {
            topic: *topic,
            partition: message.partition(),
        };
        Ok(Some((partition, LogRecord::from_message(&message))))
    }

    fn explain(&self, error: KafkaError) -> LogError {
        if matches!(
            error,
            KafkaError::MessageConsumption(
                RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange
            )
        ) {
            return LogError::OffsetOutOfRange {
                topic: self.names[0].1.clone(),
                partition: -1,
                offset: -1,
            };
        }
        error.into()
    }

    /// The first offset that is there and the one that the next record will get, as the broker says now.
    pub fn watermarks(&self, partition: TopicPartition, timeout: Duration) -> Result<(i64, i64), LogError> {
        let name = self.name(partition.topic);
        let asked = self.consumer.fetch_watermarks(name, partition.partition, timeout);
        match asked {
            // The client remembers that a broker that had just started knew no leader, and does not ask again by itself as
            // long as nothing is assigned.
            Err(KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownPartition)) => {
                self.consumer.fetch_metadata(Some(name), timeout)?;
                Ok(self
                    .consumer
                    .fetch_watermarks(name, partition.partition, timeout)?)
            }
            asked => Ok(asked?),
        }
    }

    /// The offset that the next record of each of these partitions will get, as the brokers say now: one request to each broker.
    pub fn ends(
        &self,
        partitions: impl IntoIterator<Item = TopicPartition>,
        timeout: Duration,
    ) -> Result<BTreeMap<TopicPartition, i64>, LogError> {
        let mut asked = TopicPartitionList::new();
        for partition in partitions {
            // Where a time is expected, this one stands for the latest offset (KIP-79).
            asked.add_partition_offset(self.name(partition.topic), partition.partition, Offset::End)?;
        }
        if asked.count() == 0 {
            return Ok(BTreeMap::new());
        }
        let answered = self.consumer.offsets_for_times(asked, timeout)?;
        let mut ends = BTreeMap::new();
        for (topic, name) in &self.names {
            for found in answered.elements_for_topic(name) {
                found.error()?;
                let Offset::Offset(end) = found.offset() else {
                    return Err(LogError::Kafka(KafkaError::OffsetFetch(
                        RDKafkaErrorCode::NoOffset,
                    )));
                };
                let (topic, partition) = (*topic, found.partition());
                ends.insert(TopicPartition { topic, partition }, end);
            }
        }
        Ok(ends)
    }

    /// The records at one offset of each partition; those that are there. Replaces what is assigned.
    pub fn fetch_each(
        &mut self,
        wanted: &[(TopicPartition, i64)],
        timeout: Duration,
    ) -> Result<FxHashMap<TopicPartition, LogRecord>, LogError> {
        let deadline = Instant::now() + timeout;
        let mut missing = FxHashMap::default();
        for (partition, offset) in wanted {
            let (low, high) = self.watermarks(*partition, timeout)?;
            if (low..high).contains(offset) {
                missing.insert(*partition, *offset);
            }
        }
        let there: Vec<_> = missing
            .iter()
            .map(|(partition, offset)| (*partition, *offset))
            .collect();
        self.assign(&there)?;
        let mut found = FxHashMap::default();
        while !missing.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(LogError::Kafka(KafkaError::MessageConsumption(
                    RDKafkaErrorCode::OperationTimedOut,
                )));
            }
            // The first record of each is at the offset, or behind it where there is none.
            if let Some((partition, record)) = self.poll(left)?
                && let Some(offset) = missing.remove(&partition)
                && record.offset == offset
            {
                found.insert(partition, record);
            }
        }
        Ok(found)
    }

    /// The one record at an offset, or none where the log has none there. Replaces what is assigned.
    pub fn fetch_one(
        &mut self,
        partition: TopicPartition,
        offset: i64,
        timeout: Duration,
    ) -> Result<Option<LogRecord>, LogError> {
        let deadline = Instant::now() + timeout;
        let (low, high) = self.watermarks(partition, timeout)?;
        if offset < low || offset >= high {
            return Ok(None);
        }
        self.assign(&[(partition, offset)])?;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(LogError::Kafka(KafkaError::MessageConsumption(
                    RDKafkaErrorCode::OperationTimedOut,
                )));
            }
            if let Some((from, record)) = self.poll(left)?
                && from == partition
            {
                return Ok((record.offset == offset).then_some(record));
            }
        }
    }
}
