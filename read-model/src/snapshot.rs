//! A whole model as of one moment, to be compared with a fold of the log.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use ::redis::AsyncCommands;
use eventlog::{Checkpoint, Topic, TopicPartition};
use futures::TryStreamExt;
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use crate::postgres::{self, options};
use crate::reading::{from_json, sequence};
use crate::redis::{Keys, connection, read_order, read_stock};
use crate::store::StoreError;
use crate::view::{Order, Stock, StockView};

/// How often a Redis that moves on is read again before giving up.
const ATTEMPTS_MAX: usize = 20;
/// Keys of one `MGET`.
const CHUNK: usize = 500;

/// Everything that a model holds. The sequence of an aggregate is in its view.
#[derive(Debug, Default)]
pub struct ModelSnapshot {
    /// How far it is; a partition that is not named has nothing.
    pub checkpoints: BTreeMap<TopicPartition, Checkpoint>,
    /// Orders by id.
    pub orders: HashMap<Uuid, Order>,
    /// Stock by SKU.
    pub stock: HashMap<String, Stock>,
    /// The partition that each order is stored under.
    pub order_partitions: HashMap<Uuid, i32>,
    /// The partition that each SKU is stored under.
    pub stock_partitions: HashMap<String, i32>,
}

impl ModelSnapshot {
    fn insert_order(&mut self, partition: i32, order: Order) {
        self.order_partitions.insert(order.view.order_id, partition);
        self.orders.insert(order.view.order_id, order);
    }

    fn insert_stock(&mut self, partition: i32, stock: Stock) {
        self.stock_partitions.insert(stock.view.sku.clone(), partition);
        self.stock.insert(stock.view.sku.clone(), stock);
    }
}

/// All of the Postgres model, from one snapshot.
pub async fn of_postgres(database_url: &str) -> Result<ModelSnapshot, StoreError> {
    let mut connection = PgConnection::connect_with(&options(database_url, "tailwater-verify")?).await?;
    let mut transaction = connection
        .begin_with("BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        .await?;
    let checkpoints = postgres::all_checkpoints(&mut transaction).await?;
    let mut snapshot = ModelSnapshot {
        checkpoints,
        ..ModelSnapshot::default()
    };
    let mut orders =
        sqlx::query_as("SELECT partition, doc, notes, causes FROM orders").fetch(&mut *transaction);
    while let Some((partition, doc, notes, causes)) = orders.try_next().await? {
        let (doc, notes, causes): (String, String, String) = (doc, notes, causes);
        let order = Order {
            view: from_json(&doc)?,
            notes: from_json(&notes)?,
            causes: from_json(&causes)?,
        };
        snapshot.insert_order(partition, order);
    }
    drop(orders);
    let mut stock = sqlx::query_as("SELECT partition, sku, on_hand, reserved, sequence, causes FROM stock")
        .fetch(&mut *transaction);
    while let Some((partition, sku, on_hand, reserved, version, causes)) = stock.try_next().await? {
        let causes: String = causes;
        let view = StockView::new(sku, on_hand, reserved, sequence(version)?);
        snapshot.insert_stock(
            partition,
            Stock {
                view,
                causes: from_json(&causes)?,
            },
        );
    }
    drop(stock);
    transaction.rollback().await?;
    connection.close().await?;
    Ok(snapshot)
}

/// All of the Redis model: read again until no watermark moved meanwhile.
///
/// # Errors
/// [`StoreError::Moving`] where it never stood still long enough: stop what writes, or try again.
pub async fn of_redis(redis_url: &str, prefix: &str, partitions: i32) -> Result<ModelSnapshot, StoreError> {
    let mut connection = connection(redis_url, Duration::from_secs(30))?;
    let keys = Keys::new(prefix);
    let mut snapshot = ModelSnapshot::default();
    for topic in Topic::ALL {
        for partition in (0..partitions).map(|partition| TopicPartition { topic, partition }) {
            let mut values = None;
            for _ in 0..ATTEMPTS_MAX {
                let before: Option<String> = connection.get(keys.watermark(partition)).await?;
                let found = scan(&mut connection, &keys.documents(partition)).await?;
                let after: Option<String> = connection.get(keys.watermark(partition)).await?;
                if before == after {
                    let checkpoint = after.as_deref().map(crate::redis::parse_watermark).transpose()?;
                    snapshot
                        .checkpoints
                        .insert(partition, checkpoint.unwrap_or(Checkpoint::BEGINNING));
                    values = Some(found);
                    break;
                }
            }
            for text in values.ok_or(StoreError::Moving)? {
                match topic {
                    Topic::Orders => snapshot.insert_order(partition.partition, read_order(&text)?),
                    Topic::Stock => snapshot.insert_stock(partition.partition, read_stock(&text)?),
                }
            }
        }
    }
    Ok(snapshot)
}

/// The values of all keys of a pattern.
async fn scan(
    connection: &mut ::redis::aio::ConnectionManager,
    pattern: &str,
) -> Result<Vec<String>, StoreError> {
    let (mut cursor, mut keys) = (0_u64, std::collections::BTreeSet::new());
    loop {
        let (next, found): (u64, Vec<String>) = ::redis::cmd("SCAN")
            .arg(cursor)
            .arg("MATCH")
            .arg(pattern)
            .arg("COUNT")
            .arg(CHUNK * 10)
            .query_async(connection)
            .await?;
        keys.extend(found);
        if next == 0 {
            break;
        }
        cursor = next;
    }
    let keys: Vec<String> = keys.into_iter().collect();
    let mut values = Vec::with_capacity(keys.len());
    for chunk in keys.chunks(CHUNK) {
        let found: Vec<Option<String>> = connection.mget(chunk).await?;
        values.extend(found.into_iter().flatten());
    }
    Ok(values)
}
