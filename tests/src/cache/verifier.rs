//! Follows the log, and judges answers as soon as it has come as far as they have.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use eventlog::{LogConfig, LogReader, Positions};
use schemas::Codec;

use super::report::Report;
use super::truth::{Shown, Thing, Truth};

/// The log has what an answer is as of; it only has to be read.
const PATIENCE: Duration = Duration::from_secs(30);
/// Records that are taken in between two looks at the answers.
const RECORDS: usize = 1_000;

/// What an answer showed.
#[derive(Debug)]
pub(super) enum Content {
    One(Thing, Option<Shown>),
    Page {
        customer: String,
        limit: usize,
        orders: Vec<u64>,
    },
}

/// How an answer is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// It is what the log makes at its token's positions.
    Exact,
    /// It is what the log made at some time before: all that is promised where the token has more in it than what was read.
    Once,
}

/// An answer.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) rule: Rule,
    pub(super) content: Content,
    pub(super) positions: Positions,
    pub(super) served_from: String,
    pub(super) request: String,
}

/// Judges until nobody sends any more; what came of it.
pub(super) fn verify(
    log: &LogConfig,
    codec: &Codec,
    partitions: i32,
    answers: &Receiver<Answered>,
) -> Report {
    let (mut truth, mut report) = (Truth::new(partitions), Report::default());
    let mut reader = LogReader::new(log, "cache-checker").expect("a reader can be made");
    let beginning: Vec<_> = truth.partitions().map(|partition| (partition, 0)).collect();
    reader.assign(&beginning).expect("the log can be read");
    let (mut waiting, mut open): (Vec<Answered>, bool) = (Vec::new(), true);
    let mut moved = Instant::now();
    while open || !waiting.is_empty() {
        let mut wait = Duration::from_millis(1);
        for _ in 0..RECORDS {
            let polled = reader.poll(wait).expect("Kafka answers");
            let Some((partition, record)) = polled else { break };
            truth.take(codec, partition, &record);
            (wait, moved) = (Duration::ZERO, Instant::now());
        }
        loop {
            match answers.recv_timeout(Duration::ZERO) {
                Ok(answer) => waiting.push(answer),
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => {
                    open = false;
                    break;
                }
            }
        }
        let late = moved.elapsed() > PATIENCE;
        waiting.retain(|answer| {
            if !late && !truth.covers(&answer.positions) {
                return true;
            }
            judge(&truth, answer, &mut report);
            false
        });
    }
    report
}

fn judge(truth: &Truth, answer: &Answered, report: &mut Report) {
    let (kind, wrong) = match &answer.content {
        Content::One(thing, shown) => {
            let kind = match (thing, shown) {
                (_, None) => "absent",
                (Thing::Order(_), _) => "order",
                (Thing::Stock(_), _) => "stock",
            };
            (kind, judge_one(truth, answer, thing, *shown))
        }
        Content::Page {
            customer,
            limit,
            orders,
        } => {
            let expected = truth.page(customer, *limit, &answer.positions);
            let wrong = answer.rule == Rule::Exact && *orders != expected;
            let differ = || {
                let same = orders.iter().zip(&expected).take_while(|(a, b)| a == b).count();
                format!(
                    "{} orders instead of {}, the first {same} right",
                    orders.len(),
                    expected.len()
                )
            };
            ("page", wrong.then(differ))
        }
    };
    *report.reads.entry(kind).or_default() += 1;
    *report.served_from.entry(answer.served_from.clone()).or_default() += 1;
    let judged = if answer.rule == Rule::Exact {
        "exactly"
    } else {
        "once so"
    };
    *report.judged.entry(judged).or_default() += 1;
    if let Some(wrong) = wrong {
        report.violated(format!("{wrong}\n    {}", answer.request));
    }
}

fn judge_one(truth: &Truth, answer: &Answered, thing: &Thing, shown: Option<Shown>) -> Option<String> {
    let expected = truth.at(thing, &answer.positions);
    let right = match answer.rule {
        Rule::Once => truth.once(thing, &answer.positions, shown),
        Rule::Exact => match (shown, expected) {
            (None, None) => true,
            (Some(shown), Some(expected)) => {
                shown.sequence == expected.sequence
                    && shown.hash.is_none_or(|hash| Some(hash) == expected.hash)
            }
            _ => false,
        },
    };
    (!right).then(|| format!("{thing:?} is shown as {shown:?}, and the log has {expected:?}"))
}
