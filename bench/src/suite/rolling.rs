//! `rolling`: three instances are restarted one after the other under a moderate load, beside the same load without restarts.
//! Clients send again what was answered 503, and go to the next instance where a connection breaks.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use devstack::services::Services;
use serde_json::json;

use super::{
    ROUNDS,
    drive::{Arrivals, Load, Stop, as_f64, drive, drive_until},
    failover::{settled, targets_of},
    report::{Figure, Finding, Goal},
    requests::{order, receive_stock, rest},
    rig::Rig,
};

/// Clients' connections.
const CONNECTIONS: usize = 64;
/// After an instance is ready, before the next one is restarted: whoever rolls a service out looks at it first.
const BETWEEN: Duration = Duration::from_secs(1);
/// Acknowledgements that are told with their times, to see what made them slow.
const SLOWEST_TOLD: usize = 10;
/// A rolling restart takes no longer.
const RESTARTS_MAX: Duration = Duration::from_mins(2);

/// Runs it.
pub async fn run(rig: &Rig) -> anyhow::Result<Finding> {
    let services = Arc::new(rig.services(3, 0)?);
    let targets = targets_of(&services)?;
    receive_stock(&targets[0], "rolling").await?;
    settled(&services).await?;
    let load = |arrivals, duration| Load {
        targets: targets.clone(),
        connections: CONNECTIONS,
        arrivals,
        warm_up: rig.pace.seconds(2),
        duration,
        again: true,
    };
    let closed = load(Arrivals::Closed, rig.pace.seconds(10));
    let peak = drive(closed, order(&targets[0], "rolling-peak"))
        .await?
        .per_second();
    rest().await;
    // A quarter: two instances of three must carry it, and whatever a restart costs beside.
    let rate = super::ack::half(peak / 2.0);
    let (mut calm_ms, mut rolling_ms, mut failed, mut failures) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut slowest, mut restarts) = (Vec::new(), Vec::new());
    let (mut unavailable, mut refused, mut broken) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rig.pace.times(ROUNDS) {
        let calm = load(Arrivals::Open(rate), rig.pace.seconds(8));
        let calm = drive(calm, order(&targets[0], &format!("calm-{round}"))).await?;
        let stop = Stop::default();
        let rolling = load(Arrivals::Open(rate), RESTARTS_MAX);
        let (begin, loaded) = (rolling.warm_up, Instant::now());
        let (rolling, restarted) = tokio::join!(
            drive_until(
                rolling,
                stop.clone(),
                order(&targets[0], &format!("rolling-{round}"))
            ),
            async {
                tokio::time::sleep(begin).await;
                let restarted = restart_all(&services, loaded).await;
                stop.now();
                restarted
            }
        );
        restarts.push(restarted?);
        let rolling = rolling?;
        calm_ms.push(calm.ms(99.0));
        rolling_ms.push(rolling.ms(99.0));
        failed.push(as_f64(rolling.failed + calm.failed));
        failures.extend(rolling.failures.iter().chain(&calm.failures).cloned());
        slowest.push(rolling.slowest(SLOWEST_TOLD));
        unavailable.push(rolling.unavailable);
        refused.push(rolling.refused);
        broken.push(rolling.broken);
        eprintln!(
            "  round {}: {} at {rate}/s, {} answers 503, {} connections refused, {} broken, {} failed; without restarts {}",
            round + 1,
            rolling.latencies.summary(),
            rolling.unavailable,
            rolling.refused,
            rolling.broken,
            rolling.failed,
            calm.latencies.summary()
        );
        settled(&services).await?;
    }
    let ratios: Vec<f64> = rolling_ms
        .iter()
        .zip(&calm_ms)
        .map(|(rolling, calm)| rolling / calm)
        .collect();
    let most_failed = failed.iter().copied().fold(0.0, f64::max);
    Ok(Finding::new(
        Figure::of(
            "p99 while instances restart",
            "ms",
            &rolling_ms,
            Goal::AtMost(100.0),
        ),
        vec![Figure::of(
            "requests that failed, most of a round",
            "",
            &[most_failed],
            Goal::AtMost(0.0),
        )],
        json!({
            "per_second": rate,
            "rolling_p99_ms": rolling_ms,
            "calm_p99_ms": calm_ms,
            "rolling_to_calm": ratios,
            "answers_503": unavailable,
            "connections_refused": refused,
            "connections_broken": broken,
            "failed": failed,
            "failures": failures,
            "slowest_at_s_and_ms": slowest,
            "stopped_at_s_and_ready_at_s": restarts,
        }),
    ))
}

/// SIGTERM, wait, start, wait: one after the other. When each was told to stop, and ready again, in seconds since the load began.
async fn restart_all(services: &Arc<Services>, loaded: Instant) -> anyhow::Result<Vec<(f64, f64)>> {
    let mut restarts = Vec::new();
    for name in services.names() {
        let services = Arc::clone(services);
        let stopped = loaded.elapsed().as_secs_f64();
        tokio::task::spawn_blocking(move || {
            services.stop(&name)?;
            services.start()
        })
        .await??;
        restarts.push((stopped, loaded.elapsed().as_secs_f64()));
        tokio::time::sleep(BETWEEN).await;
    }
    Ok(restarts)
}
