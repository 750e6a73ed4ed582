//! The least that reading the log takes: a bare consumer that looks at no record.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use eventlog::{LogConfig, Topic};
use rdkafka::{
    ClientConfig, Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
};

use super::rig::{PARTITIONS, Rig};

/// How long Kafka may take for the next record.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A consumer with the settings of those that read from far behind.
pub fn bare(bootstrap: &str) -> anyhow::Result<BaseConsumer> {
    let consumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("socket.nagle.disable", "true")
        // Not used, but the client insists on one.
        .set("group.id", "bench-bare")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("isolation.level", "read_uncommitted")
        .set("fetch.wait.max.ms", "100")
        .set("queued.min.messages", "10000")
        .set("queued.max.messages.kbytes", "65536")
        .create()?;
    Ok(consumer)
}

/// Reads all event topics from their beginning to their end, while nobody writes to them; how long that took, without connecting.
pub async fn read_everything(rig: &Rig) -> anyhow::Result<Duration> {
    let log = rig.log();
    let reading = tokio::task::spawn_blocking(move || read(&log));
    reading.await.context("a bare consumer panicked")?
}

fn read(log: &LogConfig) -> anyhow::Result<Duration> {
    let consumer = bare(&log.bootstrap)?;
    let mut from = TopicPartitionList::new();
    let mut records = 0;
    for topic in Topic::ALL.map(|topic| topic.name(&log.prefix)) {
        for partition in 0..PARTITIONS {
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
