//! `overload`: three times as many orders as can be carried through, for two minutes.
//!
//! Nobody pays them, so each expires after a while and gives its stock back: as many orders end as begin, and what memory grows by
//! is what waits, not what the shop has in hand. The capacity is measured while they do.
//!
//! The floor is what would be acknowledged if a refusal took no more than the same HTTP server's constant answer does: the load
//! generator shares the processors, and what is spent on asking and being refused is not there for orders.

use std::time::Duration;

use devstack::services::Services;
use serde_json::json;
use uuid::Uuid;

use super::{
    drive::{Arrivals, Load, Tally, as_f64, drive},
    log::longest_pending,
    report::{Figure, Finding, Goal},
    requests::{fitting_text, note, order, receive_stock, rest},
    rig::{Rig, resident_mib},
    write,
};
use crate::load::{Latencies, Target};

/// The service that is overloaded.
const SERVICE: &str = "command-service-1";
/// Connections of the closed loop that finds the capacity.
const CONNECTIONS: usize = 128;
/// So many times the capacity is asked for.
const TIMES: u32 = 3;
/// Connections of the open loop: more than are let in at once.
const CONNECTIONS_OVERLOAD: usize = 1_024;
/// The overload is looked at in so many parts.
const PARTS: u32 = 5;
/// Latency is looked at in pieces of this length, once the overload is over.
const PIECE: Duration = Duration::from_millis(250);
/// As fast as before is: no more than so many times the 99th percentile before.
const BACK_FACTOR: u32 = 2;
/// A percentile of few answers is mostly noise: with that it is as fast as before in any case.
const BACK_FLOOR: Duration = Duration::from_millis(20);

/// How long an order lives, in seconds.
const WINDOW_S: u64 = 10;

/// So little stays in memory that there is more before memory is looked at: until then it grows, as it is to.
const SMALL: [(&str, &str); 2] = [
    ("TAILWATER_HOT_AGGREGATES", "20000"),
    ("TAILWATER_STORE_CACHE_MIB", "16"),
];

/// Runs it.
pub async fn run(rig: &Rig) -> anyhow::Result<Finding> {
    let window = WINDOW_S.to_string();
    let [aggregates, cache] = SMALL;
    let settings = [aggregates, cache, ("TAILWATER_PAYMENT_WINDOW_SECONDS", &*window)];
    let services = rig.services_with(&settings, 1, 0)?;
    let target = Target::new(&services.command_urls()[0])?;
    receive_stock(&target, "overload").await?;
    // From then on as many orders end as begin.
    let warm_up = rig.pace.seconds(WINDOW_S + 2);
    let load = |arrivals, connections, seconds, again| Load {
        targets: vec![target.clone()],
        connections,
        arrivals,
        warm_up,
        duration: rig.pace.seconds(seconds),
        again,
    };
    let closed = load(Arrivals::Closed, CONNECTIONS, 20, true);
    let capacity = drive(closed, order(&target, "capacity")).await?;
    let peak = capacity.per_second();
    rest().await;
    let calm_rate = super::ack::half(peak);
    let calm = load(Arrivals::Open(calm_rate), CONNECTIONS, 8, true);
    let before = drive(calm.clone(), order(&target, "before")).await?;
    rest().await;

    let constants = constant_answers(rig).await?;

    let rate = calm_rate * 2 * TIMES;
    let hot = load(Arrivals::Open(rate), CONNECTIONS_OVERLOAD, 120, false);
    let (begin, whole) = (hot.warm_up, hot.duration);
    let (overload, resident) = tokio::join!(
        drive(hot, order(&target, "overload")),
        watch_memory(&services, begin + whole)
    );
    let (overload, resident) = (overload?, resident?);
    // From the very moment at which it is over.
    let calm = Load {
        warm_up: Duration::ZERO,
        ..calm
    };
    let after = drive(calm, order(&target, "after")).await?;
    rest().await;
    // Those who still waited when no more was sent were answered first.
    let drained = overload.measured.saturating_sub(whole).as_secs_f64();
    let back = drained + back_after(&after, &before.latencies);
    let pending = longest_pending(rig.log(), rig.codec().await?).await?;
    for (what, tally) in [
        ("capacity", &capacity),
        ("overload", &overload),
        ("after", &after),
    ] {
        anyhow::ensure!(tally.failed == 0, "{what}: requests failed: {:?}", tally.failures);
    }

    let parts = acknowledged_by_part(&overload, begin, whole);
    let shares: Vec<f64> = parts.iter().map(|per_second| per_second / peak).collect();
    let asked = overload.acknowledged() + overload.unavailable;
    let first = resident[resident.len() / 4];
    let last = resident.last().copied().unwrap_or(f64::NAN);
    let what = "acknowledged at three times the capacity, to the capacity";
    let ratio = Figure::of(what, "x", &shares, Goal::AtLeast(0.9));
    let floor_is = "floor: the same if a refusal took no more than a constant answer";
    let floor = left_for_orders(constants / peak);
    let also = vec![
        Figure::of(floor_is, "x", &[floor], Goal::None),
        Figure::of(
            "longest time that an order was pending",
            "s",
            &[pending],
            Goal::AtMost(5.0),
        ),
        Figure::of("until latency was as before", "s", &[back], Goal::AtMost(5.0)),
        Figure::of(
            "memory at the end to that after a quarter",
            "x",
            &[last / first],
            Goal::AtMost(1.1),
        ),
    ];
    Ok(Finding::new(
        ratio,
        also,
        json!({
            "capacity_per_second": peak,
            "constant_per_second": constants,
            "asked_per_second": as_f64(asked) / overload.measured.as_secs_f64(),
            "wanted_per_second": rate,
            "acknowledged_per_second": parts,
            "drained_s": drained,
            "share_503": as_f64(overload.unavailable) / as_f64(asked),
            "broken": overload.broken,
            "overload_p50_ms": overload.ms(50.0),
            "overload_p99_ms": overload.ms(99.0),
            "overload_attempt_p50_ms": overload.attempts.percentile(50.0).as_secs_f64() * 1e3,
            "overload_attempt_p99_ms": overload.attempts.percentile(99.0).as_secs_f64() * 1e3,
            "slowest_503_s": overload.slowest_refusal.as_secs_f64(),
            "before_p99_ms": before.ms(99.0),
            "after_p99_ms": after.ms(99.0),
            "resident_mib": resident,
            "resident_kib_for_each_acknowledged_order": (last - first) * 1024.0
                / (as_f64(overload.acknowledged()) * 0.75),
            "longest_pending_s": pending,
        }),
    ))
}

