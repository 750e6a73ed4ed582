//! Appending records: one idempotent producer, many records in flight, a report for each.
//!
//! No transactions: the chain rule needs neither fencing nor leases (see `chain`).

use crossbeam_channel::Sender;
use rdkafka::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Headers as _, Message, OwnedHeaders, ToBytes};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use schemas::Topic;

use crate::config::LogConfig;
use crate::error::LogError;
use crate::plain::PlainTopic;
use crate::positions::TopicPartition;
use crate::record::NewRecord;

/// What became of a record, as far as the client knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Acknowledged by all in-sync replicas, at this offset.
    At(i64),
    /// Anything may have become of it: a timeout, a lost connection, success without an offset, a fatal error.
    Doubt,
}

/// A delivery report: the ticket that the record was sent with, and what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// As given to [`Appender::append`].
    pub ticket: usize,
    /// What became of the record.
    pub outcome: Outcome,
}

struct Reports<R> {
    sink: Sender<R>,
    wrap: fn(Report) -> R,
}

impl<R: Send + 'static> ClientContext for Reports<R> {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(%error, reason, "log.producer.error");
    }
}

impl<R: Send + 'static> ProducerContext for Reports<R> {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: usize) {
        let outcome = match result {
            // A duplicate-sequence answer counts as delivered, but its offset may be unknown.
            Ok(message) if message.offset() >= 0 => Outcome::At(message.offset()),
            Ok(_) => Outcome::Doubt,
            Err((error, _)) => {
                tracing::debug!(%error, ticket, "log.record.doubt");
                Outcome::Doubt
            }
        };
        // A closed sink means that nobody waits any more.
        let _ = self.sink.send((self.wrap)(Report { ticket, outcome }));
    }
}

/// A record for a plain topic.
#[derive(Clone, Copy, Debug)]
pub struct PlainNew<'a> {
    /// Where it goes.
    pub topic: PlainTopic,
    /// Which partition of it.
    pub partition: i32,
    /// Its key.
    pub key: &'a [u8],
    /// Its value.
    pub value: &'a [u8],
    /// Its headers.
    pub headers: &'a [(&'a str, &'a str)],
}

/// Appends records to topics.
pub struct Appender<R: Send + 'static> {
    producer: ThreadedProducer<Reports<R>>,
    names: [String; Topic::ALL.len()],
    prefix: String,
    ce_source: String,
}

impl<R: Send + 'static> Appender<R> {
    /// A producer whose reports go to `sink`, each through `wrap`.
    ///
    /// `timeout_ms` bounds how long a record is tried; then its report says [`Outcome::Doubt`].
    pub fn new(
        config: &LogConfig,
        name: &str,
        timeout_ms: u64,
        sink: Sender<R>,
        wrap: fn(Report) -> R,
    ) -> Result<Self, LogError> {
        let producer = config
            .client(name)
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("message.timeout.ms", timeout_ms.to_string())
            .set("request.timeout.ms", timeout_ms.min(5000).to_string())
            // One request for each partition: a millisecond makes a batch of what would be ten requests, each of which
            // costs the broker and us more than the wait.
            .set("linger.ms", "1")
            .set("batch.num.messages", "10000")
            .set("queue.buffering.max.messages", "200000")
            .set("queue.buffering.max.kbytes", "262144")
            .set("retry.backoff.ms", "20")
            .set("retry.backoff.max.ms", "200")
            .create_with_context(Reports { sink, wrap })?;
        Ok(Self {
            producer,
            names: Topic::ALL.map(|topic| topic.name(&config.prefix)),
            prefix: config.prefix.clone(),
            ce_source: format!("/tailwater/{}", config.prefix),
        })
    }

    /// Sends a record. False where the producer refused it (its queue is full, or it is broken): then no report comes.
    pub fn append(&self, partition: TopicPartition, record: &NewRecord, ticket: usize) -> bool {
        let message = BaseRecord::with_opaque_to(&self.names[usize::from(partition.topic.index())], ticket)
            .partition(partition.partition)
            .key(&record.key)
            .payload(&record.value)
            .headers(record.headers(&self.ce_source));
        self.send(message)
    }

    /// Size of a record in the log, in bytes, without what a batch adds: key, value, and the names and values of its headers.
    pub fn log_bytes(&self, record: &NewRecord) -> usize {
        let headers = record.headers(&self.ce_source);
        let headers = headers
            .iter()
            .map(|header| header.key.len() + header.value.map_or(0, <[u8]>::len));
        record.key.len() + record.value.len() + headers.sum::<usize>()
    }

    /// Sends a record to a plain topic; the same holds.
    pub fn append_plain(&self, record: &PlainNew<'_>, ticket: usize) -> bool {
        let name = record.topic.name(&self.prefix);
        let headers = record.headers.iter().fold(
            OwnedHeaders::new_with_capacity(record.headers.len()),
            |headers, (key, value)| {
                headers.insert(Header {
                    key,
                    value: Some(value.as_bytes()),
                })
            },
        );
        let message = BaseRecord::with_opaque_to(&name, ticket)
            .partition(record.partition)
            .key(record.key)
            .payload(record.value)
            .headers(headers);
        self.send(message)
    }

    fn send<K: ToBytes + ?Sized, V: ToBytes + ?Sized>(&self, message: BaseRecord<'_, K, V, usize>) -> bool {
        match self.producer.send(message) {
            Ok(()) => true,
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => false,
            Err((error, _)) => {
                tracing::warn!(%error, "log.record.refused");
                false
            }
        }
    }

    /// Why this producer can send nothing any more, if so: then a new one must take its place.
    pub fn broken(&self) -> Option<String> {
        self.producer
            .client()
            .fatal_error()
            .map(|(code, reason)| format!("{code}: {reason}"))
    }
}
