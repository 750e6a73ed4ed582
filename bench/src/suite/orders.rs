//! `orders`: the real orders over HTTP with everything running, as fast as they go, each with the reservations of all its lines;
//! events a second beside those of `append`. There is no goal.

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::ensure;
use serde_json::json;

use super::{
    ROUNDS, append,
    drive::as_f64,
    models::{LogEnd, Models},
    report::{Figure, Finding, Goal},
    rig::Rig,
    spent::PerOperation,
};
use crate::{
    load::{Request, Target, each},
    orders::{Order, embedded, receipts},
};

/// Connections of the load.
const CONNECTIONS: usize = 64;
/// Orders that are placed in each round.
const ORDERS: usize = 3_000;
/// The log is at rest when it does not grow for so long.
const REST: Duration = Duration::from_millis(500);
/// Between two looks at it.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Runs it.
pub async fn run(rig: &Rig) -> anyhow::Result<Finding> {
    let services = rig.services_for_reads(&[])?;
    let target = Target::new(&services.command_urls()[0])?;
    let (models, log) = (Models::of(&services)?, LogEnd::of(rig)?);
    let mut orders = embedded()?.orders;
    orders.truncate(rig.pace.count(ORDERS));
    let lines: usize = orders.iter().map(|order| order.lines.len()).sum();
    let orders = Rc::new(orders);
    let (mut ours, mut theirs, mut orders_per_second, mut cost) =
        (Vec::new(), Vec::new(), Vec::new(), PerOperation::default());
    for round in 0..rig.pace.times(ROUNDS) {
        theirs.push(append::once(rig, &format!("orders-append-{round}")).await?);
        receive(&target, round, &orders).await?;
        let (before, spent) = (log.records().await?, rig.spent());
        let begun = Instant::now();
        place(&target, round, &orders).await?;
        let (records, at_rest) = at_rest(&log).await?;
        models.follow(records).await?;
        let (events, took) = (as_f64(records - before), (at_rest - begun).as_secs_f64());
        cost.push("an event", &rig.spent().since(&spent), records - before);
        ours.push(events / took);
        orders_per_second.push(as_f64(orders.len() as u64) / took);
        eprintln!(
            "  round {}: {:.0} orders/s, {:.0} events/s; append {:.0} records/s",
            round + 1,
            orders_per_second[round],
            ours[round],
            theirs[round]
        );
    }
    let what = "events/s of real orders to records/s of append";
    Ok(Finding::new(
        Figure::ratio(what, &ours, &theirs, Goal::None),
        Vec::new(),
        json!({
            "events_per_second": ours,
            "orders_per_second": orders_per_second,
            "append_per_second": theirs,
            "processor_us_per_event": cost.raw(),
            "orders": orders.len(),
            "lines": lines,
        }),
    ))
}

/// Receives what the orders need.
async fn receive(target: &Target, round: usize, orders: &[Order]) -> anyhow::Result<()> {
    let plan: Vec<_> = receipts(orders).into_iter().collect();
    let (count, to) = (plan.len(), target.clone());
    let make = move |index: usize| {
        let (sku, quantity): &(String, i64) = &plan[index];
        let (path, key) = (
            format!("/v1/stock/{sku}/receipts"),
            format!("orders-receipt-{round}-{index}"),
        );
        let body = format!(r#"{{"quantity":{quantity}}}"#);
        Request::post(&to, &path, &key, body.as_bytes())
    };
    send(target, count, 200, make).await
}

/// Places them all.
async fn place(target: &Target, round: usize, orders: &Rc<Vec<Order>>) -> anyhow::Result<()> {
    let (count, to, orders) = (orders.len(), target.clone(), Rc::clone(orders));
    let make = move |index: usize| {
        // Strings and integers in a derived struct: this cannot fail.
        let body = serde_json::to_vec(&orders[index]).unwrap_or_default();
        Request::post(&to, "/v1/orders", &format!("orders-{round}-{index}"), &body)
    };
    send(target, count, 201, make).await
}

async fn send(
    target: &Target,
    count: usize,
    status: u16,
    make: impl Fn(usize) -> Request + 'static,
) -> anyhow::Result<()> {
    let driven = each(target, CONNECTIONS, count, make, |_| {}).await?;
    for (_, answer) in &driven.answers {
        ensure!(answer.status == status, "answered {}", answer.summary());
    }
    Ok(())
}

/// Waits until the log does not grow any more; how many records it has, and since when.
async fn at_rest(log: &LogEnd) -> anyhow::Result<(u64, Instant)> {
    let (mut records, mut since) = (log.records().await?, Instant::now());
    while since.elapsed() < REST {
        tokio::time::sleep(LOOK_EVERY).await;
        let now = log.records().await?;
        if now != records {
            (records, since) = (now, Instant::now());
        }
    }
    Ok((records, since))
}
