//! `outage`: Kafka is killed under load, stays away for ten seconds, and comes back.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use devstack::{Signal, services::Services};
use serde_json::{Value, json};

use super::{
    ROUNDS,
    drive::{Arrivals, Load, Stop, Tally, as_f64, drive_until},
    report::{Figure, Finding, Goal},
    requests::{order, receive_stock, rest},
    rig::Rig,
};
use crate::load::Target;

/// The broker.
const KAFKA: &str = "kafka-1";
/// Clients, each with one order at a time, which it sends again until it is acknowledged.
const CONNECTIONS: usize = 32;
/// A round takes no longer.
const ROUND_MAX: Duration = Duration::from_mins(3);
/// How long the service waits for an answer before it says 503, and what the generator adds to that.
const DEADLINE_S: f64 = 5.0;
const GENERATOR_LATE_S: f64 = 0.5;
/// How long the models may take to hold what the log holds.
const PATIENCE: Duration = Duration::from_mins(1);

/// What one outage led to.
struct Outage {
    tally: Tally,
    /// From when Kafka answered again to the next acknowledgement, in seconds.
    recovered_s: f64,
    /// The same from when it was started.
    since_start_s: f64,
}

/// Runs it.
pub async fn run(rig: &Rig) -> anyhow::Result<Finding> {
    let services = rig.services(1, 1)?;
    let target = Target::new(&services.command_urls()[0])?;
    receive_stock(&target, "outage").await?;
    rest().await;
    let mut rounds = Vec::new();
    for round in 0..rig.pace.times(ROUNDS) {
        let outage = once(rig, &target, &format!("outage-{round}")).await?;
        eprintln!(
            "  round {}: next acknowledgement {:.2} s after Kafka's readiness, {} answers 503, the slowest after {:.2} s",
            round + 1,
            outage.recovered_s,
            outage.tally.unavailable,
            outage.tally.slowest_refusal.as_secs_f64()
        );
        rounds.push(outage);
    }
    let acknowledged: u64 = rounds.iter().map(|round| round.tally.acknowledged_ever).sum();
    let (in_the_log, differ) = verified(rig, &services, acknowledged).await?;
    let of = |figure: fn(&Outage) -> f64| -> Vec<f64> { rounds.iter().map(figure).collect() };
    let failures: Vec<&String> = rounds.iter().flat_map(|round| &round.tally.failures).collect();
    let failed: u64 = rounds.iter().map(|round| round.tally.failed).sum();
    let refusals = of(|round| round.tally.slowest_refusal.as_secs_f64());
    let slowest = refusals.iter().copied().fold(0.0, f64::max);
    let lost = (as_f64(acknowledged) - as_f64(in_the_log)).abs();
    Ok(Finding::new(
        Figure::of(
            "from Kafka's readiness to the next acknowledgement",
            "s",
            &of(|round| round.recovered_s),
            Goal::AtMost(3.0),
        ),
        vec![
            Figure::of(
                "slowest 503",
                "s",
                &[slowest],
                Goal::AtMost(DEADLINE_S + GENERATOR_LATE_S),
            ),
            Figure::of("requests that failed", "", &[as_f64(failed)], Goal::AtMost(0.0)),
            Figure::of(
                "acknowledged orders more or less than in the log",
                "",
                &[lost],
                Goal::AtMost(0.0),
            ),
            Figure::of(
                "differences (tailwater verify)",
                "",
                &[as_f64(u64::from(differ))],
                Goal::AtMost(0.0),
            ),
        ],
        json!({
            "recovered_s": of(|round| round.recovered_s),
            "since_kafka_was_started_s": of(|round| round.since_start_s),
            "answers_503": rounds.iter().map(|round| round.tally.unavailable).collect::<Vec<_>>(),
            "connections_broken": rounds.iter().map(|round| round.tally.broken).collect::<Vec<_>>(),
            "slowest_503_s": refusals,
            "acknowledged": acknowledged,
            "in_the_log": in_the_log,
            "failures": failures,
        }),
    ))
}

async fn once(rig: &Rig, target: &Target, run: &str) -> anyhow::Result<Outage> {
    let load = Load {
        targets: vec![target.clone()],
        connections: CONNECTIONS,
        arrivals: Arrivals::Closed,
        warm_up: Duration::ZERO,
        duration: ROUND_MAX,
        again: true,
    };
    let (begin, stop) = (Instant::now(), Stop::default());
    let script = async {
        let times = kill_and_start(rig).await;
        stop.now();
        times
    };
    let (tally, times) = tokio::join!(drive_until(load, stop.clone(), order(target, run)), script);
    let (tally, (started, ready)) = (tally?, times?);
    let next = tally
        .samples
        .iter()
        .map(|sample| begin + sample.at)
        .find(|at| *at >= ready);
    let next = next.context("nothing was acknowledged after Kafka came back")?;
    Ok(Outage {
        tally,
        recovered_s: (next - ready).as_secs_f64(),
        since_start_s: (next - started).as_secs_f64(),
    })
}

/// The outage itself; when Kafka was started again, and when it was ready.
async fn kill_and_start(rig: &Rig) -> anyhow::Result<(Instant, Instant)> {
    tokio::time::sleep(rig.pace.seconds(4)).await;
    let stack = rig.stack();
    tokio::task::spawn_blocking(move || stack.kill(KAFKA, Signal::SIGKILL)).await??;
    tokio::time::sleep(rig.pace.seconds(10)).await;
    let (stack, started) = (rig.stack(), Instant::now());
    tokio::task::spawn_blocking(move || stack.restart(KAFKA)).await??;
    let ready = Instant::now();
    // Longer than the goal: who has not recovered by then is waited for all the same.
    tokio::time::sleep(Duration::from_secs(4)).await;
    Ok((started, ready))
}

/// Waits until the log and the models agree and no order has an open step; how many orders the log holds, and whether anything
/// differs still.
async fn verified(rig: &Rig, services: &Services, acknowledged: u64) -> anyhow::Result<(u64, bool)> {
    let begun = Instant::now();
    loop {
        let output = rig.tailwater(services, &["verify", "--json"])?;
        let said = String::from_utf8_lossy(&output.stdout);
        let report: Value = said
            .lines()
            .next()
            .and_then(|line| serde_json::from_str(line).ok())
            .unwrap_or_default();
        let orders = report["log"]["orders"].as_u64();
        let at_rest = report["log"]["orders_with_open_steps"] == 0;
        if output.status.success() && at_rest && orders == Some(acknowledged) {
            return Ok((acknowledged, false));
        }
        if begun.elapsed() > PATIENCE {
            eprintln!("  tailwater verify: {}\n{said}", output.status);
            let orders = orders.with_context(|| {
                let complained = String::from_utf8_lossy(&output.stderr);
                format!("tailwater verify ended with {}: {complained}", output.status)
            })?;
            ensure!(at_rest, "orders have open steps after {PATIENCE:?}");
            return Ok((orders, !output.status.success()));
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
