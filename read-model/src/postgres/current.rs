//! Which generation a reader reads: the one that was live when it last looked, and it looks in every statement.
//!
//! Each generation has a pool of its own, whose connections see its tables. So statements are the same for all, and stay
//! prepared. A statement that finds another generation live than the one that it has read is asked again there.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{FromRow, PgPool, Postgres, Row};

use super::{options, options_of, pool, untested_pool};
use crate::generations::MODEL_VERSION;
use crate::store::StoreError;

/// As the last column of a statement: the generation that is live, in the snapshot of the rest.
macro_rules! live {
    () => {
        "(SELECT generation FROM public.generations WHERE model_version = 2 AND state = 'live') AS live"
    };
}
pub(super) use live;

// The version is in the statement's text, as a constant costs nothing.
const _: () = assert!(MODEL_VERSION == 2, "the macro above names the version, too");

const NAME: &str = "tailwater-query";
const CONNECTIONS_MAX: u32 = 8;
const PATIENCE: Duration = Duration::from_secs(1);
const STATEMENT_TIMEOUT: (&str, &str) = ("statement_timeout", "10s");
/// How often a read that finds another generation live goes after it.
const ATTEMPTS_MAX: usize = 4;
/// What Postgres says where a table is not there.
const NO_TABLE: &str = "42P01";

/// The generation that is read.
#[derive(Clone, Debug)]
struct Current {
    generation: i32,
    pool: PgPool,
}

/// Asks the live generation.
#[derive(Clone, Debug)]
pub(super) struct Asking {
    database_url: Arc<str>,
    /// For what belongs to no generation.
    shared: PgPool,
    current: Arc<RwLock<Option<Current>>>,
}

impl Asking {
    /// Connects when it is first used.
    pub(super) fn new(database_url: &str) -> Result<Self, StoreError> {
        let options = options(database_url, NAME)?.options([STATEMENT_TIMEOUT]);
        Ok(Self {
            database_url: database_url.into(),
            shared: pool(options, 2, PATIENCE),
            current: Arc::default(),
        })
    }

    pub(super) const fn shared(&self) -> &PgPool {
        &self.shared
    }

    /// The rows of a statement that ends with [`live!`], all of one generation, which is live in the same snapshot. A statement
    /// that may have no row is as good as none where it has none.
    pub(super) async fn rows<'q, R>(
        &self,
        statement: impl Fn() -> Query<'q, Postgres, PgArguments>,
    ) -> Result<Vec<R>, StoreError>
    where
        R: for<'r> FromRow<'r, PgRow>,
    {
        for _ in 0..ATTEMPTS_MAX {
            let current = self.current().await?;
            let rows = match fetch_all(&current.pool, &statement).await {
                Ok(rows) => rows,
                Err(error) if is_gone(&error) => {
                    self.look().await?;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let live = match rows.first() {
                Some(row) => row.try_get::<Option<i32>, _>("live")?,
                None => Some(self.look().await?.generation),
            };
            if live == Some(current.generation) {
                let read = rows.iter().map(|row| R::from_row(row));
                return Ok(read.collect::<Result<_, _>>()?);
            }
            self.turn_to(live.ok_or(StoreError::Absent)?)?;
        }
        Err(StoreError::Moving)
    }

    async fn current(&self) -> Result<Current, StoreError> {
        let known = self
            .current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        match known {
            Some(known) => Ok(known),
            None => self.look().await,
        }
    }

    /// Looks which one is live.
    async fn look(&self) -> Result<Current, StoreError> {
        let live: Option<i32> = sqlx::query_scalar(concat!("SELECT ", live!()))
            .fetch_one(&self.shared)
            .await?;
        self.turn_to(live.ok_or(StoreError::Absent)?)
    }

    /// Reads that one from now on. What is under way at another ends there.
    fn turn_to(&self, generation: i32) -> Result<Current, StoreError> {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = current.as_ref().filter(|known| known.generation == generation) {
            return Ok(known.clone());
        }
        let options = options_of(&self.database_url, NAME, generation)?.options([STATEMENT_TIMEOUT]);
        let turned = Current {
            generation,
            pool: untested_pool(options, CONNECTIONS_MAX, PATIENCE),
        };
        *current = Some(turned.clone());
        Ok(turned)
    }
}

/// What a connection that still lives says: after Postgres was started again, each of those that it had turns out to be dead
/// once.
async fn fetch_all<'q>(
    pool: &PgPool,
    statement: &impl Fn() -> Query<'q, Postgres, PgArguments>,
) -> Result<Vec<PgRow>, sqlx::Error> {
    for _ in 0..CONNECTIONS_MAX {
        match statement().fetch_all(pool).await {
            Err(error) if is_dead(&error) => {}
            fetched => return fetched,
        }
    }
    statement().fetch_all(pool).await
}

/// Whether the connection was closed, and not Postgres out of reach.
fn is_dead(error: &sqlx::Error) -> bool {
    /// What Postgres says last: an administrator ends the connection, or another process has crashed.
    const LAST_WORDS: [&str; 2] = ["57P01", "57P02"];
    matches!(error, sqlx::Error::Io(_)) || code(error).is_some_and(|code| LAST_WORDS.contains(&code.as_ref()))
}

/// Whether the generation was discarded.
fn is_gone(error: &sqlx::Error) -> bool {
    code(error).is_some_and(|code| code == NO_TABLE)
}

fn code(error: &sqlx::Error) -> Option<std::borrow::Cow<'_, str>> {
    error.as_database_error()?.code()
}
