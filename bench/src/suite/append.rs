//! `append`: decide, encode, chain, append durably, acknowledge; in process, without HTTP.
//!
//! It drives [`Core`] and [`Appender`] in one loop, as the writers' thread of the engine does, and not through
//! `engine::Handle`: there, a task, a timer and a wake-up for each command would be measured more than the writer is. Everything that
//! makes a record effective is in it: many in flight, delivery reports taken in the order of sending, the fold moved on, the
//! command remembered, the answer given out. What the same commands do through the engine is measured beside it ([`engine`]), and so is
//! the floor ([`alone`]): the same record through the same producer, with nothing decided.

mod alone;
mod engine;

pub(super) use engine::{NOBODY_TURNED_AWAY, submit};

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{bail, ensure};
use command_service::{
    shop::Shop,
    writer::{Core, Expected, Limits, Output, Request},
};
use crossbeam_channel::Receiver;
use domain::{Command, OrderCommand};
use eventlog::{
    Appender, LogConfig, LogId, NewRecord, Outcome, Positions, Report, Topic, TopicPartition, partition_of,
    topics,
};
use schemas::{Codec, Timestamp, ids, orders::PlacedLine};
use serde_json::json;
use uuid::Uuid;

use alone::UnderWay;

use super::{
    ROUNDS,
    producer::{create_topic, perf_test},
    report::{Figure, Finding, Goal},
    requests::{AUTHOR, RECORD_BYTES, fitting_text},
    rig::Rig,
    spent::{PerOperation, Spent},
};

/// The first part of the names of the engine's topics: two writers on one partition would be slow.
const ENGINE_PREFIX: &str = "engine";
/// Partitions of each topic.
const PARTITIONS: i32 = 12;
/// The performance tool's topic.
const TOPIC: &str = "perf-test";
/// Records of the performance tool in each round, and before them, while its virtual machine warms up.
const PERF_RECORDS: usize = 1_000_000;
const PERF_WARM_UP: usize = 300_000;
/// Commands of each partition that wait or are in flight.
const DEPTH: usize = 1_500;
/// The same for the producer alone.
const UNDER_WAY: UnderWay = UnderWay {
    partitions: PARTITIONS.unsigned_abs() as usize,
    each: DEPTH,
};
/// Orders of each partition that notes are put on.
const ORDERS: usize = 2_000;
/// Delivery reports carry the partition above this bit, the writer's own ticket below.
const TICKET_BITS: u32 = 48;
/// The bounds of the service.
const LIMITS: Limits = Limits {
    in_flight_max: 2_000,
    waiting_max: 50_000,
    doubt_after_ms: 10_000,
    barrier_every_ms: 5,
    told_at_once: 100,
};

