//! What the pipeline is compared with on Kafka's side: a bare producer, and Kafka's own performance tool.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use rdkafka::{
    ClientConfig, ClientContext,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    message::DeliveryResult,
    producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer},
};

use super::{
    drive::TIMER_LATE,
    requests::RECORD_BYTES,
    rig::{PARTITIONS, Rig},
};
use crate::load::Latencies;

/// How long Kafka may take for what is not measured.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Makes a topic.
pub async fn create_topic(bootstrap: &str, name: &str, partitions: i32) -> anyhow::Result<()> {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", bootstrap).create()?;
    let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(-1));
    let options = AdminOptions::new().operation_timeout(Some(TIMEOUT));
    for created in admin.create_topics([&topic], &options).await? {
        created.map_err(|(name, code)| anyhow::anyhow!("topic {name} cannot be made: {code}"))?;
    }
    Ok(())
}

/// Settings of a bare producer: idempotent, `acks=all`, the same linger as the writers'.
pub fn like_the_writers(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("linger.ms", "1")
        .set("socket.nagle.disable", "true");
    config
}

#[derive(Clone, Default)]
struct Delivered(Arc<Mutex<Reports>>);

#[derive(Default)]
struct Reports {
    latencies: Latencies,
    failed: u64,
}

impl ClientContext for Delivered {}

impl ProducerContext for Delivered {
    /// When it was due; none in the warm-up.
    type DeliveryOpaque = Box<Option<Instant>>;

    fn delivery(&self, result: &DeliveryResult<'_>, due: Self::DeliveryOpaque) {
        let mut reports = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match (result, *due) {
            (Ok(_), Some(due)) => reports.latencies.record(due.elapsed()),
            (Ok(_), None) => {}
            (Err(_), _) => reports.failed += 1,
        }
    }
}

/// How long a bare producer's records take from when they are due to their delivery reports, at so many a second, without
/// those of the warm-up. Runs on this thread.
pub fn paced(
    bootstrap: &str,
    topic: &str,
    per_second: u32,
    warm_up: Duration,
    duration: Duration,
) -> anyhow::Result<Latencies> {
    let delivered = Delivered::default();
    let producer: ThreadedProducer<Delivered> =
        like_the_writers(bootstrap).create_with_context(delivered.clone())?;
    let value = vec![b'x'; RECORD_BYTES];
    // Connections, the producer's id and the partitions' leaders come with the first records, as they did for the service.
    send_paced(&producer, topic, per_second, warm_up, &value, false)?;
    producer.flush(TIMEOUT)?;
    send_paced(&producer, topic, per_second, duration, &value, true)?;
    producer.flush(TIMEOUT)?;
    let reports = delivered.0.lock().unwrap_or_else(PoisonError::into_inner);
    ensure!(
        reports.failed == 0,
        "{} records were not delivered",
        reports.failed
    );
    Ok(reports.latencies.clone())
}

fn send_paced(
    producer: &ThreadedProducer<Delivered>,
    topic: &str,
    per_second: u32,
    duration: Duration,
    value: &[u8],
    measured: bool,
) -> anyhow::Result<()> {
    let begin = Instant::now();
    for index in 0.. {
        let after = Duration::from_secs_f64(f64::from(index) / f64::from(per_second));
        if after >= duration {
            break;
        }
        let mut due = begin + after;
        let early = due.saturating_duration_since(Instant::now());
        if !early.is_zero() {
            std::thread::sleep(early);
            // As in the loops over HTTP: the timer's own lateness is nobody's.
            due = Instant::now().min(due + TIMER_LATE);
        }
        let partition = index % PARTITIONS;
        let key = index.to_string();
        let record = BaseRecord::with_opaque_to(topic, Box::new(measured.then_some(due)))
            .partition(partition)
            .key(&key)
            .payload(value);
        producer
            .send(record)
            .map_err(|(error, _)| error)
            .context("the bare producer refused a record")?;
    }
    Ok(())
}

/// Records a second of `kafka-producer-perf-test`: idempotent, `acks=all`, values of so many bytes and nothing else, its warm-up
/// left out.
pub fn perf_test(
    rig: &Rig,
    topic: &str,
    record_bytes: usize,
    records: usize,
    warm_up: usize,
) -> anyhow::Result<f64> {
    let output = rig
        .kafka_tool("org.apache.kafka.tools.ProducerPerformance")?
        .args(["--topic", topic, "--throughput", "-1"])
        .args(["--record-size", &record_bytes.to_string()])
        .args(["--num-records", &records.to_string()])
        .args(["--warmup-records", &warm_up.to_string()])
        .args(["--bootstrap-server", &rig.log().bootstrap])
        .args(["--command-property", "acks=all", "enable.idempotence=true"])
        .output()
        .context("cannot start Kafka's performance tool")?;
    let said = String::from_utf8_lossy(&output.stdout);
    let figure = last_rate(&said).filter(|_| output.status.success());
    figure.with_context(|| {
        format!(
            "Kafka's performance tool failed ({}):\n{said}{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        )
    })
}

/// The figure of the last line that has one: `… records sent, 312345.6 records/sec (74.4 MB/sec), …`.
fn last_rate(said: &str) -> Option<f64> {
    let line = said.lines().rev().find(|line| line.contains(" records/sec"))?;
    let before = line.split(" records/sec").next()?;
    before.rsplit([' ', ',']).next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tools_last_figure_is_read() {
        let said = "1000 records sent, 99.0 records/sec (1 MB/sec), 2.0 ms avg latency.\n\
            2000000 records sent, 312345.678 records/sec (74.47 MB/sec), 1.2 ms avg latency, 9 ms max latency.\n\n";
        assert_eq!(last_rate(said), Some(312_345.678));
        assert_eq!(last_rate("Exception in thread main"), None);
    }
}
