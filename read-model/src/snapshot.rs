//! A whole model as of one moment, to be compared with a fold of the log.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use ::redis::AsyncCommands;
use eventlog::{Checkpoint, Topic, TopicPartition};
use futures::TryStreamExt;
use schemas::{OrderEvent, Timestamp};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use uuid::Uuid;

use crate::generations::{self, Generations as _};
use crate::postgres::{self, options};
use crate::projection::sales::Amount;
use crate::reading::{from_json, sequence, to_json};
use crate::redis::{Keys, RedisGenerations, connection, read_order, read_stock};
use crate::store::{KeptEvent, StoreError};
use crate::view::{self, Day, Notes, Order, Stock, StockView};

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
    /// What is kept beside the views, where the model keeps it.
    pub kept: Option<Kept>,
}

/// Events and sales.
#[derive(Debug, Default)]
pub struct Kept {
    /// The digest of each event by partition and offset.
    pub events: HashMap<(i32, i64), u64>,
    /// Sales that are not zero.
    pub sales: HashMap<SoldKey, Amount>,
}

/// Partition, day, SKU and currency.
pub type SoldKey = (i32, Day, String, String);

/// A number for all that is kept of an event, so that millions of them can be compared in memory. Good within one process.
pub fn digest(kept: &KeptEvent<'_>) -> Result<u64, StoreError> {
    let mut hasher = DefaultHasher::new();
    (kept.order_id, kept.sequence, kept.command_id).hash(&mut hasher);
    (kept.event.short_name(), kept.event.occurred_at()).hash(&mut hasher);
    (to_json(kept.causes)?, view::data(kept.event)?).hash(&mut hasher);
    Ok(hasher.finish())
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

/// All of the live Postgres model, from one snapshot.
pub async fn of_postgres(database_url: &str) -> Result<ModelSnapshot, StoreError> {
    let mut connection = PgConnection::connect_with(&options(database_url, "tailwater-verify")?).await?;
    let mut transaction = connection
        .begin_with("BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        .await?;
    let live = postgres::live(&mut transaction).await?;
    let statement = format!("SET LOCAL search_path = {}", postgres::schema(live));
    transaction.execute(AssertSqlSafe(statement)).await?;
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
            notes: Notes::stored(&notes)?,
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
    snapshot.kept = Some(Kept {
        events: events(&mut transaction).await?,
        sales: sales(&mut transaction).await?,
    });
    transaction.rollback().await?;
    connection.close().await?;
    Ok(snapshot)
}

async fn events(connection: &mut PgConnection) -> Result<HashMap<(i32, i64), u64>, StoreError> {
    type Row = (i32, i64, Uuid, i64, String, i64, Uuid, String, String);
    let mut rows = sqlx::query_as(
        "SELECT partition, \"offset\", order_id, sequence, type, occurred_at_us, command_id, causes, data FROM order_events",
    )
    .fetch(connection);
    let mut digests = HashMap::new();
    while let Some(row) = rows.try_next().await? {
        let (partition, offset, order_id, version, kind, occurred_at_us, command_id, causes, data): Row = row;
        // The typed event, so that what cannot be read back is found.
        let event = OrderEvent::from_data(&kind, Timestamp(occurred_at_us), &data)
            .map_err(|error| StoreError::Corrupt(format!("event {partition} {offset}: {error}")))?;
        let kept = KeptEvent {
            order_id,
            partition,
            offset,
            sequence: sequence(version)?,
            command_id,
            causes: &from_json(&causes)?,
            event: &event,
        };
        digests.insert((partition, offset), digest(&kept)?);
    }
    Ok(digests)
}

async fn sales(connection: &mut PgConnection) -> Result<HashMap<SoldKey, Amount>, StoreError> {
    type Row = (i32, i32, String, String, String, String);
    let mut rows = sqlx::query_as(
        "SELECT partition, day, sku, currency, quantity::text, revenue_minor::text FROM sales \
         WHERE quantity <> 0 OR revenue_minor <> 0",
    )
    .fetch(connection);
    let mut sales = HashMap::new();
    while let Some(row) = rows.try_next().await? {
        let (partition, day, sku, currency, quantity, revenue_minor): Row = row;
        let amount = Amount {
            quantity: postgres::number(&quantity)?,
            revenue_minor: postgres::number(&revenue_minor)?,
        };
        sales.insert((partition, Day(day), sku, currency), amount);
    }
    Ok(sales)
}

/// All of the live Redis model: read again until no watermark moved meanwhile.
///
/// # Errors
/// [`StoreError::Moving`] where it never stood still long enough: stop what writes, or try again.
pub async fn of_redis(redis_url: &str, prefix: &str, partitions: i32) -> Result<ModelSnapshot, StoreError> {
    let mut connection = connection(redis_url, Duration::from_secs(30))?;
    let generations = RedisGenerations::new(redis_url, prefix, partitions)?;
    let live = generations::live(&generations.list().await?).ok_or(StoreError::Absent)?;
    let keys = Keys::new(prefix).of(live.number);
    let mut snapshot = ModelSnapshot::default();
    for topic in Topic::ALL {
        for partition in (0..partitions).map(|partition| TopicPartition { topic, partition }) {
            let mut values = None;
            for _ in 0..ATTEMPTS_MAX {
                let before: Option<String> = connection.get(keys.watermark(partition)).await?;
                let found = scan(&mut connection, &keys.pattern(partition)).await?;
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
