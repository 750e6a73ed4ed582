//! What a batch does to orders: views change, events are added, sales are added up. One statement, since each more is one
//! more way to the server and back that somebody waits for; but the events of a large batch, which nobody waits for, are
//! copied in, and its orders go in parts.

use sqlx::PgTransaction;
use uuid::Uuid;

use super::copy::Rows;
use crate::projection::sales::{Amount, SalesKey};
use crate::reading::to_json;
use crate::store::{Batch, KeptEvent, StoreError};
use crate::view::{self, Order};

/// The checkpoint that moves in the same transaction sees to it that no event comes twice. Amounts go as text: they may be
/// wider than 64 bits.
const STORE: &str = "\
WITH kept AS ( \
  INSERT INTO order_events (partition, \"offset\", order_id, sequence, type, occurred_at_us, command_id, causes, data) \
  SELECT * FROM UNNEST($10::integer[], $11::bigint[], $12::uuid[], $13::bigint[], $14::text[], $15::bigint[], $16::uuid[], $17::text[], $18::text[]) \
), sold AS ( \
  INSERT INTO sales (partition, day, sku, currency, quantity, revenue_minor) \
  SELECT * FROM UNNEST($19::integer[], $20::integer[], $21::text[], $22::text[], $23::text[]::numeric[], $24::text[]::numeric[]) \
  ON CONFLICT (day, sku, currency, partition) DO UPDATE SET quantity = sales.quantity + excluded.quantity, \
    revenue_minor = sales.revenue_minor + excluded.revenue_minor \
) \
INSERT INTO orders (order_id, partition, customer_id, placed_at_us, status, sequence, causes, doc, notes) \
SELECT * FROM UNNEST($1::uuid[], $2::integer[], $3::text[], $4::bigint[], $5::text[], $6::bigint[], $7::text[], $8::text[], $9::text[]) \
ON CONFLICT (order_id) DO UPDATE SET status = excluded.status, sequence = excluded.sequence, \
  causes = excluded.causes, doc = excluded.doc, notes = excluded.notes";

/// Copies events in.
pub(super) const COPY_EVENTS: &str = "\
COPY order_events (partition, \"offset\", order_id, sequence, type, occurred_at_us, command_id, causes, data) \
FROM STDIN (FORMAT binary)";

/// From so many events on they are copied in.
const COPIED_FROM: usize = 1_000;
/// Orders of one statement: its arrays are in memory, here and there.
const ORDERS_MAX: usize = 8_000;

/// Stores the orders of a batch with their events and sales.
pub(super) async fn store(transaction: &mut PgTransaction<'_>, batch: &Batch<'_>) -> Result<(), StoreError> {
    let mut events: &[KeptEvent<'_>] = &batch.events;
    if events.len() >= COPIED_FROM {
        let mut rows = Rows::new(event_rows_bytes(events.len()));
        add_events(&mut rows, events)?;
        rows.send(transaction, COPY_EVENTS).await?;
        events = &[];
    }
    let mut sales: &[_] = &batch.sales.iter().collect::<Vec<_>>();
    let mut orders = batch.orders.clone();
    // In the order of the key: neighbours share its index's pages.
    orders.sort_unstable_by_key(|(_, order)| order.view.order_id);
    for orders in orders.chunks(ORDERS_MAX) {
        store_rows(transaction, orders, events, sales).await?;
        (events, sales) = (&[], &[]);
    }
    Ok(())
}

async fn store_rows(
    transaction: &mut PgTransaction<'_>,
    orders: &[(i32, &Order)],
    events: &[KeptEvent<'_>],
    sales: &[(SalesKey<'_>, Amount)],
) -> Result<(), StoreError> {
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
    sqlx::query(STORE)
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
        .bind(event_data)
        .bind(column(sales, |(key, _)| key.partition))
        .bind(column(sales, |(key, _)| key.day.0))
        .bind(column(sales, |(key, _)| key.sku))
        .bind(column(sales, |(key, _)| key.currency))
        .bind(column(sales, |(_, amount)| amount.quantity.to_string()))
        .bind(column(sales, |(_, amount)| amount.revenue_minor.to_string()))
        .execute(&mut **transaction)
        .await?;
    Ok(())
}

/// About how many bytes so many events are as rows.
pub(super) const fn event_rows_bytes(events: usize) -> usize {
    events * 300
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
