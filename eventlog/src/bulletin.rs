//! The cluster topic as a bulletin board: one partition, compacted, the last entry under a key is what counts.
//!
//! No chain and no positions here: what is on the board is about now, and nothing is decided by it that the chain does not check.

use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::{Offset, TopicPartitionList};

use crate::config::LogConfig;
use crate::error::LogError;
use crate::introduced::Introduced;

/// Records from the end of the board at which reading begins at the earliest: whoever is there puts up a new entry every moment, so
/// compaction that lags must not make a start slow.
const LOOK_BACK_RECORDS: i64 = 2_000;

fn topic(config: &LogConfig) -> String {
    format!("{}.cluster", config.prefix)
}

/// Says once that entries do not get through, and once that they do again.
#[derive(Default)]
struct Deliveries {
    failing: std::sync::atomic::AtomicBool,
}

impl ClientContext for Deliveries {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "log.bulletin.producer");
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &rdkafka::message::DeliveryResult<'_>, (): ()) {
        let failed = result.as_ref().err().map(|(error, _)| error);
        let was = self
            .failing
            .swap(failed.is_some(), std::sync::atomic::Ordering::Relaxed);
        match failed {
            Some(error) if !was => tracing::warn!(%error, "log.bulletin.post: entries are lost for now"),
            None if was => tracing::info!("log.bulletin.post: entries get through again"),
            _ => {}
        }
    }
}

/// Puts entries on the board.
pub struct BulletinWriter {
    producer: BaseProducer<Deliveries>,
    topic: String,
}

impl BulletinWriter {
    /// A writer. It waits for nobody: an entry that does not get through in a second is dropped, as the next one says more.
    pub fn new(config: &LogConfig) -> Result<Self, LogError> {
        let producer = config
            .client("cluster-writer")
            .set("acks", "1")
            // In order: an entry that is sent again must not come after the one that replaces it.
            .set("max.in.flight.requests.per.connection", "1")
            .set("message.timeout.ms", "1000")
            .set("request.timeout.ms", "1000")
            .set("linger.ms", "0")
            .set("queue.buffering.max.messages", "1000")
            .set("retry.backoff.ms", "20")
            .create_with_context(Deliveries::default())?;
        Ok(Self {
            producer,
            topic: topic(config),
        })
    }

    /// Puts up an entry, or takes it down. Does not wait.
    pub fn post(&self, key: &[u8], value: Option<&[u8]>) -> Result<(), LogError> {
        let mut record = BaseRecord::to(&self.topic).partition(0).key(key);
        if let Some(value) = value {
            record = record.payload(value);
        }
        let sent = self.producer.send(record).map_err(|(error, _)| error);
        self.producer.poll(Duration::ZERO);
        Ok(sent?)
    }

    /// Lets the client see to its delivery reports. To be called often.
    pub fn tend(&self) {
        self.producer.poll(Duration::ZERO);
    }

    /// Waits until what was posted is up, or the time is over.
    pub fn flush(&self, timeout: Duration) -> Result<(), LogError> {
        Ok(self.producer.flush(timeout)?)
    }
}

/// What the board says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bulletin {
    /// An entry was put up, or taken down where it has no value.
    Entry {
        /// Its key.
        key: Vec<u8>,
        /// What it says.
        value: Option<Vec<u8>>,
    },
    /// All that was up when reading began has been told.
    CaughtUp,
}

/// The end of the board is no error.
struct EndIsNoError;

impl ClientContext for EndIsNoError {
    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::PartitionEOF) {
            tracing::warn!(%error, reason, "cluster.reader.error");
        }
    }
}

impl ConsumerContext for EndIsNoError {}

/// Reads the board: what is up, then what is put up.
pub struct BulletinReader {
    consumer: BaseConsumer<EndIsNoError>,
    topic: String,
    introduced: Introduced,
    assigned: bool,
    caught_up: bool,
}

impl BulletinReader {
    /// A reader. Kafka need not be there yet, but a client that is made before Kafka is there may take a minute to find it.
    pub fn new(config: &LogConfig) -> Result<Self, LogError> {
        let consumer: BaseConsumer<EndIsNoError> = config
            .client("cluster-reader")
            // Not used, but the client insists on one.
            .set("group.id", format!("{}.cluster-reader", config.prefix))
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            // A board that was made anew is read from its beginning.
            .set("auto.offset.reset", "earliest")
            .set("enable.partition.eof", "true")
            .set("fetch.wait.max.ms", "100")
            .set("fetch.error.backoff.ms", "50")
            .set("queued.max.messages.kbytes", "4096")
            .create_with_context(EndIsNoError)?;
        Ok(Self {
            consumer,
            topic: topic(config),
            introduced: Introduced::default(),
            assigned: false,
            caught_up: false,
        })
    }

    /// Begins to read, from the end backwards, as the consumer finds out for itself: to ask for watermarks would be to wait for
    /// Kafka.
    fn begin(&mut self) -> Result<(), LogError> {
        let mut list = TopicPartitionList::with_capacity(1);
        list.add_partition_offset(&self.topic, 0, Offset::OffsetTail(LOOK_BACK_RECORDS))?;
        self.consumer.assign(&list)?;
        self.assigned = true;
        Ok(())
    }

    /// What comes next, or none within the timeout.
    ///
    /// # Errors
    /// All are transient: try again after a moment.
    pub fn poll(&mut self, timeout: Duration) -> Result<Option<Bulletin>, LogError> {
        if !self.caught_up {
            self.introduced.introduce(&self.consumer, &self.topic);
        }
        // Not before: a client that has to look for the end of what nobody leads, as far as it knows, tries again after half a
        // second (`rd_kafka_toppar_offset_request` in librdkafka).
        if !self.assigned {
            self.begin()?;
        }
        match self.consumer.poll(timeout) {
            None => Ok(None),
            Some(Ok(message)) => Ok(message.key().map(|key| Bulletin::Entry {
                key: key.to_vec(),
                value: message.payload().map(<[u8]>::to_vec),
            })),
            Some(Err(KafkaError::PartitionEOF(_))) => {
                let first = !self.caught_up;
                self.caught_up = true;
                Ok(first.then_some(Bulletin::CaughtUp))
            }
            Some(Err(error)) => Err(error.into()),
        }
    }
}
