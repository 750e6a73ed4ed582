//! Events of a batch that is committed later: copied in as they come, in the transaction that the commit ends. So nobody holds
//! them until then, and Postgres works while the next ones are folded.

use futures::stream;
use sqlx::{Executor, PgPool, PgTransaction};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::copy::{Rows, copy_in};
use super::rows::{COPY_EVENTS, add_events};
use crate::store::{KeptEvent, StoreError};

/// Parts that Postgres has not taken yet.
const PARTS_MAX: usize = 8;

/// As every transaction of a writer it begins with the checkpoints, so that who wants to be alone with a generation is (see
/// `generations`). Other writers are not kept out.
const BEGIN: &str = "LOCK TABLE checkpoints IN ROW EXCLUSIVE MODE";

/// A transaction that takes in events. Dropped, it is rolled back.
#[derive(Debug)]
pub(super) struct Intake {
    parts: mpsc::Sender<Rows>,
    copying: AbortOnDropHandle<Result<PgTransaction<'static>, StoreError>>,
}

impl Intake {
    /// Begins it, in a task of its own.
    pub(super) fn begin(pool: PgPool) -> Self {
        let (parts, mut coming) = mpsc::channel(PARTS_MAX);
        let copying = tokio::spawn(async move {
            let mut transaction = pool.begin().await?;
            transaction.execute(BEGIN).await?;
            let parts = stream::poll_fn(|context| coming.poll_recv(context));
            copy_in(&mut transaction, COPY_EVENTS, parts).await?;
            Ok(transaction)
        });
        Self {
            parts,
            copying: AbortOnDropHandle::new(copying),
        }
    }

    /// Hands over events.
    pub(super) async fn take_in(&mut self, events: &[KeptEvent<'_>]) -> Result<(), StoreError> {
        let mut rows = Rows::default();
        add_events(&mut rows, events)?;
        if self.parts.send(rows).await.is_ok() {
            return Ok(());
        }
        // It ended before it was told to: it says why.
        match (&mut self.copying).await {
            Ok(Ok(_)) => Err(StoreError::Slow),
            Ok(Err(error)) => Err(error),
            Err(error) => Err(StoreError::Corrupt(error.to_string())),
        }
    }

    /// The transaction, with all of them in it.
    pub(super) async fn end(self) -> Result<PgTransaction<'static>, StoreError> {
        let Self { parts, copying } = self;
        drop(parts);
        copying
            .await
            .map_err(|error| StoreError::Corrupt(error.to_string()))?
    }
}