/// Runs it.
pub async fn run(rig: &Rig) -> anyhow::Result<Finding> {
    let (log, log_id, codec) = topics_of(rig, ENGINE_PREFIX).await?;
    let text = fitting_text(&codec)?;
    create_topic(&log.bootstrap, TOPIC, PARTITIONS).await?;
    let through = engine::Through::start(log, log_id, PARTITIONS, codec, text.clone()).await?;
    let (mut ours, mut theirs, mut floor, mut through_engine) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut cost, mut by_thread) = (PerOperation::default(), PerOperation::default());
    let own = i32::try_from(std::process::id())?;
    let mut log_bytes = 0;
    let (perf_records, perf_warm_up) = (rig.pace.count(PERF_RECORDS), rig.pace.count(PERF_WARM_UP));
    for round in 0..rig.pace.times(ROUNDS) {
        // Without a store nothing leaves memory, and each round would begin with what the ones before it remember.
        let (log, log_id, codec) = topics_of(rig, &format!("append-{round}")).await?;
        let mut writers = Writers::start(&log, log_id, codec, text.clone())?;
        // With its headers and its key a note takes more than twice what its value does, and records of the same size are meant.
        let sample = writers.a_note()?;
        log_bytes = writers.appender.log_bytes(&sample);
        theirs.push(perf_test(rig, TOPIC, log_bytes, perf_records, perf_warm_up)?);
        let (warm_up, duration) = (rig.pace.seconds(2), rig.pace.seconds(6));
        let (before, threads, answered) = (rig.spent(), Spent::by_thread(own), writers.answered);
        ours.push(writers.measure(warm_up, duration)?);
        let records = writers.answered - answered;
        cost.push("a record", &rig.spent().since(&before), records);
        by_thread.push("by thread", &Spent::by_thread(own).since(&threads), records);
        drop(writers);
        floor.push(alone::measure(&log, &sample, UNDER_WAY, warm_up, duration)?);
        through_engine.push(through.measure(round, warm_up, duration).await?);
        eprintln!(
            "  round {}: {:.0} records/s of {log_bytes} bytes, the producer alone {:.0}, kafka-producer-perf-test {:.0}; through the engine {:.0}",
            round + 1,
            ours[round],
            floor[round],
            theirs[round],
            through_engine[round]
        );
    }
    let what = "records/s to those of kafka-producer-perf-test";
    let ratio = Figure::ratio(what, &ours, &theirs, Goal::AtLeast(0.7));
    let floor_is = "floor: the same records through the producer alone, to kafka-producer-perf-test";
    let of_floor = "records/s to those of the producer alone";
    Ok(Finding::new(
        ratio,
        vec![
            Figure::ratio(floor_is, &floor, &theirs, Goal::None),
            Figure::ratio(of_floor, &ours, &floor, Goal::None),
        ],
        json!({
            "append_per_second": ours,
            "producer_alone_per_second": floor,
            "through_the_engine_per_second": through_engine,
            "kafka_producer_perf_test_per_second": theirs,
            "processor_us_per_record": cost.raw(),
            "processor_us_per_record_by_thread": by_thread.raw(),
            "record_bytes": log_bytes,
            "value_bytes": RECORD_BYTES,
            "partitions": PARTITIONS,
        }),
    ))
}

/// One round of it, on topics whose names begin with this: records a second.
pub(super) async fn once(rig: &Rig, prefix: &str) -> anyhow::Result<f64> {
    let (log, log_id, codec) = topics_of(rig, prefix).await?;
    let text = fitting_text(&codec)?;
    let mut writers = Writers::start(&log, log_id, codec, text)?;
    writers.measure(rig.pace.seconds(2), rig.pace.seconds(6))
}

/// Records a second of the producer alone with so many under way, altogether, to the first partitions of such topics.
pub(super) async fn producer_alone(
    rig: &Rig,
    prefix: &str,
    partitions: i32,
    under_way: usize,
) -> anyhow::Result<f64> {
    let (log, log_id, codec) = topics_of(rig, prefix).await?;
    let text = fitting_text(&codec)?;
    let sample = Writers::start(&log, log_id, codec, text)?.a_note()?;
    let partitions = usize::try_from(partitions)?;
    let under_way = UnderWay {
        partitions,
        each: under_way.div_ceil(partitions),
    };
    alone::measure(&log, &sample, under_way, rig.pace.seconds(2), rig.pace.seconds(6))
}

/// Topics of their own, with schemas.
async fn topics_of(rig: &Rig, prefix: &str) -> anyhow::Result<(LogConfig, LogId, Codec)> {
    rig.deploy(prefix, PARTITIONS)?;
    let log = LogConfig {
        prefix: prefix.to_owned(),
        ..rig.log()
    };
    let log_id = topics::log_id(&log, Duration::from_secs(10))?;
    Ok((log, log_id, rig.codec_of(prefix).await?))
}

/// Makes commands, as their frames would come from HTTP.
pub(super) struct Notes {
    causes: Arc<[u8]>,
    text: String,
}

impl Notes {
    pub(super) fn new(log_id: LogId, text: String) -> Self {
        Self {
            causes: Positions::new().encode(log_id).into(),
            text,
        }
    }

