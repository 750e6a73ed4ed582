//! The log as a stranger sees it: reading by the rule, and producing what is not ours.

use std::time::Duration;

use eventlog::{
    Chain, Checkpoint, LogConfig, LogReader, LogRecord, NewRecord, PlainReader, PlainRecord, PlainTopic,
    Topic, TopicPartition, Verdict,
};
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use schemas::Codec;

use crate::components::components;

/// The codec as a service gets it.
pub async fn codec(log: &LogConfig) -> Codec {
    eventlog::registry::load_codec(&components().endpoints().registry_url, &log.prefix, None)
        .await
        .expect("the schemas are registered")
}

/// Every record of a partition up to its end now, and which of them count.
pub fn effective(log: &LogConfig, partition: TopicPartition) -> Vec<(LogRecord, Verdict)> {
    let mut reader = LogReader::new(log, "test").expect("a reader can be made");
    let (_, end) = reader
        .watermarks(partition, Duration::from_secs(10))
        .expect("Kafka answers");
    reader.assign(&[(partition, 0)]).expect("a partition can be read");
    let mut chain = Chain::from(Checkpoint::BEGINNING);
    let mut records = Vec::new();
    while chain.checkpoint().next_offset < end {
        let polled = reader.poll(Duration::from_secs(20)).expect("Kafka answers");
        let (_, record) = polled.expect("the record is there");
        let verdict = chain.judge(&record);
        records.push((record, verdict));
    }
    records
}

/// A record to produce, with any headers.
pub struct Produced {
    /// The key.
    pub key: Vec<u8>,
    /// The value.
    pub value: Vec<u8>,
    /// Names and values, in order.
    pub headers: Vec<(&'static str, Vec<u8>)>,
}

impl From<&NewRecord> for Produced {
    fn from(record: &NewRecord) -> Self {
        Self {
            key: record.key.clone(),
            value: record.value.clone(),
            headers: vec![
                ("ce_id", record.event_id.to_string().into_bytes()),
                ("tw_command", record.command.to_vec()),
                ("tw_after", record.after.0.to_vec()),
                ("tw_link", record.link.0.to_vec()),
                ("tw_causes", record.causes.to_vec()),
            ],
        }
    }
}

struct Quiet;

impl rdkafka::ClientContext for Quiet {}

impl ProducerContext for Quiet {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        assert!(result.is_ok(), "the record is delivered");
    }
}

fn producer(log: &LogConfig) -> ThreadedProducer<Quiet> {
    ClientConfig::new()
        .set("bootstrap.servers", &log.bootstrap)
        .set("acks", "all")
        .create_with_context(Quiet)
        .expect("a producer can be made")
}

fn send(producer: &ThreadedProducer<Quiet>, message: BaseRecord<'_, [u8], [u8]>) {
    producer
        .send(message)
        .map_err(|(error, _)| error)
        .expect("the producer takes it");
}

/// Appends records that no writer of ours made.
pub fn produce(log: &LogConfig, partition: TopicPartition, records: &[Produced]) {
    let producer = producer(log);
    let topic = partition.topic.name(&log.prefix);
    for record in records {
        let headers = record
            .headers
            .iter()
            .fold(OwnedHeaders::new(), |headers, (key, value)| {
                headers.insert(Header {
                    key,
                    value: Some(value),
                })
            });
        let message = BaseRecord::to(&topic)
            .partition(partition.partition)
            .key(record.key.as_slice())
            .payload(record.value.as_slice());
        send(&producer, message.headers(headers));
    }
    producer
        .flush(Duration::from_secs(20))
        .expect("Kafka takes the records");
}

/// Appends a record to a topic that is no chain.
pub fn produce_plain(log: &LogConfig, topic: PlainTopic, partition: i32, key: &[u8], value: &[u8]) {
    let producer = producer(log);
    let topic = topic.name(&log.prefix);
    send(
        &producer,
        BaseRecord::to(&topic)
            .partition(partition)
            .key(key)
            .payload(value),
    );
    producer
        .flush(Duration::from_secs(20))
        .expect("Kafka takes the record");
}

/// All that a partition of a topic holds that is no chain.
pub fn read_plain(log: &LogConfig, topic: PlainTopic, partition: i32) -> Vec<PlainRecord> {
    let mut reader = PlainReader::new(log, topic, "test").expect("a reader can be made");
    let end = reader
        .end(partition, Duration::from_secs(10))
        .expect("Kafka answers");
    reader.assign(&[(partition, 0)]).expect("a partition can be read");
    let mut records: Vec<PlainRecord> = Vec::new();
    while records.last().map_or(0, |record| record.offset + 1) < end {
        let polled = reader.poll(Duration::from_secs(20)).expect("Kafka answers");
        records.push(polled.expect("the record is there"));
    }
    records
}

/// A partition of a topic.
pub const fn partition(topic: Topic, partition: i32) -> TopicPartition {
    TopicPartition { topic, partition }
}
