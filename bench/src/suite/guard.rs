//! `guard`: whether anything became slower than the results that are committed: ratios by more than a quarter, instructions of the
//! steps of a command by more than a twentieth.

use std::{collections::BTreeMap, path::Path};

use anyhow::Context as _;
use serde_json::{Value, json};

use super::{
    append, instructions, on_stack, page,
    report::{Bound, Figure, Finding, Goal},
    rig::Pace,
    write,
};

/// How often what is compared takes turns: it is to be over in three minutes.
const ROUNDS_MAX: usize = 1;
/// A ratio may be so much of the committed one.
const RATIO_LEAST: f64 = 0.75;
/// Instructions may be so many times the committed ones.
const INSTRUCTIONS_MOST: f64 = 1.05;

/// Measures, and compares with the results that the performance page is made of.
pub async fn run(pace: Pace, workspace: &Path) -> anyhow::Result<Finding> {
    let committed = page::committed(workspace)?;
    let pace = Pace {
        times_max: ROUNDS_MAX,
        ..pace
    };
    let counted = instructions::count()?;
    let measured = [
        ("append", on_stack(pace, 1, append::run).await?),
        ("write", on_stack(pace, 1, write::run).await?),
    ];
    let (mut figures, mut raw) = (Vec::new(), json!({ instructions::COUNTS: counted }));
    for (name, finding) in measured {
        let before = committed.benchmarks.get(name);
        let before = before.with_context(|| format!("the committed results have no {name}"))?;
        figures.push(to_committed(name, &finding.ratio, &before.ratio));
        raw[name] = Value::Object(finding.raw);
    }
    let before = committed.benchmarks.get(instructions::COUNTS);
    let before = before.and_then(|finding| finding.raw.get(instructions::COUNTS));
    let before = before.context("the committed results have no instructions")?;
    let before: BTreeMap<String, f64> = serde_json::from_value(before.clone())?;
    for (step, count) in &counted {
        // A step that is new has nothing to be compared with.
        let Some(before) = before.get(step) else { continue };
        let what = format!("instructions to {step}, to the committed ones");
        figures.push(Figure::of(
            what,
            "x",
            &[count / before],
            Goal::AtMost(INSTRUCTIONS_MOST),
        ));
    }
    let first = figures.remove(0);
    Ok(Finding::new(first, figures, raw))
}

/// How good a figure is beside the committed one: below 1 is worse.
fn to_committed(name: &str, now: &Figure, before: &Figure) -> Figure {
    let kept = match now.bound {
        Bound::AtMost => before.median / now.median,
        Bound::AtLeast | Bound::None => now.median / before.median,
    };
    let what = format!("{name}: its ratio to the committed one");
    Figure::of(what, "x", &[kept], Goal::AtLeast(RATIO_LEAST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_of_more_than_a_quarter_is_found() {
        let of = |median: f64, goal| Figure::of("", "x", &[median], goal);
        let ratio = Goal::AtLeast(0.5);
        assert!(to_committed("a", &of(0.31, ratio), &of(0.4, ratio)).met);
        assert!(!to_committed("a", &of(0.29, ratio), &of(0.4, ratio)).met);
        let time = Goal::AtMost(5.0);
        assert!(to_committed("a", &of(5.0, time), &of(4.0, time)).met);
        assert!(!to_committed("a", &of(5.5, time), &of(4.0, time)).met);
    }
}
