//! `ack`: how long acknowledgements take at half of the peak, beside a bare producer at the same rate. Both are open loops.

use serde_json::json;

use super::{
    ROUNDS,
    drive::{Arrivals, Load, drive},
    producer::{create_topic, paced},
    report::{Figure, Finding, Goal},
    requests::{fitting_text, note, place_orders, receive_stock, rest},
    rig::{PARTITIONS, Rig},
    write::peak,
};
use crate::load::Target;

/// The bare producer's topic.
const TOPIC: &str = "bare";
/// Connections of the open loop: more than are ever busy, unless it falls behind.
const CONNECTIONS: usize = 256;
/// Orders that notes are put on.
const ORDERS: usize = 2_000;

/// Runs it.
pub async fn run(rig: &Rig) -> anyhow::Result<Finding> {
    let services = rig.services(1, 0)?;
    let target = Target::new(&services.command_urls()[0])?;
    let text = fitting_text(&rig.codec().await?)?;
    let bootstrap = rig.log().bootstrap;
    create_topic(&bootstrap, TOPIC, PARTITIONS).await?;
    receive_stock(&target, "ack").await?;
    let orders = place_orders(&target, "ack-order", rig.pace.count(ORDERS)).await?;
    rest().await;
    let peak = peak(rig.pace, &target, note(&target, "ack-peak", &orders, &text)).await?;
    let rate = half(peak.per_second());
    let (warm_up, duration) = (rig.pace.seconds(2), rig.pace.seconds(10));
    let (mut ours, mut theirs, mut unavailable) = (Vec::new(), Vec::new(), 0);
    for round in 0..rig.pace.times(ROUNDS) {
        let bare = {
            let bootstrap = bootstrap.clone();
            tokio::task::spawn_blocking(move || paced(&bootstrap, TOPIC, rate, warm_up, duration)).await??
        };
        let load = Load {
            targets: vec![target.clone()],
            connections: CONNECTIONS,
            arrivals: Arrivals::Open(rate),
            warm_up,
            duration,
            again: true,
        };
        let acked = drive(load, note(&target, &format!("ack-{round}"), &orders, &text)).await?;
        anyhow::ensure!(acked.failed == 0, "requests failed: {:?}", acked.failures);
        unavailable += acked.unavailable;
        eprintln!(
            "  round {}: {} at {rate}/s, bare producer {}",
            round + 1,
            acked.latencies.summary(),
            bare.summary()
        );
        ours.push(acked.latencies);
        theirs.push(bare);
    }
    let ms = |of: &[crate::load::Latencies], of_hundred: f64| -> Vec<f64> {
        of.iter()
            .map(|latencies| latencies.percentile(of_hundred).as_secs_f64() * 1e3)
            .collect()
    };
    let more: Vec<f64> = ms(&ours, 50.0)
        .iter()
        .zip(ms(&theirs, 50.0))
        .map(|(ours, theirs)| ours - theirs)
        .collect();
    let what = "p99 of acknowledgements to that of a bare producer";
    let ratio = Figure::ratio(what, &ms(&ours, 99.0), &ms(&theirs, 99.0), Goal::AtMost(2.0));
    let median = Figure::of("p50 more than a bare producer's", "ms", &more, Goal::AtMost(2.0));
    Ok(Finding::new(
        ratio,
        vec![median],
        json!({
            "per_second": rate,
            "peak_per_second": peak.per_second(),
            "ack_p50_ms": ms(&ours, 50.0),
            "ack_p99_ms": ms(&ours, 99.0),
            "bare_p50_ms": ms(&theirs, 50.0),
            "bare_p99_ms": ms(&theirs, 99.0),
            "answers_503": unavailable,
        }),
    ))
}

/// Half of a rate, at least one a second.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rates are positive, and far below 2^32"
)]
pub(super) fn half(per_second: f64) -> u32 {
    ((per_second / 2.0) as u32).max(1)
}
