//! `replay`: one SKU takes 5,000 commands a second and more, and every fourth of them is an earlier one once again: it must get
//! the earlier one's answer.

use std::{collections::HashMap, time::Duration};

use serde_json::json;

use super::{
    ROUNDS,
    drive::as_f64,
    report::{Figure, Finding, Goal},
    rig::Rig,
};
use crate::load::{Request, Response, Target, closed_loop};

/// Connections of the closed loop.
const CONNECTIONS: usize = 128;
/// The SKU.
const SKU: &str = "hot";
/// One request of so many repeats an earlier one.
const REPEATED_OF: usize = 4;

/// What one round led to.
struct Round {
    per_second: f64,
    repeated: u64,
    differing: Vec<String>,
}

/// Runs it.
pub async fn run(rig: &Rig) -> anyhow::Result<Finding> {
    let services = rig.services(1, 0)?;
    let target = Target::new(&services.command_urls()[0])?;
    let first = closed_loop(
        &target,
        CONNECTIONS,
        rig.pace.seconds(10),
        receipts(&target, "first"),
        |_| {},
    )
    .await?;
    let first: HashMap<usize, Response> = first.answers.into_iter().collect();
    let mut rounds = Vec::new();
    for round in 0..rig.pace.times(ROUNDS) {
        let one = repeat(&target, &first, round, rig.pace.seconds(10)).await?;
        eprintln!(
            "  round {}: {:.0} commands/s on one SKU, {} repeated, {} of them answered otherwise than at first",
            round + 1,
            one.per_second,
            one.repeated,
            one.differing.len()
        );
        rounds.push(one);
    }
    let per_second: Vec<f64> = rounds.iter().map(|round| round.per_second).collect();
    let differing: Vec<&String> = rounds.iter().flat_map(|round| &round.differing).collect();
    Ok(Finding::new(
        Figure::of("commands on one SKU", "/s", &per_second, Goal::AtLeast(5_000.0)),
        vec![Figure::of(
            "repeated commands that were answered otherwise",
            "",
            &[as_f64(u64::try_from(differing.len())?)],
            Goal::AtMost(0.0),
        )],
        json!({
            "commands_per_second": per_second,
            "commands_to_repeat": first.len(),
            "repeated": rounds.iter().map(|round| round.repeated).collect::<Vec<_>>(),
            "differing": differing.iter().take(10).collect::<Vec<_>>(),
        }),
    ))
}

/// Receipts of the SKU, one for each number.
fn receipts(target: &Target, run: &str) -> impl Fn(usize) -> Request + 'static + use<> {
    let (target, run) = (target.clone(), run.to_owned());
    move |index| receipt(&target, &format!("{run}-{index}"), index)
}

fn receipt(target: &Target, key: &str, index: usize) -> Request {
    let body = format!(r#"{{"quantity":{}}}"#, index % 7 + 1);
    Request::post(target, &format!("/v1/stock/{SKU}/receipts"), key, body.as_bytes())
}

/// Which of the first commands a request repeats; none where it is a new one.
fn repeats(index: usize, first: usize) -> Option<usize> {
    // Far from one another: some are in memory, some in the embedded store.
    index
        .is_multiple_of(REPEATED_OF)
        .then(|| index.wrapping_mul(7_919) % first)
}

async fn repeat(
    target: &Target,
    first: &HashMap<usize, Response>,
    round: usize,
    duration: Duration,
) -> anyhow::Result<Round> {
    let count = first.len();
    let make = {
        let target = target.clone();
        move |index: usize| match repeats(index, count) {
            Some(earlier) => receipt(&target, &format!("first-{earlier}"), earlier),
            None => receipt(&target, &format!("round-{round}-{index}"), index),
        }
    };
    let driven = closed_loop(target, CONNECTIONS, duration, make, |_| {}).await?;
    let mut one = Round {
        per_second: as_f64(u64::try_from(driven.answers.len())?) / driven.elapsed.as_secs_f64(),
        repeated: 0,
        differing: Vec::new(),
    };
    for (index, answer) in &driven.answers {
        let Some(earlier) = repeats(*index, count) else {
            continue;
        };
        one.repeated += 1;
        let before = first.get(&earlier);
        let same = before.is_some_and(|before| is_the_same(before, answer));
        if !same {
            let before = before.map_or_else(String::new, Response::summary);
            one.differing
                .push(format!("{earlier}: {before} at first, then {}", answer.summary()));
        }
    }
    Ok(one)
}

fn is_the_same(first: &Response, again: &Response) -> bool {
    let told = ["etag", "location", "content-type"]
        .iter()
        .all(|name| first.header(name) == again.header(name));
    told && (first.status, &first.body) == (again.status, &again.body)
        && again.header("idempotent-replayed") == Some("true")
}
