//! A consumer's first look at a topic.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};

/// How long the broker may take to describe a topic.
const TIMEOUT: Duration = Duration::from_millis(500);

/// After so long it is asked again: well before the client forgets what it knows of a topic that it does not read
/// (`metadata.max.age.ms`, 15 minutes).
const STAYS: Duration = Duration::from_mins(5);

/// Whether a consumer knows who leads the partitions of a topic.
///
/// One that does not, and is to read them, finds out for itself only when it next looks through its topics, which it does once a
/// second (`rd_kafka_topic_scan_all` in librdkafka). A writer that has to read a few records before it goes on would wait for that.
#[derive(Debug, Default)]
pub(crate) struct Introduced(Option<Instant>);

impl Introduced {
    /// Asks who leads, unless that is known. Where nobody answers, it is left to the consumer.
    pub fn introduce<C: ConsumerContext>(&mut self, consumer: &BaseConsumer<C>, topic: &str) {
        if self.0.is_some_and(|at| at.elapsed() < STAYS) {
            return;
        }
        match consumer.fetch_metadata(Some(topic), TIMEOUT) {
            Ok(_) => self.0 = Some(Instant::now()),
            Err(error) => tracing::debug!(topic, %error, "log.topic.describe"),
        }
    }
}
