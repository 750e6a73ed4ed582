//! `tailwater verify`: the log against the models.
//!
//! The log is folded twice over: by the domain's own `evolve` (what the writers believe) and by nothing that the
//! models use. Each model is compared at the positions that it says it has examined.

mod compare;
mod fold;
mod report;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use eventlog::{Checkpoint, LogReader, TopicPartition, registry, topics};
use read_model::{ModelSnapshot, StoreError, snapshot};

use crate::settings::Places;
use fold::Folded;
use report::{ModelReport, Report};

const TIMEOUT: Duration = Duration::from_secs(10);

/// Runs it; exit code 1 where anything differs.
pub async fn run(places: &Places, wait_s: u64, json: bool) -> anyhow::Result<ExitCode> {
    let partitions = topics::partition_count(&places.log, TIMEOUT)?;
    let codec = Arc::new(registry::load_codec(places.registry.url.expose(), &places.log.prefix, None).await?);
    let ends = ends(places, partitions)?;
    let deadline = Instant::now() + Duration::from_secs(wait_s);
    // The log up to where it ends now, and each model, beside each other; a model that stands elsewhere is compared with
    // a fold of its own.
    let whole = tokio::task::spawn_blocking({
        let (log, codec, ends) = (places.log.clone(), Arc::clone(&codec), ends.clone());
        move || fold::fold(&log, &codec, &ends)
    });
    let postgres = tokio::spawn({
        let (ends, database_url) = (ends.clone(), places.database.url.clone());
        async move { settled(&ends, deadline, || snapshot::of_postgres(database_url.expose())).await }
    });
    let redis = tokio::spawn({
        let (ends, redis) = (ends.clone(), places.redis.clone());
        async move {
            settled(&ends, deadline, || {
                snapshot::of_redis(redis.url.expose(), &redis.prefix, partitions)
            })
            .await
        }
    });
    let postgres = postgres.await?.context("Postgres cannot be read")?;
    let redis = redis.await?.context("Redis cannot be read")?;
    let mut report = Report::default();
    let mut folded = (ends.clone(), whole.await??);
    for (name, model) in [("postgres", &postgres), ("redis", &redis)] {
        let reach = reach(&ends, model);
        if reach != folded.0 {
            let fold = fold::fold(&places.log, &codec, &reach)?;
            folded = (reach, fold);
        }
        report.models.push((name, examine(&folded.1, model, &ends)));
    }
    report.log = Some(folded.1.into());
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
    Ok(reader.ends(TopicPartition::all(partitions), TIMEOUT)?)
}

/// A model's snapshot once it has come as far as the log went, or as it is when time is up.
async fn settled<F>(
    ends: &BTreeMap<TopicPartition, i64>,
    deadline: Instant,
    mut read: impl FnMut() -> F,
) -> Result<ModelSnapshot, StoreError>
where
    F: Future<Output = Result<ModelSnapshot, StoreError>>,
{
    loop {
        let late = Instant::now() > deadline;
        match read().await {
            Ok(model) => {
                let behind = ends
                    .iter()
                    .any(|(partition, end)| at(&model, *partition).next_offset < *end);
                if !behind || late {
                    return Ok(model);
                }
            }
            // It was lost, and is being made again.
            Err(StoreError::Absent) if !late => {}
            Err(error) => return Err(error),
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
    if let Some(kept) = &model.kept {
        compare::events(folded, kept, &mut report);
        compare::sales(folded, kept, &mut report);
    }
    report
}
