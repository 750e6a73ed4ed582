//! `tailwater verify`: the log against the models.
//!
//! The log is folded twice over: by the domain's own `evolve` (what the writers believe) and by nothing that the
//! models use. Each model is compared at the positions that it says it has examined.

mod compare;
mod fold;
mod report;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use eventlog::{Checkpoint, LogReader, Topic, TopicPartition, registry, topics};
use read_model::{ModelSnapshot, snapshot};

use crate::settings::Places;
use fold::Folded;
use report::{ModelReport, Report};

const TIMEOUT: Duration = Duration::from_secs(10);

/// Runs it; exit code 1 where anything differs.
pub async fn run(places: &Places, wait_s: u64, json: bool) -> anyhow::Result<ExitCode> {
    let partitions = topics::partition_count(&places.log, TIMEOUT)?;
    let codec = registry::load_codec(places.registry.url.expose(), &places.log.prefix, None).await?;
    let ends = ends(places, partitions)?;
    let deadline = Instant::now() + Duration::from_secs(wait_s);
    let postgres = settled(&ends, deadline, || {
        snapshot::of_postgres(places.database.url.expose())
    })
    .await
    .context("Postgres cannot be read")?;
    let redis = settled(&ends, deadline, || {
        snapshot::of_redis(places.redis.url.expose(), &places.redis.prefix, partitions)
    })
    .await
    .context("Redis cannot be read")?;
    let mut report = Report::default();
    // Two models that stand at the same positions are compared with the same fold.
    let mut folded: Option<(BTreeMap<TopicPartition, i64>, Folded)> = None;
    for (name, model) in [("postgres", &postgres), ("redis", &redis)] {
        let reach = reach(&ends, model);
        let fold = match folded.take() {
            Some((reached, fold)) if reached == reach => fold,
            _ => fold::fold(&places.log, &codec, &reach)?,
        };
        report.models.push((name, examine(&fold, model, &ends)));
        folded = Some((reach, fold));
    }
    report.log = folded.map(|(_, fold)| fold.into());
    report.print(json)?;
    Ok(if report.is_clean() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Where each partition of the log ends now.
fn ends(places: &Places, partitions: i32) -> anyhow::Result<BTreeMap<TopicPartition, i64>> {
    let reader = LogReader::new(&places.log, "verify")?;
    let mut ends = BTreeMap::new();
    for topic in Topic::ALL {
        for partition in 0..partitions {
            let partition = TopicPartition { topic, partition };
            ends.insert(partition, reader.watermarks(partition, TIMEOUT)?.1);
        }
    }
    Ok(ends)
}

/// A model's snapshot once it has come as far as the log went, or as it is when time is up.
async fn settled<F, E>(
    ends: &BTreeMap<TopicPartition, i64>,
    deadline: Instant,
    mut read: impl FnMut() -> F,
) -> Result<ModelSnapshot, E>
where
    F: Future<Output = Result<ModelSnapshot, E>>,
{
    loop {
        let model = read().await?;
        let behind = ends
            .iter()
            .any(|(partition, end)| at(&model, *partition).next_offset < *end);
        if !behind || Instant::now() > deadline {
            return Ok(model);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn at(model: &ModelSnapshot, partition: TopicPartition) -> Checkpoint {
    model
        .checkpoints
        .get(&partition)
        .copied()
        .unwrap_or(Checkpoint::BEGINNING)
}

/// How far the log is to be folded to compare it with a model.
fn reach(ends: &BTreeMap<TopicPartition, i64>, model: &ModelSnapshot) -> BTreeMap<TopicPartition, i64> {
    ends.keys()
        .map(|partition| (*partition, at(model, *partition).next_offset))
        .collect()
}

fn examine(folded: &Folded, model: &ModelSnapshot, ends: &BTreeMap<TopicPartition, i64>) -> ModelReport {
    let mut report = ModelReport::default();
    for (partition, end) in ends {
        let checkpoint = at(model, *partition);
        report.behind += (end - checkpoint.next_offset).max(0);
        let expected = folded
            .checkpoints
            .get(partition)
            .copied()
            .unwrap_or(Checkpoint::BEGINNING);
        if checkpoint.link != expected.link {
            report.differ(format!(
                "{partition:?}: the checkpoint's link is {}, the log's {}",
                checkpoint.link, expected.link
            ));
        }
    }
    compare::orders(folded, model, &mut report);
    compare::stock(folded, model, &mut report);
    report
}
