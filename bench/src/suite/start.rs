//! `start`: how long a command service takes to be ready: from the log alone, from its checkpoint and the log's tail, from
//! another instance's state and the tail.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::ensure;
use devstack::services::Services;
use eventlog::{Appender, LogConfig, Outcome, Report, Topic, TopicPartition, topics};
use schemas::Codec;
use serde_json::json;

use super::{
    ROUNDS,
    consumer::read_everything,
    report::{Figure, Finding, Goal},
    rig::{PARTITIONS, PREFIX, Rig},
};
use crate::history::History;

/// Aggregates in the log, and how many events each has: 1,000,000.
const AGGREGATES: usize = 100_000;
const EVENTS_EACH: u64 = 10;
/// Events behind the checkpoints, in each round.
const TAIL: u64 = 10_000;
/// Records under way to Kafka.
const IN_FLIGHT_MAX: usize = 50_000;
/// How long Kafka may take for the next of them.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The instance that is always there, and the one that starts from its state.
const FIRST: &str = "command-service-1";
const SECOND: &str = "command-service-2";

/// Runs it.
pub async fn run(rig: &Rig) -> anyhow::Result<Finding> {
    rig.deploy(PREFIX, PARTITIONS)?;
    let codec = rig.codec().await?;
    let mut log = Log::begin(rig, codec, AGGREGATES, EVENTS_EACH)?;
    log.append(log.events())?;
    let services = rig.plan(2, 0, PREFIX)?;
    let (mut from_log, mut from_checkpoint, mut from_peer) = (Vec::new(), Vec::new(), Vec::new());
    let mut floor = Vec::new();
    for round in 0..rig.pace.times(ROUNDS) {
        floor.push(read_everything(rig).await?.as_secs_f64());
        forget(rig, FIRST)?;
        from_log.push(ready_after(&services, FIRST)?);
        // Ended politely, it leaves a checkpoint of everything.
        services.stop(FIRST)?;
        log.append(TAIL)?;
        from_checkpoint.push(ready_after(&services, FIRST)?);
        services.stop(FIRST)?;
        log.append(TAIL)?;
        services.restart(FIRST)?;
        forget(rig, SECOND)?;
        from_peer.push(ready_after(&services, SECOND)?);
        services.stop(SECOND)?;
        services.stop(FIRST)?;
        eprintln!(
            "  round {}: from the log {:.2} s (which a bare consumer reads in {:.2} s), from the checkpoint {:.2} s, from the other instance {:.2} s",
            round + 1,
            from_log[round],
            floor[round],
            from_checkpoint[round],
            from_peer[round]
        );
    }
    Ok(Finding::new(
        Figure::of("ready from the log alone", "s", &from_log, Goal::AtMost(8.0)),
        vec![
            Figure::of(
                "ready from its checkpoint and the tail",
                "s",
                &from_checkpoint,
                Goal::AtMost(2.0),
            ),
            Figure::of(
                "ready from another instance and the tail",
                "s",
                &from_peer,
                Goal::AtMost(3.0),
            ),
            Figure::of("floor: a bare consumer has read the log", "s", &floor, Goal::None),
        ],
        json!({
            "from_the_log_s": from_log,
            "bare_consumer_s": floor,
            "from_the_checkpoint_s": from_checkpoint,
            "from_another_instance_s": from_peer,
            "events": log.appended,
            "aggregates": rig.pace.count(AGGREGATES),
            "tail": TAIL,
            "partitions": PARTITIONS,
        }),
    ))
}

/// Deletes what an instance keeps on disk.
pub(super) fn forget(rig: &Rig, name: &str) -> anyhow::Result<()> {
    match fs::remove_dir_all(rig.stack().layout().data(name).join("state")) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// Starts an instance; how long it took until it was ready, in seconds.
fn ready_after(services: &Services, name: &str) -> anyhow::Result<f64> {
    let begin = Instant::now();
    services.restart(name)?;
    Ok(begin.elapsed().as_secs_f64())
}

/// The log, as it grows.
pub(super) struct Log {
    history: History,
    config: LogConfig,
    /// Records that are in it.
    pub(super) appended: u64,
}

impl Log {
    /// So many aggregates with so many events each are to be in it.
    pub(super) fn begin(
        rig: &Rig,
        codec: Codec,
        aggregates: usize,
        events_each: u64,
    ) -> anyhow::Result<Self> {
        let config = rig.log();
        let log_id = topics::log_id(&config, TIMEOUT)?;
        let aggregates = u64::try_from(rig.pace.count(aggregates))?;
        Ok(Self {
            history: History::new(codec, log_id, PARTITIONS, aggregates, events_each),
            config,
            appended: 0,
        })
    }

    /// How many events those are.
    pub(super) fn events(&self) -> u64 {
        self.history.events()
    }

    /// Appends the next so many events.
    pub(super) fn append(&mut self, count: u64) -> anyhow::Result<()> {
        let (sink, reports) = crossbeam_channel::unbounded();
        let appender = Appender::new(&self.config, "bench-history", 10_000, sink, |report: Report| {
            report
        })?;
        let mut under_way = 0_usize;
        for _ in 0..count {
            let (partition, offset, record) = self.history.next_record()?;
            let partition = TopicPartition {
                topic: Topic::Orders,
                partition: i32::try_from(partition)?,
            };
            let ticket = usize::try_from(offset)?;
            ensure!(
                appender.append(partition, &record, ticket),
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
        self.appended += count;
        Ok(())
    }
}

/// Whether a record is where the history has it; nobody else may write there.
fn landed(report: &Report) -> anyhow::Result<()> {
    let expected = i64::try_from(report.ticket)?;
    ensure!(
        report.outcome == Outcome::At(expected),
        "a record did not land at {expected}: {report:?}"
    );
    Ok(())
}