    pub(super) fn command(&self, number: u64, order_id: Uuid) -> OrderCommand {
        OrderCommand::AddNote {
            order_id,
            note_id: Uuid::from_u128(u128::from(number) + 1),
            author: AUTHOR.to_owned(),
            text: self.text.clone(),
            reply_to: None,
        }
    }

    pub(super) fn request(&self, number: u64, command: OrderCommand) -> Request<Command> {
        Request {
            id: ids::created_id(Uuid::from_u128(u128::from(number)), "bench"),
            fingerprint: [0; 16],
            at: now(),
            expected: Expected::Any,
            causes: Arc::clone(&self.causes),
            traceparent: None,
            source: None,
            command: Command::Order(command),
        }
    }
}

/// The writers of all partitions of one topic, and their loop.
struct Writers {
    cores: Vec<Core<Shop, ()>>,
    orders: Vec<Vec<Uuid>>,
    appender: Appender<Report>,
    reports: Receiver<Report>,
    notes: Notes,
    submitted: u64,
    answered: u64,
    begun: Instant,
}

/// Ids of orders that each partition has.
fn orders_by_partition() -> Vec<Vec<Uuid>> {
    let partitions = usize::try_from(PARTITIONS).unwrap_or(1);
    let mut orders: Vec<Vec<Uuid>> = vec![Vec::new(); partitions];
    while orders.iter().any(|orders| orders.len() < ORDERS) {
        let id = Uuid::new_v4();
        let partition = partition_of(id.to_string().as_bytes(), PARTITIONS);
        let of_partition = &mut orders[usize::try_from(partition).unwrap_or(0)];
        if of_partition.len() < ORDERS {
            of_partition.push(id);
        }
    }
    orders
}

impl Writers {
    fn start(log: &LogConfig, log_id: LogId, codec: Codec, text: String) -> anyhow::Result<Self> {
        let (sink, reports) = crossbeam_channel::unbounded();
        let codec = Arc::new(codec);
        let shop = || Shop::new(Topic::Orders, Arc::clone(&codec), log_id);
        let mut writers = Self {
            cores: (0..PARTITIONS).map(|_| Core::new(shop(), LIMITS)).collect(),
            orders: orders_by_partition(),
            appender: Appender::new(log, "bench-writer", 10_000, sink, |report| report)?,
            reports,
            notes: Notes::new(log_id, text),
            submitted: 0,
            answered: 0,
            begun: Instant::now(),
        };
        writers.begin()?;
        Ok(writers)
    }

    /// Folds the empty log and places the orders.
    fn begin(&mut self) -> anyhow::Result<()> {
        for slot in 0..self.cores.len() {
            // The topics were made just now.
            let Some(Output::Read { .. }) = self.cores[slot].next_output() else {
                bail!("a writer that knows nothing reads the log first");
            };
            self.cores[slot].reached_end();
            for order_id in self.orders[slot].clone() {
                self.submit(slot, place(order_id));
            }
            self.carry_out(slot)?;
        }
        while self.answered < self.submitted {
            self.take_reports()?;
        }
        Ok(())
    }

    /// A note as it is appended.
    fn a_note(&mut self) -> anyhow::Result<Arc<NewRecord>> {
        let command = self.notes.command(self.submitted, self.orders[0][0]);
        self.submit(0, command);
        let Some(Output::Append { ticket, record }) = self.cores[0].next_output() else {
            bail!("a note is appended at once where nothing else waits");
        };
        ensure!(
            self.appender.append(partition(0)?, &record, ticket),
            "the producer refused a record"
        );
        while self.answered < self.submitted {
            self.take_reports()?;
        }
        Ok(record)
    }

