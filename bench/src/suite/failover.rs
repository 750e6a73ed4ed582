//! `failover`: kill -9 of the owner of some partitions, fifty times, and how long its partitions then wait for their next
//! acknowledgement. Commands come through another instance the whole time.

use std::{
    cell::Cell,
    collections::BTreeMap,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use devstack::{Signal, services::Services};
use serde_json::json;
use tokio::task::{JoinSet, LocalSet};
use uuid::Uuid;

use super::{
    report::{Figure, Finding, Goal},
    requests::{fitting_text, note, partition_of_order, place_orders, receive_stock},
    rig::{PARTITIONS, Rig, metrics_of, signal},
};
use crate::load::{Client, Request, Target};

/// How often an owner is killed.
const KILLS: usize = 50;
/// No further kill after that: what was measured until then counts.
const TIME_MAX: Duration = Duration::from_secs(390);
/// Commands come for so long before the kill, and others follow the log meanwhile.
const BEFORE: Duration = Duration::from_millis(500);
/// How long a partition may be without an acknowledgement before the run is given up.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long instances may take to divide the partitions among them.
const SETTLE: Duration = Duration::from_mins(1);
/// Before another attempt.
const PAUSE: Duration = Duration::from_millis(2);

/// Runs it.
pub async fn run(rig: &Rig) -> anyhow::Result<Finding> {
    let services = rig.services(3, 0)?;
    let names = services.names();
    let targets = targets_of(&services)?;
    let text = fitting_text(&rig.codec().await?)?;
    receive_stock(&targets[0], "failover").await?;
    let orders = one_for_each_partition(&targets[0]).await?;
    let begun = Instant::now();
    let (mut worst_ms, mut each_ms) = (Vec::new(), Vec::new());
    for kill in 0..rig.pace.times(KILLS) {
        if begun.elapsed() > TIME_MAX {
            break;
        }
        let owners = settled(&services).await?;
        let victim = (0..names.len())
            .map(|step| (kill + step) % names.len())
            .find(|number| owners.values().any(|owner| owner == number))
            .context("somebody owns something")?;
        let other = (victim + 1 + kill / names.len() % 2) % names.len();
        let its_orders: Vec<Uuid> = owners
            .iter()
            .filter(|(_, owner)| **owner == victim)
            .map(|(partition, _)| orders[partition])
            .collect();
        let requests = its_orders.into_iter().map(|order| {
            Box::new(note(
                &targets[other],
                &format!("kill-{kill}-{order}"),
                &[order],
                &text,
            ))
        });
        let took = kill_once(
            &services,
            &names[victim],
            &targets[other],
            requests.map(|make| make as Make).collect(),
        )
        .await?;
        let ms: Vec<f64> = took.iter().map(|took| took.as_secs_f64() * 1e3).collect();
        let worst = ms.iter().copied().fold(0.0, f64::max);
        eprintln!(
            "  kill {}: {} of {} partitions, {worst:.0} ms",
            kill + 1,
            ms.len(),
            PARTITIONS
        );
        worst_ms.push(worst);
        each_ms.extend(ms);
        services.start()?;
    }
    let p99 = percentile(&worst_ms, 0.99);
    let what = "p99 until the next acknowledgement, of each kill's slowest partition";
    Ok(Finding::new(
        Figure::of(what, "ms", &[p99], Goal::AtMost(300.0)),
        Vec::new(),
        json!({
            "kills": worst_ms.len(),
            "worst_partition_p50_ms": percentile(&worst_ms, 0.5),
            "worst_partition_p99_ms": p99,
            "worst_partition_max_ms": percentile(&worst_ms, 1.0),
            "all_partitions_p50_ms": percentile(&each_ms, 0.5),
            "all_partitions_p99_ms": percentile(&each_ms, 0.99),
            "worst_partition_ms": worst_ms,
        }),
    ))
}

type Make = Box<dyn Fn(usize) -> Request>;

/// Clients' ways to all command services.
pub(super) fn targets_of(services: &Services) -> anyhow::Result<Vec<Target>> {
    services
        .command_urls()
        .iter()
        .map(|url| Target::new(url))
        .collect()
}

/// An order in each partition.
async fn one_for_each_partition(target: &Target) -> anyhow::Result<BTreeMap<i32, Uuid>> {
    let mut orders = BTreeMap::new();
    for attempt in 0..10 {
        let placed = place_orders(target, &format!("failover-{attempt}"), 100).await?;
        orders.extend(placed.into_iter().map(|id| (partition_of_order(id), id)));
        if orders.len() == usize::try_from(PARTITIONS)? {
            return Ok(orders);
        }
    }
    bail!("some partition has no order")
}

/// Kills the owner while notes are put on its orders through another instance; how long each order then waited for the
/// acknowledgement of a note that was sent after the kill.
async fn kill_once(
    services: &Services,
    victim: &str,
    other: &Target,
    makes: Vec<Make>,
) -> anyhow::Result<Vec<Duration>> {
    let killed: Rc<Cell<Option<Instant>>> = Rc::default();
    let local = LocalSet::new();
    let mut senders = JoinSet::new();
    for make in makes {
        senders.spawn_local_on(send(Client::new(other), make, Rc::clone(&killed)), &local);
    }
    local
        .run_until(async {
            tokio::time::sleep(BEFORE).await;
            killed.set(Some(Instant::now()));
            signal(services, victim, Signal::SIGKILL)?;
            let mut took = Vec::new();
            while let Some(sender) = senders.join_next().await {
                took.push(sender??);
            }
            Ok(took)
        })
        .await
}

/// Sends one note after the other until one that was sent after the kill is acknowledged; how long after the kill that was.
async fn send(mut client: Client, make: Make, killed: Rc<Cell<Option<Instant>>>) -> anyhow::Result<Duration> {
    let mut acknowledged = Instant::now();
    let mut number = 0;
    loop {
        let attempt = Instant::now();
        match client.attempt(&make(number)).await {
            Ok(answer) if answer.status == 201 => {
                number += 1;
                acknowledged = Instant::now();
                if let Some(killed) = killed.get().filter(|killed| attempt >= *killed) {
                    return Ok(killed.elapsed());
                }
                continue;
            }
            Ok(answer) if answer.status == 503 => {}
            Ok(answer) => bail!("a note was answered {}", answer.summary()),
            Err(error) => return Err(error.context("the instance that was not killed")),
        }
        ensure!(
            acknowledged.elapsed() < PATIENCE,
            "nothing was acknowledged in {PATIENCE:?}"
        );
        tokio::time::sleep(PAUSE).await;
    }
}

/// Waits until each partition has exactly one owner, twice in a row; the owner of each partition of orders, by its number.
pub(super) async fn settled(services: &Services) -> anyhow::Result<BTreeMap<i32, usize>> {
    let begun = Instant::now();
    let mut before = None;
    loop {
        let now = divided(services);
        if let (Some(owners), true) = (&now, now == before) {
            return Ok(owners.clone());
        }
        before = now;
        ensure!(
            begun.elapsed() < SETTLE,
            "the partitions have no single owners after {SETTLE:?}"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The owner of each partition of orders; none where some partition of any topic has no owner, or two, or where an instance owns
/// nothing.
fn divided(services: &Services) -> Option<BTreeMap<i32, usize>> {
    let mut owners = BTreeMap::new();
    let names = services.names();
    for (number, name) in names.iter().enumerate() {
        let mut owned = 0;
        for slot in owned_slots(&metrics_of(services, name)?) {
            owned += 1;
            if owners.insert(slot, number).is_some() {
                return None;
            }
        }
        if owned == 0 {
            return None;
        }
    }
    let all = 2 * usize::try_from(PARTITIONS).ok()?;
    let of_orders = |((topic, partition), owner): ((String, i32), usize)| {
        (topic == "orders").then_some((partition, owner))
    };
    (owners.len() == all).then(|| owners.into_iter().filter_map(of_orders).collect())
}

/// Topic and partition of each slot that an instance says it owns.
fn owned_slots(metrics: &str) -> Vec<(String, i32)> {
    let label = |line: &str, name: &str| -> Option<String> {
        let (_, value) = line.split_once(&format!("{name}=\""))?;
        Some(value.split_once('"')?.0.to_owned())
    };
    metrics
        .lines()
        .filter(|line| line.starts_with("tailwater_writer_owner{") && line.ends_with(" 1"))
        .filter_map(|line| Some((label(line, "topic")?, label(line, "partition")?.parse().ok()?)))
        .collect()
}

/// The figure that this share of them does not exceed.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "some hundred figures at most"
)]
fn percentile(figures: &[f64], share: f64) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_read_from_metrics() {
        let metrics = "# TYPE tailwater_writer_owner gauge\n\
            tailwater_writer_owner{topic=\"orders\",partition=\"3\"} 1\n\
            tailwater_writer_owner{topic=\"orders\",partition=\"4\"} 0\n\
            tailwater_writer_owner{topic=\"stock\",partition=\"11\"} 1\n\
            tailwater_cluster_members 1\n";
        assert_eq!(
            owned_slots(metrics),
            [("orders".to_owned(), 3), ("stock".to_owned(), 11)]
        );
    }

    #[test]
    fn percentiles_are_of_what_was_measured() {
        let figures: Vec<f64> = (1..=50).map(f64::from).collect();
        assert!((percentile(&figures, 0.5) - 25.0).abs() < 1e-9);
        assert!((percentile(&figures, 0.99) - 50.0).abs() < 1e-9);
        assert!((percentile(&figures, 1.0) - 50.0).abs() < 1e-9);
        assert!(percentile(&[], 0.5).is_nan());
    }
}
