//! What a batch does to orders: views change, events are added, sales are added up. One statement, since each more is one
//! more way to the server and back that somebody waits for; but the events and the new orders of a large batch, which nobody
//! waits for, are copied in, and the other orders go in parts.
//!
//! The sales of a generation that is being filled are copied in as they change, and added up at its end (`generations`):
//! finding each row to add to it would take longer than all the rest.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::{PgTransaction, Postgres};
use uuid::Uuid;

use super::copy::Rows;
use crate::projection::sales::{Amount, SalesKey};
use crate::reading::to_json;
use crate::store::{Batch, KeptEvent, StoreError};
use crate::view::{self, Order};

/// The checkpoint that moves in the same transaction sees to it that no event comes twice. Amounts go as text: they may be
/// wider than 64 bits.
macro_rules! store {
    ($sold:expr) => {
        concat!(
            "WITH kept AS ( \
               INSERT INTO order_events (partition, \"offset\", order_id, sequence, type, occurred_at_us, command_id, causes, data) \
               SELECT * FROM UNNEST($10::integer[], $11::bigint[], $12::uuid[], $13::bigint[], $14::text[], $15::bigint[], $16::uuid[], $17::text[], $18::text[]) \
             ) ",
            $sold,
            "INSERT INTO orders (order_id, partition, customer_id, placed_at_us, status, sequence, causes, doc, notes) \
             SELECT * FROM UNNEST($1::uuid[], $2::integer[], $3::text[], $4::bigint[], $5::text[], $6::bigint[], $7::text[], $8::text[], $9::text[]) \
             ON CONFLICT (order_id) DO UPDATE SET status = excluded.status, sequence = excluded.sequence, \
               causes = excluded.causes, doc = excluded.doc, notes = excluded.notes"
        )
    };
}

const STORE: &str = store!(
    ", sold AS ( \
       INSERT INTO sales (partition, day, sku, currency, quantity, revenue_minor) \
       SELECT * FROM UNNEST($19::integer[], $20::integer[], $21::text[], $22::text[], $23::text[]::numeric[], $24::text[]::numeric[]) \
       ON CONFLICT (day, sku, currency, partition) DO UPDATE SET quantity = sales.quantity + excluded.quantity, \
         revenue_minor = sales.revenue_minor + excluded.revenue_minor \
     ) "
);

/// The same without sales, which have no key yet.
const STORE_WITHOUT_SALES: &str = store!("");

/// Copies events in.
pub(super) const COPY_EVENTS: &str = "\
COPY order_events (partition, \"offset\", order_id, sequence, type, occurred_at_us, command_id, causes, data) \
FROM STDIN (FORMAT binary)";

/// Copies orders in that are not there.
const COPY_ORDERS: &str = "\
COPY orders (order_id, partition, customer_id, placed_at_us, status, sequence, causes, doc, notes) FROM STDIN (FORMAT binary)";

/// Copies changes of sales in.
const COPY_SALES: &str = "\
COPY sales (partition, day, sku, currency, quantity, revenue_minor) FROM STDIN (FORMAT binary)";

/// Whether rows of sales are sums: the key that makes them so comes when a generation has been filled.
const SALES_ARE_SUMS: &str = "SELECT to_regclass('sales_by_key') IS NOT NULL";

/// From so many rows on they are copied in.
const COPIED_FROM: usize = 1_000;
/// Orders of one statement: its arrays are in memory, here and there.
const ORDERS_MAX: usize = 8_000;
/// What Postgres says where a key is there.
const UNIQUE_VIOLATION: &str = "23505";

/// What is known of the tables of a generation. Both change once at most.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    /// Rows of sales are sums.
    sums: Arc<AtomicBool>,
    /// An order was placed that was there: a log like that is no reason to stop, so orders are not copied in any more.
    placed_again: Arc<AtomicBool>,
}

