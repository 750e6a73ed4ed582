//! The deploy step: topics, schemas, tables. Idempotent; every start of the pipeline runs it.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use eventlog::{registry, topics};

use crate::settings::Places;

/// Runs it.
pub async fn run(places: &Places, partitions: i32, replication: i32, json: bool) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(
        partitions > 0 && replication > 0,
        "partitions and replication must be positive"
    );
    topics::ensure(&places.log, partitions, replication)
        .await
        .context("the topics cannot be made")?;
    registry::register(places.registry.url.expose(), &places.log.prefix)
        .await
        .context("the schemas cannot be registered")?;
    let database = places.database.url.expose();
    read_model::migrate(database)
        .await
        .context("the tables cannot be made")?;
    let timeout = Duration::from_secs(10);
    let log_id = topics::log_id(&places.log, timeout)?;
    let found = topics::partition_count(&places.log, timeout)?;
    read_model::deployment::store(database, log_id, found)
        .await
        .context("the deployment cannot be noted")?;
    let subjects = schemas::all().len();
    if json {
        println!(
            "{}",
            serde_json::json!({ "partitions": found, "subjects": subjects })
        );
    } else {
        println!("deployed: {found} partitions for each event topic, {subjects} subjects, tables up to date");
    }
    Ok(ExitCode::SUCCESS)
}
