//! The model in Postgres: tables, and the two ways to them.

mod compare;
mod copy;
mod current;
mod generations;
mod history;
mod intake;
mod read;
mod rows;
mod sales;
mod statement;
mod write;

use std::str::FromStr;
use std::time::Duration;

use eventlog::{Checkpoint, Link, Positions, Topic, TopicPartition};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, Executor, PgConnection, PgPool, SqlSafeStr};

pub use generations::PostgresGenerations;
pub(crate) use generations::live;
pub use history::{Events, History};
pub use read::{After, Filter, OrderRow, Page, PostgresReader};
pub(crate) use sales::number;
pub use sales::{Sales, Top};
pub use write::PostgresStore;

use crate::generations::Generations;
use crate::store::StoreError;

/// The one layout that there was before generations, which nothing reads any more: all of it can be made again from the log.
const FORGET_OLD: &str = "\
DO $$ BEGIN \
  PERFORM pg_advisory_xact_lock(1952541036); \
  IF to_regclass('public.checkpoints') IS NOT NULL THEN \
    DROP TABLE IF EXISTS public.deployment, public.checkpoints, public.orders, public.stock, public.order_events, \
      public.sales, public._sqlx_migrations; \
  END IF; \
END $$";

/// What all generations share: version, name and statements of each migration, in the folder `migrations`. Named here and not by
/// sqlx's macro, which would have every build make a second sqlx for itself.
const MIGRATIONS: [(i64, &str, &str); 1] = [(1, "registry", include_str!("../migrations/0001_registry.sql"))];

fn migrator() -> Migrator {
    let migration = |(version, name, statements): (_, &'static str, &'static str)| {
        Migration::new(
            version,
            name.into(),
            MigrationType::Simple,
            statements.into_sql_str(),
            false,
        )
    };
    Migrator::with_migrations(MIGRATIONS.map(migration).into())
}

/// Brings the tables up to date, and begins the first generation of this code. Idempotent, and safe against another one at
/// the same time.
pub async fn migrate(database_url: &str) -> Result<(), StoreError> {
    let mut connection = PgConnection::connect_with(&options(database_url, "tailwater-deploy")?).await?;
    connection.execute(FORGET_OLD).await?;
    migrator().run(&mut connection).await?;
    connection.close().await?;
    PostgresGenerations::new(database_url, "tailwater-deploy")?
        .begin()
        .await
}

pub(crate) fn options(database_url: &str, name: &str) -> Result<PgConnectOptions, StoreError> {
    Ok(PgConnectOptions::from_str(database_url)?.application_name(name))
}

/// Where the tables of a generation are.
pub(crate) fn schema(generation: i32) -> String {
    format!("g{generation}")
}

/// Options of connections that see the tables of one generation.
fn options_of(database_url: &str, name: &str, generation: i32) -> Result<PgConnectOptions, StoreError> {
    Ok(options(database_url, name)?.options([("search_path", schema(generation))]))
}

/// A pool that connects when it is first used, so that a service starts while Postgres is down.
fn pool(options: PgConnectOptions, connections_max: u32, patience: Duration) -> PgPool {
    pool_options(connections_max, patience).connect_lazy_with(options)
}

/// The same, and a connection is not tested each time that it is taken, which is a way to the server and back. Whoever uses it
/// finds out by its first statement that it has died meanwhile.
fn untested_pool(options: PgConnectOptions, connections_max: u32, patience: Duration) -> PgPool {
    pool_options(connections_max, patience)
        .test_before_acquire(false)
        .connect_lazy_with(options)
}

fn pool_options(connections_max: u32, patience: Duration) -> PgPoolOptions {
    PgPoolOptions::new()
        .max_connections(connections_max)
        .acquire_timeout(patience)
        .idle_timeout(Duration::from_mins(5))
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

/// The positions of the orders partitions, as a query aggregates them: every row has the same.
fn as_of(positions: &mut Positions, partitions: Option<Vec<i32>>, offsets: Option<Vec<i64>>) {
    if !positions.is_empty() {
        return;
    }
    let partitions = partitions.unwrap_or_default();
    for (partition, offset) in partitions.into_iter().zip(offsets.unwrap_or_default()) {
        let topic = Topic::Orders;
        positions.observe(TopicPartition { topic, partition }, offset);
    }
}

fn index(topic: Topic) -> i16 {
    i16::from(topic.index())
}

/// Every checkpoint.
pub(crate) async fn all_checkpoints(
    connection: &mut PgConnection,
) -> Result<std::collections::BTreeMap<TopicPartition, Checkpoint>, StoreError> {
    let rows: Vec<CheckpointRow> =
        sqlx::query_as("SELECT topic, partition, next_offset, last_offset, link FROM checkpoints")
            .fetch_all(connection)
            .await?;
    rows.into_iter().map(checkpoint).collect()
}

#[cfg(test)]
mod tests {
    use super::MIGRATIONS;

    #[test]
    fn every_migration_in_the_folder_is_named() {
        let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations")).unwrap();
        let name =
            |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
        let mut found: Vec<_> = folder.map(name).collect();
        found.sort();
        let named = MIGRATIONS.map(|(version, name, _)| format!("{version:04}_{name}.sql"));
        assert_eq!(found, named);
    }
}
