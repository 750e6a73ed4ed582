//! What queries ask of the sales. A SKU's orders are in every partition, so each answer is as of all of them.

use eventlog::{Positions, Topic};

use super::current::live;
use super::{PostgresReader, as_of, index};
use crate::store::StoreError;
use crate::view::{Day, Period, SalesDay, TopProduct};

/// Rows of the best sellers.
const TOP_MAX: i64 = 100;

/// The sales of a SKU, and the position of every orders partition that they were read at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sales {
    /// As of where.
    pub positions: Positions,
    /// Oldest first, then by currency; days without sales are left out.
    pub days: Vec<SalesDay>,
}

/// The best sellers of a period, and the position of every orders partition that they were read at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Top {
    /// As of where.
    pub positions: Positions,
    /// Best first: by quantity, then revenue, then SKU; at most 100.
    pub products: Vec<TopProduct>,
}

impl PostgresReader {
    /// What was sold of a SKU, day by day, from a day on and up to another one, both included.
    pub async fn sales(&self, sku: &str, from: Option<Day>, to: Option<Day>) -> Result<Sales, StoreError> {
        type Row = (
            Option<Vec<i32>>,
            Option<Vec<i64>>,
            Option<i32>,
            Option<String>,
            Option<String>,
            Option<String>,
        );
        let rows: Vec<Row> = self.asking.rows(|| sqlx::query(
            concat!("SELECT c.partitions, c.offsets, s.day, s.currency, s.quantity::text, s.revenue_minor::text, ", live!(), " \
             FROM (SELECT array_agg(partition) AS partitions, array_agg(next_offset) AS offsets \
                   FROM checkpoints WHERE topic = $1) AS c \
             LEFT JOIN LATERAL \
                  (SELECT day, currency, sum(quantity) AS quantity, sum(revenue_minor) AS revenue_minor FROM sales \
                   WHERE sku = $2 AND day BETWEEN $3 AND $4 \
                   GROUP BY day, currency HAVING sum(quantity) <> 0) AS s ON true \
             ORDER BY s.day, s.currency"),
        )
        .bind(index(Topic::Orders))
        .bind(sku)
        .bind(from.map_or(i32::MIN, |day| day.0))
        .bind(to.map_or(i32::MAX, |day| day.0))
        ).await?;
        let mut sales = Sales::default();
        for (partitions, offsets, day, currency, quantity, revenue_minor) in rows {
            as_of(&mut sales.positions, partitions, offsets);
            if let (Some(day), Some(currency), Some(quantity), Some(revenue_minor)) =
                (day, currency, quantity, revenue_minor)
            {
                sales.days.push(SalesDay {
                    day: Day(day),
                    quantity: number(&quantity)?,
                    revenue_minor: number(&revenue_minor)?,
                    currency,
                });
            }
        }
        Ok(sales)
    }

    /// The best sellers of a day or a month.
    pub async fn top(&self, period: Period) -> Result<Top, StoreError> {
        type Row = (
            Option<Vec<i32>>,
            Option<Vec<i64>>,
            Option<String>,
            Option<String>,
            Option<String>,
            Option<String>,
        );
        let rows: Vec<Row> = self.asking.rows(|| sqlx::query(
            concat!("SELECT c.partitions, c.offsets, s.sku, s.currency, s.quantity::text, s.revenue_minor::text, ", live!(), " \
             FROM (SELECT array_agg(partition) AS partitions, array_agg(next_offset) AS offsets \
                   FROM checkpoints WHERE topic = $1) AS c \
             LEFT JOIN LATERAL \
                  (SELECT sku, currency, sum(quantity) AS quantity, sum(revenue_minor) AS revenue_minor FROM sales \
                   WHERE day BETWEEN $2 AND $3 \
                   GROUP BY sku, currency HAVING sum(quantity) <> 0 \
                   ORDER BY quantity DESC, revenue_minor DESC, sku, currency LIMIT $4) AS s ON true \
             ORDER BY s.quantity DESC, s.revenue_minor DESC, s.sku, s.currency"),
        )
        .bind(index(Topic::Orders))
        .bind(period.days().start().0)
        .bind(period.days().end().0)
        .bind(TOP_MAX)
        ).await?;
        let mut top = Top::default();
        for (partitions, offsets, sku, currency, quantity, revenue_minor) in rows {
            as_of(&mut top.positions, partitions, offsets);
            if let (Some(sku), Some(currency), Some(quantity), Some(revenue_minor)) =
                (sku, currency, quantity, revenue_minor)
            {
                top.products.push(TopProduct {
                    sku,
                    quantity: number(&quantity)?,
                    revenue_minor: number(&revenue_minor)?,
                    currency,
                });
            }
        }
        Ok(top)
    }
}

/// A sum as Postgres has it.
pub(crate) fn number(stored: &str) -> Result<i128, StoreError> {
    stored
        .parse()
        .map_err(|_| StoreError::Corrupt(format!("{stored:?} is no amount")))
}
