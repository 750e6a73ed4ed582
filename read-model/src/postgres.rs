//! The model in Postgres: tables, and the two ways to them.

mod read;
mod write;

use std::str::FromStr;
use std::time::Duration;

use eventlog::{Checkpoint, Link, Topic, TopicPartition};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgConnection, PgPool};

pub use read::{After, Filter, OrderRow, Page, PostgresReader};
pub use write::PostgresStore;

use crate::store::StoreError;

/// Brings the tables up to date. Idempotent, and safe against another one at the same time.
pub async fn migrate(database_url: &str) -> Result<(), StoreError> {
    let mut connection = PgConnection::connect_with(&options(database_url, "tailwater-deploy")?).await?;
    sqlx::migrate!("./migrations").run(&mut connection).await?;
    connection.close().await?;
    Ok(())
}

pub(crate) fn options(database_url: &str, name: &str) -> Result<PgConnectOptions, StoreError> {
    Ok(PgConnectOptions::from_str(database_url)?.application_name(name))
}

/// A pool that connects when it is first used, so that a service starts while Postgres is down.
fn pool(options: PgConnectOptions, connections_max: u32, patience: Duration) -> PgPool {
    PgPoolOptions::new()
        .max_connections(connections_max)
        .acquire_timeout(patience)
        .idle_timeout(Duration::from_mins(5))
        .connect_lazy_with(options)
}

/// A row of `checkpoints`: topic, partition, next offset, last offset, link.
type CheckpointRow = (i16, i32, i64, i64, Vec<u8>);

fn checkpoint(
    (topic, partition, next_offset, last_offset, link): CheckpointRow,
) -> Result<(TopicPartition, Checkpoint), StoreError> {
    let corrupt = |what: &str| StoreError::Corrupt(format!("a checkpoint's {what}"));
    let topic = u8::try_from(topic)
        .ok()
        .and_then(Topic::from_index)
        .ok_or_else(|| corrupt("topic"))?;
    let link = Link(link.try_into().map_err(|_| corrupt("link"))?);
    Ok((
        TopicPartition { topic, partition },
        Checkpoint {
            next_offset,
            last_offset,
            link,
        },
    ))
}

fn index(topic: Topic) -> i16 {
    i16::from(topic.index())
}

/// Every checkpoint of this version of the model.
pub(crate) async fn all_checkpoints(
    connection: &mut PgConnection,
) -> Result<std::collections::BTreeMap<TopicPartition, Checkpoint>, StoreError> {
    let rows: Vec<CheckpointRow> = sqlx::query_as(
        "SELECT topic, partition, next_offset, last_offset, link FROM checkpoints WHERE model_version = $1",
    )
    .bind(crate::MODEL_VERSION)
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(checkpoint).collect()
}
