//! What a projector needs of a model, whichever store holds it.

use std::collections::BTreeMap;

use eventlog::{Checkpoint, Positions, TopicPartition};
use futures::future::BoxFuture;
use schemas::OrderEvent;
use uuid::Uuid;

use crate::projection::sales::SalesChanges;
use crate::view::{Order, Stock};

/// What can go wrong with a store. All of it is worth trying again, but for [`StoreError::Corrupt`].
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Postgres says no, or nothing.
    #[error("Postgres: {0}")]
    Postgres(#[from] sqlx::Error),
    /// A migration cannot be carried out.
    #[error("the tables cannot be made: {0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// Redis says no, or nothing.
    #[error("Redis: {0}")]
    Redis(#[from] ::redis::RedisError),
    /// What is stored is not what we store.
    #[error("what is stored cannot be read: {0}")]
    Corrupt(String),
    /// The model is not there: it was lost, or never made.
    #[error("the model is not there (yet)")]
    Absent,
    /// It takes longer than it may.
    #[error("no answer in time")]
    Slow,
    /// What was asked for cannot be done as things are.
    #[error("{0}")]
    Refused(String),
    /// A model that moves on cannot be read as a whole.
    #[error("the model moved on while it was read")]
    Moving,
}

/// One partition's way from a checkpoint to a later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    /// Which partition.
    pub partition: TopicPartition,
    /// The checkpoint that is stored.
    pub from: Checkpoint,
    /// The checkpoint to store.
    pub to: Checkpoint,
}

/// An effective event of an order, to be kept.
#[derive(Clone, Copy, Debug)]
pub struct KeptEvent<'a> {
    /// The order.
    pub order_id: Uuid,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// The order's sequence after it.
    pub sequence: u64,
    /// The command that it answers.
    pub command_id: Uuid,
    /// What it depends on.
    pub causes: &'a Positions,
    /// The event.
    pub event: &'a OrderEvent,
}

/// Changes of any number of partitions: the new checkpoints, and each view that changed, once, as it is at the end.
#[derive(Debug, Default)]
pub struct Batch<'a> {
    /// At most one for each partition.
    pub moves: Vec<Move>,
    /// Orders that were placed in this batch, and their partitions: the store has none of them.
    pub placed: Vec<(i32, &'a Order)>,
    /// The other orders, and their partitions.
    pub orders: Vec<(i32, &'a Order)>,
    /// Stock and its partitions.
    pub stock: Vec<(i32, &'a Stock)>,
    /// The events that changed these orders, in the order of each partition, but for those that were taken in before; empty
    /// unless [`Store::KEEPS_HISTORY`].
    pub events: Vec<KeptEvent<'a>>,
    /// How the sales change by it; empty unless [`Store::KEEPS_HISTORY`].
    pub sales: SalesChanges<'a>,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Committed {
    /// All of it is stored.
    Yes,
    /// A stored checkpoint was another one: somebody else was there, or the store lost something. What was stored of the
    /// batch, if anything, is whole partitions; read the checkpoints again and go on from there.
    Superseded,
}

/// Stores what was prepared, once it is driven.
pub type Storing = BoxFuture<'static, Result<Committed, StoreError>>;

/// A read model as a projector sees it. `&mut`, as one projection at a time writes.
pub trait Store: Send + 'static {
    /// Its name in logs and metrics: `postgres` or `redis`.
    const MODEL: &'static str;
    /// Whether it keeps the orders' events and the sales beside the views.
    const KEEPS_HISTORY: bool;
    /// How much of views a batch may hold where nobody waits for it, in units of about a hundred bytes: what changes again
    /// before the batch is committed is stored once.
    const HELD_WEIGHT_MAX: usize;

    /// The stored checkpoint of each of these partitions, made where there is none. What was taken in and not committed is
    /// forgotten.
    fn checkpoints(
        &mut self,
        partitions: &[TopicPartition],
    ) -> impl Future<Output = Result<BTreeMap<TopicPartition, Checkpoint>, StoreError>> + Send;

    /// Forgets a partition whose checkpoint is still `found`: all that was made from it goes, and its checkpoint is the beginning.
    fn reset(
        &mut self,
        partition: TopicPartition,
        found: Checkpoint,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// The orders of these ids (with their partitions) that are there.
    fn load_orders(
        &mut self,
        ids: &[(i32, Uuid)],
    ) -> impl Future<Output = Result<Vec<Order>, StoreError>> + Send;

    /// The stock of these SKUs (with their partitions) that is there.
    fn load_stock(
        &mut self,
        skus: &[(i32, String)],
    ) -> impl Future<Output = Result<Vec<Stock>, StoreError>> + Send;

    /// Takes in events of the batch that is committed next and does not name them: it may be long until then, and so nobody has
    /// to hold them. They are stored with that commit or not at all. Only where [`Store::KEEPS_HISTORY`].
    fn take_in(&mut self, events: &[KeptEvent<'_>]) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Makes of a batch what stores it, where each stored checkpoint is the one that the batch started from. The batch is not
    /// needed any more then, so the next one can be folded meanwhile; what is loaded meanwhile is from before it, or not.
    fn prepare(&mut self, batch: &Batch<'_>) -> Result<Storing, StoreError>;

    /// Stores a batch.
    fn commit(&mut self, batch: &Batch<'_>) -> impl Future<Output = Result<Committed, StoreError>> + Send {
        let prepared = self.prepare(batch);
        async move { prepared?.await }
    }
}