/// Constant answers a second of the same HTTP server.
async fn constant_answers(rig: &Rig) -> anyhow::Result<f64> {
    let constant = Target::new(&rig.constant_server()?)?;
    let text = fitting_text(&rig.codec().await?)?;
    let make = note(&constant, "constant", &[Uuid::nil()], &text);
    Ok(write::peak(rig.pace, &constant, make).await?.per_second())
}

/// The share of the capacity that is left for orders at [`TIMES`] of it, where so many refusals take what one order does.
fn left_for_orders(refusals: f64) -> f64 {
    // share + (TIMES - share) / refusals = 1
    (1.0 - f64::from(TIMES) / refusals) / (1.0 - 1.0 / refusals)
}

/// Resident memory of the service in MiB, a hundred times or so.
async fn watch_memory(services: &Services, whole: Duration) -> anyhow::Result<Vec<f64>> {
    let mut resident = Vec::new();
    for _ in 0..100 {
        resident.push(resident_mib(services, SERVICE)?);
        tokio::time::sleep(whole / 100).await;
    }
    Ok(resident)
}

/// Orders acknowledged a second in each part of the overload.
fn acknowledged_by_part(overload: &Tally, begin: Duration, whole: Duration) -> Vec<f64> {
    let part = whole / PARTS;
    let count = |number: u32| {
        let (from, to) = (begin + part * number, begin + part * (number + 1));
        let within = overload
            .samples
            .iter()
            .filter(|sample| (from..to).contains(&sample.at));
        as_f64(within.count() as u64) / part.as_secs_f64()
    };
    (0..PARTS).map(count).collect()
}

/// After how many seconds orders take no longer than before, and go on so.
fn back_after(after: &Tally, before: &Latencies) -> f64 {
    let limit = (before.percentile(99.0) * BACK_FACTOR).max(BACK_FLOOR);
    let last = after
        .samples
        .iter()
        .map(|sample| sample.at)
        .max()
        .unwrap_or_default();
    let mut back = Duration::ZERO;
    let mut begin = Duration::ZERO;
    while begin < last {
        let mut piece = Latencies::default();
        let within = after
            .samples
            .iter()
            .filter(|sample| (begin..begin + PIECE).contains(&sample.at));
        within.for_each(|sample| piece.record(sample.took));
        begin += PIECE;
        // Nobody was answered at all, or too late.
        if piece.count() == 0 || piece.percentile(90.0) > limit {
            back = begin;
        }
    }
    back.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::drive::Sample;

    fn tally(samples: &[(u64, u64)]) -> Tally {
        Tally {
            samples: samples
                .iter()
                .map(|(at, took)| Sample {
                    at: Duration::from_millis(*at),
                    took: Duration::from_millis(*took),
                })
                .collect(),
            ..Tally::default()
        }
    }

    #[test]
    fn it_is_over_when_the_last_slow_piece_is() {
        let mut before = Latencies::default();
        before.record(Duration::from_millis(30));
        let slow = tally(&[(100, 900), (300, 10), (600, 100), (800, 20), (1_100, 20)]);
        assert!((back_after(&slow, &before) - 0.75).abs() < 1e-9);
        assert!(back_after(&tally(&[(100, 10), (300, 50)]), &before).abs() < 1e-9);
    }

    #[test]
    fn orders_and_refusals_take_all_there_is() {
        let share = left_for_orders(12.0);
        assert!((share + (3.0 - share) / 12.0 - 1.0).abs() < 1e-9);
        assert!((left_for_orders(1e9) - 1.0).abs() < 1e-6);
    }

    #[test]
    fn parts_are_counted_by_when_the_answers_came() {
        let second = Duration::from_secs(1);
        let parts = acknowledged_by_part(
            &tally(&[(500, 1), (1_100, 1), (1_150, 1), (5_900, 1)]),
            second,
            second * 5,
        );
        assert_eq!(parts, [2.0, 0.0, 0.0, 0.0, 1.0]);
    }
}
