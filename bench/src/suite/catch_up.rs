//! `catch-up`: Postgres is killed under load, stays away for thirty seconds, and comes back: what readers are told meanwhile, and
//! how long its model takes to be there again.

use std::time::{Duration, Instant};

use anyhow::ensure;
use devstack::Signal;
use read_model::postgres::PostgresGenerations;
use serde_json::json;
use uuid::Uuid;

use super::{
    ack::half,
    drive::{Arrivals, Load, Stop, Tally, as_f64, drive, drive_until},
    models::{LogEnd, examined},
    report::{Figure, Finding, Goal},
    requests::{order, place_orders, receive_stock},
    rig::Rig,
};
use crate::load::{Request, Target};

const POSTGRES: &str = "postgres";
const ROUNDS: usize = 3;
/// Connections of the writes, and of the reads.
const CONNECTIONS: usize = 64;
/// Orders that are read over and over.
const ORDERS: usize = 500;
/// Reads a second.
const READS: u32 = 200;
const OUTAGE_S: u64 = 30;
/// A round takes no longer.
const ROUND_MAX: Duration = Duration::from_mins(3);
/// Between two looks. A model that has at one look what the log had at the look before follows it.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What one outage led to.
struct Outage {
    writes: Tally,
    reads: Tally,
    /// From Postgres's death to its readiness.
    away_s: f64,
    /// From then until its model followed the log again.
    caught_up_s: f64,
}

/// Runs it.
pub async fn run(rig: &Rig) -> anyhow::Result<Finding> {
    let services = rig.services_for_reads(&[])?;
    let commands = Target::new(&services.command_urls()[0])?;
    let queries = Target::new(&services.query_urls()[0])?;
    receive_stock(&commands, "catch-up").await?;
    let orders = place_orders(&commands, "catch-up-read", ORDERS).await?;
    let model = PostgresGenerations::new(&services.env()["TAILWATER_DATABASE_URL"], "bench")?;
    let closed = Load {
        targets: vec![commands.clone()],
        connections: CONNECTIONS,
        arrivals: Arrivals::Closed,
        warm_up: rig.pace.seconds(3),
        duration: rig.pace.seconds(10),
        again: true,
    };
    let peak = drive(closed.clone(), order(&commands, "catch-up-peak")).await?;
    ensure!(peak.failed == 0, "orders failed: {:?}", peak.failures);
    let rate = half(peak.per_second());
    let mut rounds = Vec::new();
    for round in 0..rig.pace.times(ROUNDS) {
        let (stop, run) = (Stop::default(), format!("catch-up-{round}"));
        let steady = Load {
            arrivals: Arrivals::Open(rate),
            warm_up: Duration::ZERO,
            duration: ROUND_MAX,
            ..closed.clone()
        };
        let reading = Load {
            targets: vec![queries.clone()],
            arrivals: Arrivals::Open(READS),
            again: false,
            ..steady.clone()
        };
        let script = async {
            let times = kill_and_start(rig, &model).await;
            stop.now();
            times
        };
        let (writes, reads, times) = tokio::join!(
            drive_until(steady, stop.clone(), order(&commands, &run)),
            drive_until(reading, stop.clone(), read(&queries, &orders)),
            script
        );
        let (writes, reads, (away_s, caught_up_s)) = (writes?, reads?, times?);
        ensure!(writes.failed == 0, "orders failed: {:?}", writes.failures);
        eprintln!(
            "  round {}: {rate} orders/s; Postgres away for {away_s:.1} s, caught up after {caught_up_s:.1} s; reads of orders: {}, {} of them 503",
            round + 1,
            reads.latencies.summary(),
            reads.unavailable
        );
        rounds.push(Outage {
            writes,
            reads,
            away_s,
            caught_up_s,
        });
    }
    let of = |figure: fn(&Outage) -> f64| -> Vec<f64> { rounds.iter().map(figure).collect() };
    let (away, caught_up) = (of(|round| round.away_s), of(|round| round.caught_up_s));
    Ok(Finding::new(
        Figure::ratio(
            "time to catch up to the time away",
            &caught_up,
            &away,
            Goal::AtMost(1.0),
        ),
        vec![Figure::of(
            "reads of orders that were not answered",
            "",
            &of(|round| as_f64(round.reads.unavailable + round.reads.failed + round.reads.broken)),
            Goal::AtMost(0.0),
        )],
        json!({
            "per_second": rate, "peak_per_second": peak.per_second(), "away_s": away, "caught_up_s": caught_up,
            "acknowledged": rounds.iter().map(|round| round.writes.acknowledged_ever).collect::<Vec<_>>(),
            "reads": rounds.iter().map(|round| round.reads.acknowledged_ever).collect::<Vec<_>>(),
            "read_p99_ms": of(|round| round.reads.ms(99.0)),
        }),
    ))
}

/// Reads of these orders in turn.
fn read(target: &Target, orders: &[Uuid]) -> impl Fn(usize) -> Request + Clone + 'static + use<> {
    let (target, orders) = (target.clone(), orders.to_vec());
    move |index| {
        let path = format!("/v1/orders/{}", orders[index % orders.len()]);
        Request::get(&target, &path, &[])
    }
}

/// The outage itself; how long Postgres was away, and how long its model took after that, in seconds.
async fn kill_and_start(rig: &Rig, model: &PostgresGenerations) -> anyhow::Result<(f64, f64)> {
    tokio::time::sleep(rig.pace.seconds(4)).await;
    let stack = rig.stack();
    tokio::task::spawn_blocking(move || stack.kill(POSTGRES, Signal::SIGKILL)).await??;
    let killed = Instant::now();
    tokio::time::sleep(rig.pace.seconds(OUTAGE_S)).await;
    let stack = rig.stack();
    tokio::task::spawn_blocking(move || stack.restart(POSTGRES)).await??;
    let ready = Instant::now();
    let log = LogEnd::of(rig)?;
    let mut end = log.records().await?;
    loop {
        // Its connections come back when it is asked.
        let follows = examined(model).await.is_ok_and(|examined| examined >= end);
        if follows {
            return Ok(((ready - killed).as_secs_f64(), ready.elapsed().as_secs_f64()));
        }
        ensure!(
            ready.elapsed() < ROUND_MAX,
            "the model in Postgres does not catch up"
        );
        let before = log.records().await?;
        tokio::time::sleep(LOOK_EVERY).await;
        end = before;
    }
}
