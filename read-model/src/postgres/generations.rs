//! Generations in Postgres: a schema each, and a row of `public.generations`.

use std::time::Duration;

use eventlog::Positions;
use sqlx::{AssertSqlSafe, Executor, PgConnection, PgPool, PgTransaction};

use super::compare::{self, Compared};
use super::{CheckpointRow, PostgresStore, checkpoint, options, pool, schema};
use crate::compare::{Comparison, Part};
use crate::generations::{Generation, Generations, MODEL_VERSION, State};
use crate::store::StoreError;

const TABLES: &str = include_str!("../../generation/tables.sql");
const SUMS: &str = include_str!("../../generation/sums.sql");
const INDEXES: &str = include_str!("../../generation/indexes.sql");
const EVENT_INDEXES: &str = include_str!("../../generation/event-indexes.sql");

/// Held by whoever changes generations.
const LOCK: i64 = 0x7461_696c;

/// Waits for who writes the generation, and keeps him out: each of his transactions begins with the checkpoints. Locks of the
/// other tables alone could meet his half way, and so could a weaker one of this: before he changes checkpoints, he locks
/// rows of them, which only this mode does not let by.
const ALONE: &str = "LOCK TABLE checkpoints IN EXCLUSIVE MODE";

/// The generations of the model in Postgres.
#[derive(Clone, Debug)]
pub struct PostgresGenerations {
    database_url: String,
    pool: PgPool,
}

impl PostgresGenerations {
    /// Connects when it is first used. `application` is how Postgres names us.
    pub fn new(database_url: &str, application: &str) -> Result<Self, StoreError> {
        let options = options(database_url, application)?.options([("lock_timeout", "60s")]);
        Ok(Self {
            database_url: database_url.to_owned(),
            pool: pool(options, 2, Duration::from_secs(5)),
        })
    }

    /// A transaction in which nobody else changes generations.
    async fn begin_alone(&self) -> Result<PgTransaction<'static>, StoreError> {
        let mut transaction = self.pool.begin().await?;
        sqlx::query("SELECT pg_advisory_xact_lock($1)")
            .bind(LOCK)
            .execute(&mut *transaction)
            .await?;
        Ok(transaction)
    }

    /// Makes the tables of another generation.
    async fn make(transaction: &mut PgTransaction<'_>, state: State) -> Result<i32, StoreError> {
        let number: i32 = sqlx::query_scalar(
            "INSERT INTO public.generations (model_version, state) VALUES ($1, $2) RETURNING generation",
        )
        .bind(MODEL_VERSION)
        .bind(state.as_str())
        .fetch_one(&mut **transaction)
        .await?;
        let schema = schema(number);
        let begin = format!("CREATE SCHEMA {schema}; SET LOCAL search_path = {schema}");
        transaction.execute(AssertSqlSafe(begin)).await?;
        transaction.execute(TABLES).await?;
        Ok(number)
    }
}

async fn list(connection: &mut PgConnection) -> Result<Vec<Generation>, StoreError> {
    let rows: Vec<(i32, i32, String)> =
        sqlx::query_as("SELECT generation, model_version, state FROM public.generations ORDER BY generation")
            .fetch_all(connection)
            .await?;
    rows.into_iter()
        .map(|(number, version, state)| {
            Ok(Generation {
                number,
                version,
                state: state.parse()?,
            })
        })
        .collect()
}

/// The live one of this version.
pub(crate) async fn live(connection: &mut PgConnection) -> Result<i32, StoreError> {
    let all = list(connection).await?;
    crate::generations::live(&all)
        .map(|live| live.number)
        .ok_or(StoreError::Absent)
}

impl Generations for PostgresGenerations {
    const MODEL: &'static str = "postgres";
    type Store = PostgresStore;

    fn store(&self, number: i32) -> Result<PostgresStore, StoreError> {
        PostgresStore::new(&self.database_url, number)
    }

    async fn list(&self) -> Result<Vec<Generation>, StoreError> {
        list(&mut *self.pool.acquire().await?).await
    }