impl Known {
    /// Looks whether rows of sales are sums by now, if it is not known. Who has begun with the checkpoints finds it unchanged until
    /// he ends (see `generations`).
    pub(super) async fn look(&self, connection: &mut sqlx::PgConnection) -> Result<bool, StoreError> {
        if !self.sums() {
            let sums: bool = sqlx::query_scalar(SALES_ARE_SUMS).fetch_one(connection).await?;
            self.sums.store(sums, Ordering::Relaxed);
        }
        Ok(self.sums())
    }

    fn sums(&self) -> bool {
        self.sums.load(Ordering::Relaxed)
    }
}

type Statement = Query<'static, Postgres, PgArguments>;

/// The orders of a batch with their events and sales, as rows.
pub(super) struct OrderRows {
    events: Option<Rows>,
    placed: Option<Rows>,
    /// Changes of sales, where their rows are no sums.
    sales: Option<Rows>,
    statements: Vec<Statement>,
    known: Known,
}

impl OrderRows {
    pub(super) fn of(batch: &Batch<'_>, known: &Known) -> Result<Self, StoreError> {
        let mut rows = Self {
            events: None,
            placed: None,
            sales: None,
            statements: Vec::new(),
            known: known.clone(),
        };
        let mut events: &[KeptEvent<'_>] = &batch.events;
        if events.len() >= COPIED_FROM {
            let mut copied = Rows::default();
            add_events(&mut copied, events)?;
            rows.events = Some(copied);
            events = &[];
        }
        let mut sales: &[_] = &batch.sales.iter().collect::<Vec<_>>();
        if !sales.is_empty() && !known.sums() {
            rows.sales = Some(sales_rows(sales)?);
            sales = &[];
        }
        let (mut placed, mut orders) = (batch.placed.clone(), batch.orders.clone());
        if placed.len() < COPIED_FROM || known.placed_again.load(Ordering::Relaxed) {
            orders.append(&mut placed);
        }
        // In the order of the key: neighbours share its index's pages.
        orders.sort_unstable_by_key(|(_, order)| order.view.order_id);
        placed.sort_unstable_by_key(|(_, order)| order.view.order_id);
        if !placed.is_empty() {
            rows.placed = Some(order_rows(&placed)?);
        }
        for orders in orders.chunks(ORDERS_MAX) {
            rows.statements.push(statement(orders, events, sales)?);
            (events, sales) = (&[], &[]);
        }
        if !events.is_empty() || !sales.is_empty() {
            rows.statements.push(statement(&[], events, sales)?);
        }
        Ok(rows)
    }

    /// Whether they are made for tables of another kind than these have become.
    pub(super) async fn are_outdated(&self, transaction: &mut PgTransaction<'_>) -> Result<bool, StoreError> {
        Ok(self.sales.is_some() && self.known.look(transaction).await?)
    }

    pub(super) async fn store(self, transaction: &mut PgTransaction<'_>) -> Result<(), StoreError> {
        if let Some(events) = self.events {
            events.send(transaction, COPY_EVENTS).await?;
        }
        if let Some(placed) = self.placed {
            placed.send(transaction, COPY_ORDERS).await.inspect_err(|error| {
                if let StoreError::Postgres(sqlx::Error::Database(error)) = error
                    && error.code().as_deref() == Some(UNIQUE_VIOLATION)
                {
                    self.known.placed_again.store(true, Ordering::Relaxed);
                }
            })?;
        }
        if let Some(sales) = self.sales {
            sales.send(transaction, COPY_SALES).await?;
        }
        for statement in self.statements {
            statement.execute(&mut **transaction).await?;
        }
        Ok(())
    }
}

fn statement(
    orders: &[(i32, &Order)],
    events: &[KeptEvent<'_>],
    sales: &[(SalesKey<'_>, Amount)],
) -> Result<Statement, StoreError> {
    let (mut docs, mut notes, mut causes) = (
        Vec::with_capacity(orders.len()),
        Vec::with_capacity(orders.len()),
        Vec::with_capacity(orders.len()),
    );
    for (_, order) in orders {
        docs.push(to_json(&order.view)?);
        notes.push(to_json(&order.notes)?);
        causes.push(to_json(&order.causes)?);
    }
    let (mut event_causes, mut event_data) =
        (Vec::with_capacity(events.len()), Vec::with_capacity(events.len()));
    for kept in events {
        event_causes.push(to_json(kept.causes)?);
        event_data.push(view::data(kept.event)?);
    }
    let of_orders = |of: fn(&Order) -> i64| column(orders, |(_, order)| of(order));
    let of_events = |of: fn(&KeptEvent<'_>) -> i64| column(events, of);
    let statement = sqlx::query(if sales.is_empty() {
        STORE_WITHOUT_SALES
    } else {
        STORE
    })
    .bind(column(orders, |(_, order)| order.view.order_id))
    .bind(column(orders, |(partition, _)| *partition))
    .bind(column(orders, |(_, order)| order.view.customer_id.as_str()))
    .bind(of_orders(|order| order.view.placed_at.micros()))
    .bind(column(orders, |(_, order)| order.view.status.as_str()))
    .bind(of_orders(|order| order.view.sequence.cast_signed()))
    .bind(causes)
    .bind(docs)
    .bind(notes)
    .bind(column(events, |kept| kept.partition))
    .bind(of_events(|kept| kept.offset))
    .bind(column(events, |kept| kept.order_id))
    .bind(of_events(|kept| kept.sequence.cast_signed()))
    .bind(column(events, |kept| kept.event.short_name()))
    .bind(of_events(|kept| kept.event.occurred_at().micros()))
    .bind::<Vec<Uuid>>(column(events, |kept| kept.command_id))
    .bind(event_causes)
    .bind(event_data);
    if sales.is_empty() {
        return Ok(statement);
    }
    Ok(statement
        .bind(column(sales, |(key, _)| key.partition))
        .bind(column(sales, |(key, _)| key.day.0))
        .bind(column(sales, |(key, _)| key.sku))
        .bind(column(sales, |(key, _)| key.currency))
        .bind(column(sales, |(_, amount)| amount.quantity.to_string()))
        .bind(column(sales, |(_, amount)| amount.revenue_minor.to_string())))
}

fn order_rows(orders: &[(i32, &Order)]) -> Result<Rows, StoreError> {
    let mut rows = Rows::default();
    for (partition, order) in orders {
        let view = &order.view;
        rows.row(9)
            .uuid(view.order_id)
            .int(*partition)
            .text(&view.customer_id)?
            .bigint(view.placed_at.micros())
            .text(view.status.as_str())?
            .bigint(view.sequence.cast_signed())
            .text(&to_json(&order.causes)?)?
            .text(&to_json(view)?)?
            .text(&to_json(&order.notes)?)?;
    }
    Ok(rows)
}

fn sales_rows(sales: &[(SalesKey<'_>, Amount)]) -> Result<Rows, StoreError> {
    let mut rows = Rows::default();
    for (key, amount) in sales {
        rows.row(6)
            .int(key.partition)
            .int(key.day.0)
            .text(key.sku)?
            .text(key.currency)?
            .numeric(amount.quantity)
            .numeric(amount.revenue_minor);
    }
    Ok(rows)
}

/// Adds events, as rows of [`COPY_EVENTS`].
pub(super) fn add_events(rows: &mut Rows, events: &[KeptEvent<'_>]) -> Result<(), StoreError> {
    for kept in events {
        rows.row(9)
            .int(kept.partition)
            .bigint(kept.offset)
            .uuid(kept.order_id)
            .bigint(kept.sequence.cast_signed())
            .text(kept.event.short_name())?
            .bigint(kept.event.occurred_at().micros())
            .uuid(kept.command_id)
            .text(&to_json(kept.causes)?)?
            .text(&view::data(kept.event)?)?;
    }
    Ok(())
}

/// One column of rows.
fn column<'a, R, T>(rows: &'a [R], of: impl Fn(&'a R) -> T) -> Vec<T> {
    rows.iter().map(of).collect()
}
