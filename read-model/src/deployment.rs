//! What was deployed: which log the models are made from, and how many partitions it has.
//!
//! Kept in Postgres by the deploy step and in Redis by the projector, so that a query service can check tokens
//! and find partitions while Kafka is down.

use eventlog::LogId;
use sqlx::{Connection, PgConnection};

use crate::postgres::options;
use crate::store::StoreError;

/// The log behind the models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deployment {
    /// Its identity, which is in every token.
    pub log_id: LogId,
    /// How many partitions each event topic has.
    pub partitions: i32,
}

/// Notes it in Postgres; the tables must be there ([`crate::migrate`]).
pub async fn store(database_url: &str, log_id: LogId, partitions: i32) -> Result<(), StoreError> {
    let mut connection = PgConnection::connect_with(&options(database_url, "tailwater-deploy")?).await?;
    sqlx::query(
        "INSERT INTO deployment (log_id, partitions) VALUES ($1, $2) \
         ON CONFLICT (one) DO UPDATE SET log_id = excluded.log_id, partitions = excluded.partitions",
    )
    .bind(&log_id.0[..])
    .bind(partitions)
    .execute(&mut connection)
    .await?;
    connection.close().await?;
    Ok(())
}

/// What Postgres knows of it.
pub async fn load(database_url: &str) -> Result<Option<Deployment>, StoreError> {
    let mut connection = PgConnection::connect_with(&options(database_url, "tailwater")?).await?;
    let row: Option<(Vec<u8>, i32)> = sqlx::query_as("SELECT log_id, partitions FROM deployment")
        .fetch_optional(&mut connection)
        .await?;
    connection.close().await?;
    row.map(|(id, partitions)| of(&id, partitions)).transpose()
}

pub(crate) fn of(id: &[u8], partitions: i32) -> Result<Deployment, StoreError> {
    let id = id
        .try_into()
        .map_err(|_| StoreError::Corrupt("the log's identity is not 8 bytes".to_owned()))?;
    Ok(Deployment {
        log_id: LogId(id),
        partitions,
    })
}