    /// The very first one is live at once: there is nothing that it could hide. The first one of another version is filled
    /// beside what is there.
    async fn begin(&self) -> Result<(), StoreError> {
        let mut transaction = self.begin_alone().await?;
        let all = list(&mut transaction).await?;
        if all.is_empty() {
            Self::make(&mut transaction, State::Live).await?;
            for statements in [SUMS, INDEXES, EVENT_INDEXES] {
                transaction.execute(statements).await?;
            }
        } else if !all.iter().any(Generation::is_ours) {
            Self::make(&mut transaction, State::Filling).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    async fn create(&self) -> Result<i32, StoreError> {
        let mut transaction = self.begin_alone().await?;
        let number = Self::make(&mut transaction, State::Filling).await?;
        transaction.commit().await?;
        Ok(number)
    }

    async fn positions(&self, one: Generation) -> Result<Positions, StoreError> {
        let statement = format!(
            "SELECT topic, partition, next_offset, last_offset, link FROM {}.checkpoints",
            schema(one.number)
        );
        let rows: Vec<CheckpointRow> = sqlx::query_as(AssertSqlSafe(statement))
            .fetch_all(&self.pool)
            .await?;
        let at = |row| checkpoint(row).map(|(partition, checkpoint)| (partition, checkpoint.next_offset));
        rows.into_iter().map(at).collect()
    }

    async fn complete(&self, number: i32) -> Result<(), StoreError> {
        let mut transaction = self.begin_alone().await?;
        let state: Option<String> = sqlx::query_scalar(
            "SELECT state FROM public.generations WHERE generation = $1 AND model_version = $2",
        )
        .bind(number)
        .bind(MODEL_VERSION)
        .fetch_optional(&mut *transaction)
        .await?;
        if state.as_deref() == Some(State::Filling.as_str()) {
            transaction
                .execute(AssertSqlSafe(format!("{}; {ALONE}", indexing(number))))
                .await?;
            // Nobody writes to it meanwhile, so this one needs no lock of its own.
            let events = async {
                let mut transaction = self.pool.begin().await?;
                transaction.execute(AssertSqlSafe(indexing(number))).await?;
                transaction.execute(EVENT_INDEXES).await?;
                transaction.commit().await
            };
            let others = async {
                transaction.execute(SUMS).await?;
                transaction.execute(INDEXES).await
            };
            tokio::try_join!(events, others)?;
            set(&mut transaction, number, State::Ready).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Rows and checkpoints are lost together or not at all.
    async fn is_whole(&self, _live: i32) -> Result<bool, StoreError> {
        Ok(true)
    }

    async fn mend(&self, _live: i32) -> Result<(), StoreError> {
        Ok(())
    }

    async fn compare(
        &self,
        old: i32,
        new: i32,
        part: Part,
        ready: impl Future<Output = ()> + Send,
    ) -> Result<Comparison, StoreError> {
        compare::generations(&self.database_url, Compared { old, new, part }, ready).await
    }

    async fn switch(&self, number: i32) -> Result<(), StoreError> {
        let mut transaction = self.begin_alone().await?;
        let all = list(&mut transaction).await?;
        let to = all.iter().find(|one| one.number == number && one.is_ours());
        match to.map(|to| to.state) {
            Some(State::Live) => {}
            Some(State::Ready | State::Kept) => {
                if let Some(live) = crate::generations::live(&all) {
                    set(&mut transaction, live.number, State::Kept).await?;
                }
                set(&mut transaction, number, State::Live).await?;
            }
            Some(State::Filling) | None => {
                return Err(StoreError::Refused(format!(
                    "generation {number} is not ready to be read"
                )));
            }
        }
        transaction.commit().await?;
        Ok(())
    }

    async fn discard(&self, one: Generation) -> Result<(), StoreError> {
        let number = one.number;
        let mut transaction = self.begin_alone().await?;
        let all = list(&mut transaction).await?;
        let live = crate::generations::live(&all);
        if !all.iter().any(|one| one.number == number) {
            return Ok(());
        }
        if live.is_none_or(|live| live.number == number) {
            return Err(StoreError::Refused(format!(
                "generation {number} stays, as it is read, or nothing else can be read yet"
            )));
        }
        sqlx::query("DELETE FROM public.generations WHERE generation = $1")
            .bind(number)
            .execute(&mut *transaction)
            .await?;
        let schema = schema(number);
        let statement = format!("SET LOCAL search_path = {schema}; {ALONE}; DROP SCHEMA {schema} CASCADE");
        transaction.execute(AssertSqlSafe(statement)).await?;
        transaction.commit().await?;
        Ok(())
    }
}

/// How a transaction begins that makes the indexes of a generation. Its statistics are rough: the first reads need some, and
/// `autovacuum` makes better ones soon.
fn indexing(number: i32) -> String {
    format!(
        "SET LOCAL search_path = {}; SET LOCAL maintenance_work_mem = '256MB'; SET LOCAL work_mem = '64MB'; \
         SET LOCAL default_statistics_target = 20",
        schema(number)
    )
}

async fn set(transaction: &mut PgTransaction<'_>, number: i32, state: State) -> Result<(), StoreError> {
    sqlx::query("UPDATE public.generations SET state = $2 WHERE generation = $1")
        .bind(number)
        .bind(state.as_str())
        .execute(&mut **transaction)
        .await?;
    Ok(())
}
