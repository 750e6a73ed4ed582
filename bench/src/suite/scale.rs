//! `scale`: commands a second and memory of the command service by how many aggregates there are, from ten thousand to ten
//! million, and by how many connections. An aggregate is a SKU of which stock was received once; a command receives more of a random one.

use std::{sync::Arc, time::Duration};

use anyhow::ensure;
use eventlog::{
    Appender, Link, LogConfig, NewRecord, Outcome, Positions, Report, Topic, TopicPartition, partition_of,
    topics,
};
use schemas::{Codec, Event, StockEvent, Timestamp, ids, stock::StockReceived};
use serde_json::json;
use uuid::Uuid;

use super::{
    drive::{Arrivals, Load, drive},
    report::{Figure, Finding, Goal},
    rig::{PARTITIONS, Rig, resident_mib},
};
use crate::load::{Request, Target};

/// Aggregates, step by step.
const AGGREGATES: [usize; 4] = [10_000, 100_000, 1_000_000, 10_000_000];
/// Up to here commands are to be as fast as with the fewest.
const FLAT_UPTO: usize = 1_000_000;
/// Partitions' worth of connections, and what one is.
const PARTITIONS_WORTH: [usize; 4] = [1, 2, 4, 8];
const CONNECTIONS_EACH: usize = 32;
const SERVICE: &str = "command-service-1";
/// Records under way to Kafka.
const IN_FLIGHT_MAX: usize = 50_000;
const TIMEOUT: Duration = Duration::from_secs(30);
/// How long the service may take to fold the largest log.
const FOLDED_WITHIN: Duration = Duration::from_mins(4);

/// Runs it.
pub async fn run(rig: &Rig) -> anyhow::Result<Finding> {
    let (mut rates, mut memory): (Vec<Vec<f64>>, Vec<f64>) = (Vec::new(), Vec::new());
    for count in AGGREGATES {
        let count = rig.pace.count(count);
        // Topics of its own: nobody else may write where the service did.
        let prefix = format!("scale-{count}");
        rig.deploy(&prefix, PARTITIONS)?;
        receive(rig, &prefix, count).await?;
        let services = rig.plan(1, 0, &prefix)?;
        services.launch(SERVICE)?;
        rig.until_ready(&services, SERVICE, FOLDED_WITHIN)?;
        let target = Target::new(&services.command_urls()[0])?;
        let mut of_step = Vec::new();
        for worth in PARTITIONS_WORTH {
            of_step.push(commands(rig, &target, count, worth * CONNECTIONS_EACH).await?);
        }
        let resident = resident_mib(&services, SERVICE)?;
        eprintln!(
            "  {count} aggregates: {of_step:.0?} commands/s at {PARTITIONS_WORTH:?} times {CONNECTIONS_EACH} connections, {resident:.0} MiB"
        );
        rates.push(of_step);
        memory.push(resident);
        services.stop(SERVICE)?;
        super::start::forget(rig, SERVICE)?;
    }
    let flat = AGGREGATES
        .iter()
        .position(|count| *count == FLAT_UPTO)
        .unwrap_or(0);
    let last = AGGREGATES.len() - 1;
    let what = format!(
        "commands/s with {FLAT_UPTO} aggregates to those with {}",
        AGGREGATES[0]
    );
    let ratio = Figure::ratio(what, &rates[flat], &rates[0], Goal::AtLeast(0.85));
    let most = format!("memory with {} aggregates", AGGREGATES[last]);
    let also = vec![Figure::of(most, "MiB", &[memory[last]], Goal::AtMost(2_048.0))];
    let by_aggregates: serde_json::Map<_, _> = AGGREGATES
        .iter()
        .zip(&rates)
        .map(|(count, rates)| {
            (
                format!("commands_per_second_with_{count}_aggregates"),
                json!(rates),
            )
        })
        .collect();
    let mut raw = json!({
        "connections": PARTITIONS_WORTH.map(|worth| worth * CONNECTIONS_EACH),
        "aggregates": AGGREGATES,
        "resident_mib": memory,
    });
    if let Some(raw) = raw.as_object_mut() {
        raw.extend(by_aggregates);
    }
    Ok(Finding::new(ratio, also, raw))
}

/// Receives stock of so many SKUs, each once, as the writers would.
async fn receive(rig: &Rig, prefix: &str, count: usize) -> anyhow::Result<()> {
    let log = LogConfig {
        prefix: prefix.to_owned(),
        ..rig.log()
    };
    let codec = rig.codec_of(prefix).await?;
    let causes: Arc<[u8]> = Positions::new().encode(topics::log_id(&log, TIMEOUT)?).into();
    let (sink, reports) = crossbeam_channel::unbounded();
    let appender = Appender::new(&log, "bench-scale", 10_000, sink, |report: Report| report)?;
    let mut tails = vec![Link::ZERO; usize::try_from(PARTITIONS)?];
    let mut under_way = 0;
    for number in 0..count {
        let mut record = received(&codec, number)?;
        record.causes = Arc::clone(&causes);
        let partition = TopicPartition {
            topic: Topic::Stock,
            partition: partition_of(&record.key, PARTITIONS),
        };
        let tail = &mut tails[usize::try_from(partition.partition)?];
        let record = record.chained(*tail);
        *tail = record.link;
        ensure!(
            appender.append(partition, &record, number),
            "the producer refused a record"
        );
        under_way += 1;
        while under_way > IN_FLIGHT_MAX {
            landed(&reports.recv_timeout(TIMEOUT)?)?;
            under_way -= 1;
        }
    }
    for _ in 0..under_way {
        landed(&reports.recv_timeout(TIMEOUT)?)?;
    }
    Ok(())
}

fn landed(report: &Report) -> anyhow::Result<()> {
    ensure!(report.outcome != Outcome::Doubt, "a record is in doubt");
    Ok(())
}

/// The record of a receipt, without its causes and its place in the chain.
fn received(codec: &Codec, number: usize) -> anyhow::Result<NewRecord> {
    let sku = sku(number);
    let command_id = Uuid::from_u64_pair(3, number as u64);
    let event = Event::Stock(StockEvent::Received(StockReceived {
        occurred_at: Timestamp(jiff::Timestamp::now().as_microsecond()),
        sku: sku.clone(),
        quantity: 1_000,
    }));
    let mut command = [3; 32];
    command[..16].copy_from_slice(command_id.as_bytes());
    Ok(NewRecord {
        key: sku.into_bytes(),
        value: codec.encode(&event)?,
        event_id: ids::event_id(command_id),
        event_type: event.full_name(),
        occurred_at: event.occurred_at(),
        sequence: Some(1),
        traceparent: None,
        command,
        after: Link::ZERO,
        link: Link::ZERO,
        causes: [].into(),
        source: None,
    })
}

fn sku(number: usize) -> String {
    format!("scale-{number:08}")
}

/// Receipts a second of random SKUs, by so many connections.
async fn commands(rig: &Rig, target: &Target, count: usize, connections: usize) -> anyhow::Result<f64> {
    let load = Load {
        targets: vec![target.clone()],
        connections,
        arrivals: Arrivals::Closed,
        warm_up: rig.pace.seconds(2),
        duration: rig.pace.seconds(4),
        again: true,
    };
    let to = target.clone();
    let tally = drive(load, move |index| {
        let path = format!("/v1/stock/{}/receipts", sku(fastrand::usize(..count)));
        let key = format!("scale-{connections}-{index}");
        Request::post(&to, &path, &key, br#"{"quantity":1}"#)
    })
    .await?;
    ensure!(tally.failed == 0, "receipts failed: {:?}", tally.failures);
    Ok(tally.per_second())
}
