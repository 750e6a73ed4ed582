//! `pipeline`: single-line orders with everything running, each with its reservation and its confirmation, in both models;
//! beside the same HTTP server answering with a constant. Then for a minute, or five, during which no model may fall behind.
//!
//! The floor is what would be left if nothing of ours took any time: as many orders as the processors can do of what a constant answer
//! takes of the same HTTP server, and of what Kafka's client, the broker, the databases and the load generator spend on each.

use std::time::{Duration, Instant};

use anyhow::ensure;
use serde_json::json;
use uuid::Uuid;

use super::{
    ROUNDS,
    drive::{Arrivals, Load, Tally, as_f64, drive},
    models::{LogEnd, Models},
    report::{Figure, Finding, Goal},
    requests::{fitting_text, note, order, receive_stock},
    rig::{CONSTANT, Rig},
    spent::PerOperation,
    write::{CONNECTIONS, peak},
};
use crate::load::Target;

/// So often it is warmed up: for half a minute of this the broker's compiler takes two fifths of a core to itself.
const WARM_UPS: usize = 4;
/// How long it is watched whether the models follow; [`super::Options`] may ask for the longer one.
const WATCHED_S: u64 = 60;
const WATCHED_LONG_S: u64 = 300;
/// Between two looks at the models.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How far the models are behind the log.
#[derive(Clone, Copy, Debug)]
struct Look {
    records: u64,
    postgres_behind: u64,
    redis_behind: u64,
}

/// Runs it.
pub async fn run(rig: &Rig) -> anyhow::Result<Finding> {
    let services = rig.services_for_reads(&[])?;
    let target = Target::new(&services.command_urls()[0])?;
    let constant = Target::new(&rig.constant_server()?)?;
    let (models, log) = (Models::of(&services)?, LogEnd::of(rig)?);
    let text = fitting_text(&rig.codec().await?)?;
    receive_stock(&target, "pipeline").await?;
    for number in 0..rig.pace.times(WARM_UPS) {
        let make = order(&target, &format!("pipeline-warm-up-{number}"));
        peak(rig.pace, &target, make).await?;
    }
    let (mut ours, mut theirs, mut followed) = (Vec::new(), Vec::new(), Vec::new());
    let (mut floor, mut cost) = (Vec::new(), PerOperation::default());
    for round in 0..rig.pace.times(ROUNDS) {
        let nobody = note(&constant, "constant", &[Uuid::nil()], &text);
        let before = rig.spent();
        let answered = peak(rig.pace, &constant, nobody).await?;
        theirs.push(answered.per_second());
        let of_constants = rig.spent().since(&before);
        let a_constant = of_constants.each_of(CONSTANT, answered.acknowledged_ever)?;
        let (before, client_before) = (rig.spent(), rig.spent_by_kafkas_client());
        let make = order(&target, &format!("pipeline-{round}"));
        let placed = peak(rig.pace, &target, make).await?;
        let over = Instant::now();
        models.follow(log.records().await?).await?;
        followed.push(over.elapsed().as_secs_f64());
        let spent = rig.spent().since(&before);
        cost.push("an order", &spent, placed.acknowledged_ever);
        let by_client = rig.spent_by_kafkas_client().saturating_sub(client_before);
        floor.push(spent.per_second_without_us(by_client, placed.acknowledged_ever, a_constant)?);
        ours.push(placed.per_second());
        eprintln!(
            "  round {}: {:.0} orders/s, at most {:.0} without us, constant answers {:.0}; the models had all of them after {:.2} s",
            round + 1,
            ours[round],
            floor[round],
            theirs[round],
            followed[round]
        );
    }
    let watched = rig
        .pace
        .seconds(if rig.pace.long { WATCHED_LONG_S } else { WATCHED_S });
    let (sustained, looks) = sustain(&target, &models, &log, watched, rig.pace.seconds(2)).await?;
    let (first, last) = (&looks[looks.len() / 4], looks.last().unwrap_or(&looks[0]));
    let seconds = watched.as_secs_f64() * 0.75;
    let records_per_second = as_f64(last.records.saturating_sub(first.records)) / seconds;
    let behind = |of: fn(&Look) -> u64| -> Vec<f64> {
        let quarter = looks.len() - looks.len().div_ceil(4);
        looks[quarter..]
            .iter()
            .map(|look| as_f64(of(look)) / records_per_second)
            .collect()
    };
    eprintln!(
        "  {:.0} orders/s for {watched:?}, {records_per_second:.0} records/s; at the end Postgres {} records behind, Redis {}",
        sustained.per_second(),
        last.postgres_behind,
        last.redis_behind
    );
    let what = "orders/s to those of a constant answer";
    let ratio = Figure::ratio(what, &ours, &theirs, Goal::AtLeast(0.12));
    let floor_is = "floor: orders/s if nothing of ours took any time, to a constant answer";
    let lag = |model: &str, of| {
        let what = format!("{model} behind in the last quarter of {} s", watched.as_secs());
        Figure::of(what, "s", &behind(of), Goal::AtMost(1.0))
    };
    Ok(Finding::new(
        ratio,
        vec![
            Figure::ratio(floor_is, &floor, &theirs, Goal::None),
            Figure::ratio("orders/s to that floor", &ours, &floor, Goal::None),
            lag("Postgres", |look| look.postgres_behind),
            lag("Redis", |look| look.redis_behind),
        ],
        json!({
            "orders_per_second": ours,
            "constant_per_second": theirs,
            "floor_per_second": floor,
            "followed_after_s": followed,
            "processor_us_per_order": cost.raw(),
            "sustained_s": watched.as_secs(),
            "sustained_per_second": sustained.per_second(),
            "sustained_records_per_second": records_per_second,
            "sustained_p50_ms": sustained.ms(50.0),
            "sustained_p99_ms": sustained.ms(99.0),
            "postgres_behind_records": looks.iter().map(|look| look.postgres_behind).collect::<Vec<_>>(),
            "redis_behind_records": looks.iter().map(|look| look.redis_behind).collect::<Vec<_>>(),
            "connections": CONNECTIONS,
        }),
    ))
}

/// Places orders for so long, and looks at how far the models are.
async fn sustain(
    target: &Target,
    models: &Models,
    log: &LogEnd,
    watched: Duration,
    warm_up: Duration,
) -> anyhow::Result<(Tally, Vec<Look>)> {
    let load = Load {
        targets: vec![target.clone()],
        connections: CONNECTIONS,
        arrivals: Arrivals::Closed,
        warm_up,
        duration: watched,
        again: true,
    };
    let (sustained, looks) = tokio::join!(
        drive(load, order(target, "pipeline-sustained")),
        watch(models, log, watched)
    );
    let (sustained, looks) = (sustained?, looks?);
    ensure!(sustained.failed == 0, "orders failed: {:?}", sustained.failures);
    Ok((sustained, looks))
}

/// Looks at how far the models are, for so long.
async fn watch(models: &Models, log: &LogEnd, whole: Duration) -> anyhow::Result<Vec<Look>> {
    let begun = Instant::now();
    let mut looks = Vec::new();
    while looks.is_empty() || begun.elapsed() < whole {
        tokio::time::sleep(LOOK_EVERY.min(whole / 4)).await;
        // The log's end first: what comes in between is not behind.
        let records = log.records().await?;
        let examined = models.examined().await?;
        let behind = |model| records.saturating_sub(examined[model]);
        looks.push(Look {
            records,
            postgres_behind: behind("postgres"),
            redis_behind: behind("redis"),
        });
    }
    Ok(looks)
}