    /// Notes acknowledged a second.
    fn measure(&mut self, warm_up: Duration, duration: Duration) -> anyhow::Result<f64> {
        // What is sent now must not be taken for as old as the last tick, which was before the performance tool ran.
        self.tick();
        self.fill_until(Instant::now() + warm_up)?;
        let (begin, before) = (Instant::now(), self.answered);
        self.fill_until(begin + duration)?;
        let (elapsed, answered) = (begin.elapsed(), self.answered - before);
        // What is left is not counted, and does not disturb whoever comes next.
        while self.answered < self.submitted {
            self.take_reports()?;
        }
        Ok(super::drive::as_f64(answered) / elapsed.as_secs_f64())
    }

    fn fill_until(&mut self, end: Instant) -> anyhow::Result<()> {
        while Instant::now() < end {
            for slot in 0..self.cores.len() {
                while self.cores[slot].backlog() < DEPTH {
                    let orders = &self.orders[slot];
                    let order_id = orders[usize::try_from(self.submitted)? % orders.len()];
                    let command = self.notes.command(self.submitted, order_id);
                    self.submit(slot, command);
                }
                self.carry_out(slot)?;
            }
            self.take_reports()?;
        }
        Ok(())
    }

    fn submit(&mut self, slot: usize, command: OrderCommand) {
        self.submitted += 1;
        let request = self.notes.request(self.submitted, command);
        self.cores[slot].submit(request, ());
    }

    /// Waits for a delivery report, and takes in what else is there.
    fn take_reports(&mut self) -> anyhow::Result<()> {
        if let Ok(report) = self.reports.recv_timeout(Duration::from_millis(20)) {
            self.report(report)?;
        }
        while let Ok(report) = self.reports.try_recv() {
            self.report(report)?;
        }
        self.tick();
        Ok(())
    }

    fn tick(&mut self) {
        let now_ms = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        for core in &mut self.cores {
            core.tick(now_ms);
        }
    }

    fn report(&mut self, report: Report) -> anyhow::Result<()> {
        let (slot, ticket) = (
            report.ticket >> TICKET_BITS,
            report.ticket & ((1 << TICKET_BITS) - 1),
        );
        ensure!(report.outcome != Outcome::Doubt, "a record is in doubt");
        self.cores[slot].report(ticket, report.outcome);
        self.carry_out(slot)
    }

    fn carry_out(&mut self, slot: usize) -> anyhow::Result<()> {
        let partition = partition(slot)?;
        while let Some(output) = self.cores[slot].next_output() {
            match output {
                Output::Append { ticket, record } => {
                    let tagged = (slot << TICKET_BITS) | ticket;
                    let taken = self.appender.append(partition, &record, tagged);
                    ensure!(taken, "the producer refused a record");
                }
                Output::Answer { kept, replayed, .. } => {
                    let refusal = kept.answer.refusal();
                    ensure!(refusal.is_none() && !replayed, "a note was refused: {refusal:?}");
                    self.answered += 1;
                }
                Output::Changed { .. } => {}
                // Nobody else writes, and no broker is lost.
                Output::Unsettled { in_flight, doubt } => {
                    bail!("{in_flight} records in flight had to be settled from the log (in doubt: {doubt})")
                }
                Output::Stopped { offset, reason } => bail!("stopped at {offset}: {reason}"),
                _ => bail!("the writer wants something that nothing here should lead to"),
            }
        }
        Ok(())
    }
}

fn partition(slot: usize) -> anyhow::Result<TopicPartition> {
    Ok(TopicPartition {
        topic: Topic::Orders,
        partition: i32::try_from(slot)?,
    })
}

pub(super) fn place(order_id: Uuid) -> OrderCommand {
    OrderCommand::Place {
        order_id,
        customer_id: "bench".to_owned(),
        currency: "GBP".to_owned(),
        lines: vec![PlacedLine {
            sku: "bench".to_owned(),
            quantity: 1,
            unit_price_minor: 1_000,
        }],
    }
}

fn now() -> Timestamp {
    Timestamp(jiff::Timestamp::now().as_microsecond())
}
