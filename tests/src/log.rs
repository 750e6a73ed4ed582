//! The log as a stranger sees it: reading by the rule, and producing what is not ours.

use std::time::Duration;

use eventlog::{
    Chain, Checkpoint, LogConfig, LogReader, LogRecord, NewRecord, Topic, TopicPartition, Verdict,
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
                ("tw_causes", record.causes.clone()),
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

/// Appends records that no writer of ours made.
pub fn produce(log: &LogConfig, partition: TopicPartition, records: &[Produced]) {
    let producer: ThreadedProducer<Quiet> = ClientConfig::new()
        .set("bootstrap.servers", &log.bootstrap)
        .set("acks", "all")
        .create_with_context(Quiet)
        .expect("a producer can be made");
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
            .key(&record.key)
            .payload(&record.value);
        producer
            .send(message.headers(headers))
            .map_err(|(error, _)| error)
            .expect("the producer takes it");
    }
    producer
        .flush(Duration::from_secs(20))
        .expect("Kafka takes the records");
}

/// A partition of a topic.
pub const fn partition(topic: Topic, partition: i32) -> TopicPartition {
    TopicPartition { topic, partition }
}
