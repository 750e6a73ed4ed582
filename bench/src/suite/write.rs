//! `write`: notes over HTTP, one record each, beside the same HTTP server answering with a constant.
//!
//! There are two floors. That server answers with the constant from another thread a few milliseconds later: what it takes to wait for
//! somebody. And as many notes as the processors can do if nothing of ours took any time: of what a constant answer takes of the server,
//! and what Kafka's client, the broker and the load generator take of a note.

use std::time::Duration;

use serde_json::json;

use super::{
    ROUNDS,
    drive::{Arrivals, Load, Tally, drive},
    report::{Figure, Finding, Goal},
    requests::{fitting_text, note, place_orders, receive_stock, rest},
    rig::{CONSTANT, Pace, Rig},
    spent::PerOperation,
};
use crate::load::{Request, Target};

/// Connections of the closed loop.
pub(super) const CONNECTIONS: usize = 256;
/// Partitions of each topic. A producer sends one request for each, so batches form where records wait for each other.
const PARTITIONS: &str = "1";
/// Orders that notes are put on, so many that each gets a few dozen.
const ORDERS: usize = 60_000;
/// Whose time is told by thread.
const SERVICE: &str = "command-service-1";
/// How long the broker's virtual machine warms up, in seconds.
const WARM_UP_S: u64 = 20;

/// Runs it.
pub async fn run(rig: &Rig) -> anyhow::Result<Finding> {
    let services = rig.services_with(&[("TAILWATER_PARTITIONS", PARTITIONS)], 1, 0)?;
    let target = Target::new(&services.command_urls()[0])?;
    let constant = Target::new(&rig.constant_server()?)?;
    let late = Target::new(&rig.late_server()?)?;
    let text = fitting_text(&rig.codec().await?)?;
    receive_stock(&target, "write").await?;
    let orders = place_orders(&target, "write-order", rig.pace.count(ORDERS)).await?;
    rest().await;
    let warm_up = note(&target, "write-warm-up", &orders, &text);
    closed(rig.pace, &target, rig.pace.seconds(WARM_UP_S), warm_up).await?;
    let (mut ours, mut theirs, mut unavailable) = (Vec::new(), Vec::new(), Vec::new());
    let (mut late_ones, mut floor) = (Vec::new(), Vec::new());
    let (mut cost, mut constant_cost) = (PerOperation::default(), PerOperation::default());
    let mut by_thread = PerOperation::default();
    for round in 0..rig.pace.times(ROUNDS) {
        let make = note(&late, "late", &orders, &text);
        late_ones.push(peak(rig.pace, &late, make).await?.per_second());
        let before = rig.spent();
        let constant_run = peak(rig.pace, &constant, note(&constant, "constant", &orders, &text)).await?;
        theirs.push(constant_run.per_second());
        let (between, threads) = (rig.spent(), rig.spent_by_thread(SERVICE));
        let make = note(&target, &format!("write-{round}"), &orders, &text);
        let write = peak(rig.pace, &target, make).await?;
        let after = rig.spent();
        ours.push(write.per_second());
        unavailable.push(write.unavailable);
        let of_notes = after.since(&between);
        let of_threads = rig.spent_by_thread(SERVICE).since(&threads);
        let of_constants = between.since(&before);
        let (notes, constants) = (write.acknowledged_ever, constant_run.acknowledged_ever);
        let a_constant = of_constants.each_of(CONSTANT, constants)?;
        floor.push(of_notes.per_second_without_us(of_threads.of_kafkas_client(), notes, a_constant)?);
        eprintln!(
            "  round {}: {:.0} notes/s, at most {:.0} without us, constant answers {:.0}, late ones {:.0}",
            round + 1,
            ours[round],
            floor[round],
            theirs[round],
            late_ones[round]
        );
        cost.push("a note", &of_notes, notes);
        by_thread.push("by thread of the service", &of_threads, notes);
        constant_cost.push("a constant", &of_constants, constants);
    }
    let what = "notes/s to those of a constant answer";
    let ratio = Figure::ratio(what, &ours, &theirs, Goal::AtLeast(0.5));
    let late_is = "floor: late constant answers to those at once";
    let floor_is = "floor: notes/s if nothing of ours took any time, to a constant answer";
    let of_floor = "notes/s to that floor";
    Ok(Finding::new(
        ratio,
        vec![
            Figure::ratio(late_is, &late_ones, &theirs, Goal::None),
            Figure::ratio(floor_is, &floor, &theirs, Goal::None),
            Figure::ratio(of_floor, &ours, &floor, Goal::None),
        ],
        json!({
            "write_per_second": ours,
            "constant_per_second": theirs,
            "late_constant_per_second": late_ones,
            "floor_per_second": floor,
            "processor_us_per_note": cost.raw(),
            "processor_us_per_note_by_thread": by_thread.raw(),
            "processor_us_per_constant": constant_cost.raw(),
            "answers_503": unavailable,
            "connections": CONNECTIONS,
            "partitions": PARTITIONS,
        }),
    ))
}

/// The most that this can do with so many connections.
pub(super) async fn peak(
    pace: Pace,
    target: &Target,
    make: impl Fn(usize) -> Request + 'static,
) -> anyhow::Result<Tally> {
    closed(pace, target, pace.seconds(5), make).await
}

/// A closed loop for a while. Nothing may fail but 503s, which are sent again.
async fn closed(
    pace: Pace,
    target: &Target,
    duration: Duration,
    make: impl Fn(usize) -> Request + 'static,
) -> anyhow::Result<Tally> {
    let load = Load {
        targets: vec![target.clone()],
        connections: CONNECTIONS,
        arrivals: Arrivals::Closed,
        warm_up: pace.seconds(2),
        duration,
        again: true,
    };
    let tally = drive(load, make).await?;
    anyhow::ensure!(
        tally.failed == 0,
        "{} requests failed: {:?}",
        tally.failed,
        tally.failures
    );
    Ok(tally)
}
