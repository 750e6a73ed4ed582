//! What stores a small batch: one statement, since each more is one more way to the server and back that somebody waits for,
//! and a statement of its own is a transaction.

use eventlog::Checkpoint;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::{PgConnection, Postgres, Row};
use uuid::Uuid;

use super::index;
use crate::projection::sales::{Amount, SalesKey};
use crate::reading::to_json;
use crate::store::{Committed, KeptEvent, Move, StoreError};
use crate::view::{self, Order, Stock, StockView};

/// It moves the checkpoints on, if all of them are where the batch started, and only then does the rest: `passed` has a row or
/// none. The locks on the checkpoints keep a second projector out until this one is through, and it then finds others. They
/// come first also because who wants to be alone with a generation begins there (see `generations`); tables are locked in
/// the order of the parts.
///
/// The checkpoint sees to it that no event comes twice. Amounts go as text: they may be wider than 64 bits.
macro_rules! store {
    ($sold:expr) => {
        concat!(
            "WITH locked AS ( \
               SELECT m.topic, m.partition, m.to_next, m.to_last, m.to_link \
               FROM UNNEST($1::smallint[], $2::integer[], $3::bigint[], $4::bytea[], $5::bigint[], $6::bigint[], $7::bytea[]) \
                    AS m (topic, partition, from_next, from_link, to_next, to_last, to_link) \
               JOIN checkpoints AS stored ON stored.topic = m.topic AND stored.partition = m.partition \
                 AND stored.next_offset = m.from_next AND stored.link = m.from_link \
               FOR UPDATE OF stored \
             ), passed AS ( \
               SELECT true AS all_of_them FROM locked HAVING count(*) = cardinality($1::smallint[]) \
             ), moved AS ( \
               UPDATE checkpoints AS stored \
               SET next_offset = locked.to_next, last_offset = locked.to_last, link = locked.to_link \
               FROM passed, locked WHERE stored.topic = locked.topic AND stored.partition = locked.partition \
             ), changed AS ( \
               INSERT INTO orders (order_id, partition, customer_id, placed_at_us, status, sequence, causes, doc, notes) \
               SELECT rows.* FROM passed, \
                 UNNEST($8::uuid[], $9::integer[], $10::text[], $11::bigint[], $12::text[], $13::bigint[], $14::text[], $15::text[], $16::text[]) AS rows \
               ON CONFLICT (order_id) DO UPDATE SET status = excluded.status, sequence = excluded.sequence, \
                 causes = excluded.causes, doc = excluded.doc, notes = excluded.notes \
             ), kept AS ( \
               INSERT INTO order_events (partition, \"offset\", order_id, sequence, type, occurred_at_us, command_id, causes, data) \
               SELECT rows.* FROM passed, \
                 UNNEST($17::integer[], $18::bigint[], $19::uuid[], $20::bigint[], $21::text[], $22::bigint[], $23::uuid[], $24::text[], $25::text[]) AS rows \
             ), shelved AS ( \
               INSERT INTO stock (sku, partition, on_hand, reserved, sequence, causes) \
               SELECT rows.* FROM passed, \
                 UNNEST($26::text[], $27::integer[], $28::bigint[], $29::bigint[], $30::bigint[], $31::text[]) AS rows \
               ON CONFLICT (sku) DO UPDATE SET on_hand = excluded.on_hand, reserved = excluded.reserved, \
                 sequence = excluded.sequence, causes = excluded.causes \
             ) ",
            $sold,
            "SELECT EXISTS (SELECT FROM passed)"
        )
    };
}

const STORE: &str = store!(
    ", sold AS ( \
       INSERT INTO sales (partition, day, sku, currency, quantity, revenue_minor) \
       SELECT rows.* FROM passed, \
         UNNEST($32::integer[], $33::integer[], $34::text[], $35::text[], $36::text[]::numeric[], $37::text[]::numeric[]) AS rows \
       ON CONFLICT (day, sku, currency, partition) DO UPDATE SET quantity = sales.quantity + excluded.quantity, \
         revenue_minor = sales.revenue_minor + excluded.revenue_minor \
     ) "
);

/// The same without sales, which have no key yet.
const STORE_WITHOUT_SALES: &str = store!("");

