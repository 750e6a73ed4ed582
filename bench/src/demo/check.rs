//! The comparisons at the end that are not with the log alone.

use std::{
    process::Command,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Demo, ledger::Ledger, phases::real_key, progress::Progress};
use crate::{
    load::{Request, each},
    orders::Order,
};

/// How long the models may take to show what the log holds.
const PATIENCE: Duration = Duration::from_secs(30);
const CONNECTIONS: usize = 16;

/// Reads every real order by its id, and says which is not what was sent, or not where the log says it is.
pub(super) async fn query_service(demo: &Demo, orders: &[Order]) -> anyhow::Result<Vec<String>> {
    let id = |index| Ledger::id_of(&real_key(&demo.run, index));
    let mut open: Vec<(usize, Uuid)> = (0..orders.len()).map(|index| (index, id(index))).collect();
    let begin = Instant::now();
    loop {
        let asked = Rc::new(open);
        let mut progress = Progress::begin("reading the real orders back", asked.len());
        let make = {
            let (target, asked) = (demo.query.clone(), Rc::clone(&asked));
            move |index: usize| Request::get(&target, &format!("/v1/orders/{}", asked[index].1), &[])
        };
        let driven = each(&demo.query, CONNECTIONS, asked.len(), make, progress.setter()).await?;
        progress.end();
        let mut differences = Vec::new();
        open = Vec::new();
        for (asked_index, answer) in driven.answers {
            let (index, order_id) = asked[asked_index];
            let expected = expected(demo, order_id, &orders[index]);
            let shown = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
            if !expected
                .as_object()
                .is_some_and(|fields| fields.iter().all(|(name, value)| shows(&shown[name], value)))
            {
                differences.push(format!(
                    "order {order_id} should show {expected}: {}",
                    answer.summary()
                ));
                open.push((index, order_id));
            }
        }
        if open.is_empty() || begin.elapsed() > PATIENCE {
            return Ok(differences);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// What the query service must show of an order, at least.
fn expected(demo: &Demo, order_id: Uuid, order: &Order) -> Value {
    let folded = demo.follower.folded.order(order_id);
    json!({
        "order_id": order_id,
        "customer_id": order.customer_id,
        "currency": order.currency,
        "total_minor": order.total_minor(),
        "status": folded.map(|order| order.status.as_str()),
        "sequence": folded.map(|order| order.sequence),
        "lines": order.lines,
    })
}

/// Whether what is shown has everything that is expected; it may have more.
fn shows(shown: &Value, expected: &Value) -> bool {
    match (shown, expected) {
        (Value::Array(shown), Value::Array(expected)) => {
            shown.len() == expected.len()
                && shown
                    .iter()
                    .zip(expected)
                    .all(|(shown, expected)| shows(shown, expected))
        }
        (Value::Object(shown), Value::Object(expected)) => expected
            .iter()
            .all(|(name, value)| shown.get(name).is_some_and(|shown| shows(shown, value))),
        (shown, expected) => shown == expected,
    }
}

/// Lets `tailwater verify` compare the log with both models, order by order and SKU by SKU.
pub(super) fn verify() -> anyhow::Result<Vec<String>> {
    let mut progress = Progress::begin("tailwater verify: comparing the log with Postgres and Redis", 0);
    let tailwater = std::env::current_exe()?.with_file_name("tailwater");
    let output = Command::new(&tailwater)
        .args(["verify", "--json"])
        .output()
        .with_context(|| format!("cannot start {}", tailwater.display()))?;
    progress.end();
    if output.status.success() {
        return Ok(Vec::new());
    }
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    Ok(vec![format!(
        "tailwater verify ended with {}:\n{}\n{}",
        output.status,
        said.trim(),
        complained.trim()
    )])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_may_be_shown_than_expected_and_nothing_else() {
        let shown = json!({"a": 1, "lines": [{"sku": "A", "line": 0}], "more": null});
        assert!(shows(&shown, &json!({"a": 1, "lines": [{"sku": "A"}]})));
        assert!(!shows(&shown, &json!({"a": 2})));
        assert!(!shows(&shown, &json!({"lines": []})));
        assert!(!shows(&shown, &json!({"b": null})));
    }
}
