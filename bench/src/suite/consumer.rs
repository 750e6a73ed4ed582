//! The least that reading the log takes: a bare consumer that looks at no record.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use eventlog::{LogConfig, Topic};
use rdkafka::{
    ClientConfig, Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
};

/// How long Kafka may take for the next record.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A consumer with the settings of those that read from far behind. `wait_ms` is how long the broker may wait for records.
pub fn bare(bootstrap: &str, wait_ms: &str) -> anyhow::Result<BaseConsumer> {
    let consumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("socket.nagle.disable", "true")
        // Not used, but the client insists on one.
        .set("group.id", "bench-bare")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("isolation.level", "read_uncommitted")
        .set("fetch.wait.max.ms", wait_ms)
        .set("queued.min.messages", "10000")
        .set("queued.max.messages.kbytes", "65536")
        .create()?;
    Ok(consumer)
}

/// Reads all event topics from their beginning to their end, on this thread, while nobody writes to them; how long that took, without
/// connecting.
pub fn read_everything(log: &LogConfig, partitions: i32) -> anyhow::Result<Duration> {
    let consumer = bare(&log.bootstrap, "100")?;
    let mut from = TopicPartitionList::new();
    let mut records = 0;
    for topic in Topic::ALL.map(|topic| topic.name(&log.prefix)) {
        for partition in 0..partitions {
            let (begin, end) = consumer.fetch_watermarks(&topic, partition, TIMEOUT)?;
            from.add_partition_offset(&topic, partition, Offset::Offset(begin))?;
            records += end - begin;
        }
    }
    let begun = Instant::now();
    consumer.assign(&from)?;
    for _ in 0..records {
        let polled = consumer.poll(TIMEOUT);
        let record = polled.context("the log cannot be read to its end")??;
        ensure!(record.offset() >= 0, "a record without an offset");
    }
    Ok(begun.elapsed())
}