/// What one statement stores.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Part<'a> {
    pub(super) moves: &'a [Move],
    pub(super) orders: &'a [(i32, &'a Order)],
    pub(super) events: &'a [KeptEvent<'a>],
    pub(super) stock: &'a [(i32, &'a Stock)],
    /// Only where their rows are sums.
    pub(super) sales: &'a [(SalesKey<'a>, Amount)],
}

/// A statement with its arguments.
pub(super) struct Statement(Query<'static, Postgres, PgArguments>);

impl Statement {
    pub(super) fn of(part: Part<'_>) -> Result<Self, StoreError> {
        let Part {
            moves,
            orders,
            events,
            stock,
            sales,
        } = part;
        let links = |of: fn(&Move) -> &Checkpoint| column(moves, |step| of(step).link.0.to_vec());
        let of_orders = |of: fn(&Order) -> i64| column(orders, |(_, order)| of(order));
        let of_events = |of: fn(&KeptEvent<'_>) -> i64| column(events, of);
        let of_stock = |of: fn(&StockView) -> i64| column(stock, |(_, stock)| of(&stock.view));
        let statement = sqlx::query(if sales.is_empty() {
            STORE_WITHOUT_SALES
        } else {
            STORE
        })
        .bind(column(moves, |step| index(step.partition.topic)))
        .bind(column(moves, |step| step.partition.partition))
        .bind(column(moves, |step| step.from.next_offset))
        .bind(links(|step| &step.from))
        .bind(column(moves, |step| step.to.next_offset))
        .bind(column(moves, |step| step.to.last_offset))
        .bind(links(|step| &step.to))
        .bind(column(orders, |(_, order)| order.view.order_id))
        .bind(column(orders, |(partition, _)| *partition))
        .bind(column(orders, |(_, order)| order.view.customer_id.as_str()))
        .bind(of_orders(|order| order.view.placed_at.micros()))
        .bind(column(orders, |(_, order)| order.view.status.as_str()))
        .bind(of_orders(|order| order.view.sequence.cast_signed()))
        .bind(texts(orders, |(_, order)| to_json(&order.causes))?)
        .bind(texts(orders, |(_, order)| to_json(&order.view))?)
        .bind(column(orders, |(_, order)| order.notes.as_json()))
        .bind(column(events, |kept| kept.partition))
        .bind(of_events(|kept| kept.offset))
        .bind(column(events, |kept| kept.order_id))
        .bind(of_events(|kept| kept.sequence.cast_signed()))
        .bind(column(events, |kept| kept.event.short_name()))
        .bind(of_events(|kept| kept.event.occurred_at().micros()))
        .bind::<Vec<Uuid>>(column(events, |kept| kept.command_id))
        .bind(texts(events, |kept| to_json(kept.causes))?)
        .bind(texts(events, |kept| view::data(kept.event))?)
        .bind(column(stock, |(_, stock)| stock.view.sku.as_str()))
        .bind(column(stock, |(partition, _)| *partition))
        .bind(of_stock(|view| view.on_hand))
        .bind(of_stock(|view| view.reserved))
        .bind(of_stock(|view| view.sequence.cast_signed()))
        .bind(texts(stock, |(_, stock)| to_json(&stock.causes))?);
        if sales.is_empty() {
            return Ok(Self(statement));
        }
        Ok(Self(
            statement
                .bind(column(sales, |(key, _)| key.partition))
                .bind(column(sales, |(key, _)| key.day.0))
                .bind(column(sales, |(key, _)| key.sku))
                .bind(column(sales, |(key, _)| key.currency))
                .bind(column(sales, |(_, amount)| amount.quantity.to_string()))
                .bind(column(sales, |(_, amount)| amount.revenue_minor.to_string())),
        ))
    }

    /// Carries it out. Nothing is stored where a checkpoint is another one.
    pub(super) async fn run(self, connection: &mut PgConnection) -> Result<Committed, StoreError> {
        let row = self.0.fetch_one(connection).await?;
        Ok(if row.try_get(0)? {
            Committed::Yes
        } else {
            Committed::Superseded
        })
    }
}

/// One column of rows.
fn column<'a, R, T>(rows: &'a [R], of: impl Fn(&'a R) -> T) -> Vec<T> {
    rows.iter().map(of).collect()
}

/// One column of rows that may not be writable.
fn texts<'a, R>(
    rows: &'a [R],
    of: impl Fn(&'a R) -> Result<String, StoreError>,
) -> Result<Vec<String>, StoreError> {
    rows.iter().map(of).collect()
}
