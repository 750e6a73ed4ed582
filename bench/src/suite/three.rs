//! `three`: `append`, `write` and `ack` on three brokers, each record on all of them and acknowledged by two at least; beside the
//! same as on one broker.

use serde_json::{Map, Value};

use super::{ack, append, on_stack, report::Finding, rig::Pace, write};

const BROKERS: usize = 3;
/// How often what is compared takes turns: all three together must not take longer than any other benchmark.
const ROUNDS_MAX: usize = 3;

/// Runs them, each on a stack of its own.
pub async fn run(pace: Pace) -> anyhow::Result<Finding> {
    let pace = Pace {
        times_max: ROUNDS_MAX,
        ..pace
    };
    let mut whole = on_stack(pace, BROKERS, append::run).await?;
    let mut raw = Map::from_iter([("append".to_owned(), Value::Object(whole.raw))]);
    let others = [
        ("write", on_stack(pace, BROKERS, write::run).await?),
        ("ack", on_stack(pace, BROKERS, ack::run).await?),
    ];
    for (name, finding) in others {
        whole.also.push(finding.ratio);
        whole.also.extend(finding.also);
        whole.stolen_percent = whole.stolen_percent.max(finding.stolen_percent);
        raw.insert(name.to_owned(), Value::Object(finding.raw));
    }
    Ok(Finding {
        stolen_percent: whole.stolen_percent,
        ..Finding::new(whole.ratio, whole.also, Value::Object(raw))
    })
}
