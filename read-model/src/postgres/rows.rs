//! What a batch comes to in tables: views change, events are added, sales are added up. One statement (`statement`) where it is
//! small; but the events and the new orders of a large batch, which nobody waits for, are copied in, and the other orders go
//! in parts, all of it in one transaction.
//!
//! The sales of a generation that is being filled are copied in as they change, and added up at its end (`generations`):
//! finding each row to add to it would take longer than all the rest.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sqlx::{PgPool, PgTransaction};

use super::copy::Rows;
use super::intake::Intake;
use super::statement::{Part, Statement};
use crate::projection::sales::{Amount, SalesKey};
use crate::reading::to_json;
use crate::store::{Batch, Committed, KeptEvent, StoreError};
use crate::view::{self, Order};

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

/// A batch, as rows.
pub(super) struct BatchRows {
    /// What moves the checkpoints on, and all that is not copied, up to [`ORDERS_MAX`] orders.
    first: Statement,
    /// More orders.
    more: Vec<Statement>,
    events: Option<Rows>,
    placed: Option<Rows>,
    /// Changes of sales, where their rows are no sums.
    sales: Option<Rows>,
    known: Known,
}

impl BatchRows {
    pub(super) fn of(batch: &Batch<'_>, known: &Known) -> Result<Self, StoreError> {
        let mut events: &[KeptEvent<'_>] = &batch.events;
        let mut copied_events = None;
        if events.len() >= COPIED_FROM {
            let mut rows = Rows::default();
            add_events(&mut rows, events)?;
            copied_events = Some(rows);
            events = &[];
        }
        let mut sales: &[_] = &batch.sales.iter().collect::<Vec<_>>();
        let mut copied_sales = None;
        if !sales.is_empty() && !known.sums() {
            copied_sales = Some(sales_rows(sales)?);
            sales = &[];
        }
        let (mut placed, mut orders) = (batch.placed.clone(), batch.orders.clone());
        if placed.len() < COPIED_FROM || known.placed_again.load(Ordering::Relaxed) {
            orders.append(&mut placed);
        }
        // In the order of the key: neighbours share its index's pages.
        orders.sort_unstable_by_key(|(_, order)| order.view.order_id);
        placed.sort_unstable_by_key(|(_, order)| order.view.order_id);
        let (orders, further) = orders.split_at(orders.len().min(ORDERS_MAX));
        let first = Statement::of(Part {
            moves: &batch.moves,
            orders,
            events,
            stock: &batch.stock,
            sales,
        })?;
        let more = further.chunks(ORDERS_MAX).map(|orders| {
            Statement::of(Part {
                orders,
                ..Part::default()
            })
        });
        Ok(Self {
            first,
            more: more.collect::<Result<_, _>>()?,
            events: copied_events,
            placed: (!placed.is_empty()).then(|| order_rows(&placed)).transpose()?,
            sales: copied_sales,
            known: known.clone(),
        })
    }

    /// Stores them, with what was taken in before.
    pub(super) async fn store(self, pool: PgPool, intake: Option<Intake>) -> Result<Committed, StoreError> {
        let mut transaction = match intake {
            Some(intake) => intake.end().await?,
            None if self.is_one_statement() => {
                let mut connection = pool.acquire().await?;
                return self.first.run(&mut connection).await;
            }
            None => pool.begin().await?,
        };
        let committed = self.store_in(&mut transaction).await?;
        match committed {
            Committed::Yes => transaction.commit().await?,
            Committed::Superseded => transaction.rollback().await?,
        }
        Ok(committed)
    }

    const fn is_one_statement(&self) -> bool {
        self.more.is_empty() && self.events.is_none() && self.placed.is_none() && self.sales.is_none()
    }

    async fn store_in(self, transaction: &mut PgTransaction<'_>) -> Result<Committed, StoreError> {
        if self.first.run(transaction).await? == Committed::Superseded {
            return Ok(Committed::Superseded);
        }
        // Tables that were made ready meanwhile take other rows, which the next session makes.
        if self.sales.is_some() && self.known.look(transaction).await? {
            return Ok(Committed::Superseded);
        }
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
        for statement in self.more {
            // No checkpoints, so none that are others.
            statement.run(transaction).await?;
        }
        Ok(Committed::Yes)
    }
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
            .text(order.notes.as_json())?;
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
