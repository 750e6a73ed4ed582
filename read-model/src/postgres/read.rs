//! What queries ask of Postgres. Rows and checkpoint come from one statement, and so from one snapshot.

use std::time::Duration;

use eventlog::{Positions, Topic, TopicPartition};
use schemas::Timestamp;
use sqlx::PgPool;
use uuid::Uuid;

use super::{index, options, pool};
use crate::MODEL_VERSION;
use crate::deployment::{self, Deployment};
use crate::reading::{Document, Reading, from_json, sequence, to_json, with_notes};
use crate::store::StoreError;
use crate::view::StockView;

/// The model in Postgres, for reading.
#[derive(Clone, Debug)]
pub struct PostgresReader {
    pool: PgPool,
}

/// Which of a customer's orders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Only of this status.
    pub status: Option<domain::OrderStatus>,
    /// Placed at this time or later.
    pub from: Option<Timestamp>,
    /// Placed before this time.
    pub to: Option<Timestamp>,
}

/// Where the page before ended: pages go from the newest order to the oldest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct After {
    /// When the last order of that page was placed.
    pub placed_at: Timestamp,
    /// Its id.
    pub order_id: Uuid,
}

/// An order in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderRow {
    /// Where it stands in the list.
    pub after: After,
    /// What it depends on.
    pub causes: Positions,
    /// Its public JSON, without notes.
    pub doc: String,
}

/// A page of a customer's orders, and the position of every orders partition that it was read at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// As of where.
    pub positions: Positions,
    /// Newest first.
    pub orders: Vec<OrderRow>,
}

impl PostgresReader {
    /// Connects when it is first used.
    pub fn new(database_url: &str) -> Result<Self, StoreError> {
        let options = options(database_url, "tailwater-query")?.options([("statement_timeout", "10s")]);
        Ok(Self {
            pool: pool(options, 8, Duration::from_secs(1)),
        })
    }

    /// An order with its notes.
    pub async fn order(&self, partition: i32, order_id: Uuid) -> Result<Reading, StoreError> {
        type Row = (i64, Option<i64>, Option<String>, Option<String>, Option<String>);
        let row: Option<Row> = sqlx::query_as(
            "SELECT c.next_offset, o.sequence, o.causes, o.doc, o.notes FROM checkpoints AS c \
             LEFT JOIN orders AS o ON o.order_id = $4 \
             WHERE c.model_version = $1 AND c.topic = $2 AND c.partition = $3",
        )
        .bind(MODEL_VERSION)
        .bind(index(Topic::Orders))
        .bind(partition)
        .bind(order_id)
        .fetch_optional(&self.pool)
        .await?;
        let Some((position, version, causes, doc, notes)) = row else {
            return Ok(Reading {
                position: 0,
                document: None,
            });
        };
        let (Some(version), Some(causes), Some(doc), Some(notes)) = (version, causes, doc, notes) else {
            return Ok(Reading {
                position,
                document: None,
            });
        };
        let document = Document {
            sequence: sequence(version)?,
            causes: from_json(&causes)?,
            json: with_notes(&doc, &notes)?,
        };
        Ok(Reading {
            position,
            document: Some(document),
        })
    }

    /// The stock of a SKU.
    pub async fn stock(&self, partition: i32, sku: &str) -> Result<Reading, StoreError> {
        type Row = (i64, Option<i64>, Option<i64>, Option<i64>, Option<String>);
        let row: Option<Row> = sqlx::query_as(
            "SELECT c.next_offset, s.on_hand, s.reserved, s.sequence, s.causes FROM checkpoints AS c \
             LEFT JOIN stock AS s ON s.sku = $4 \
             WHERE c.model_version = $1 AND c.topic = $2 AND c.partition = $3",
        )
        .bind(MODEL_VERSION)
        .bind(index(Topic::Stock))
        .bind(partition)
        .bind(sku)
        .fetch_optional(&self.pool)
        .await?;
        let Some((position, on_hand, reserved, version, causes)) = row else {
            return Ok(Reading {
                position: 0,
                document: None,
            });
        };
        let (Some(on_hand), Some(reserved), Some(version), Some(causes)) =
            (on_hand, reserved, version, causes)
        else {
            return Ok(Reading {
                position,
                document: None,
            });
        };
        let view = StockView::new(sku.to_owned(), on_hand, reserved, sequence(version)?);
        let document = Document {
            sequence: view.sequence,
            causes: from_json(&causes)?,
            json: to_json(&view)?,
        };
        Ok(Reading {
            position,
            document: Some(document),
        })
    }

    /// A page of a customer's orders, newest first.
    pub async fn customer_orders(
        &self,
        customer_id: &str,
        filter: &Filter,
        after: Option<After>,
        limit: u32,
    ) -> Result<Page, StoreError> {
        type Row = (
            Option<Vec<i32>>,
            Option<Vec<i64>>,
            Option<i64>,
            Option<Uuid>,
            Option<String>,
            Option<String>,
        );
        let after = after.unwrap_or(After {
            placed_at: Timestamp(i64::MAX),
            order_id: Uuid::max(),
        });
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT c.partitions, c.offsets, o.placed_at_us, o.order_id, o.causes, o.doc \
             FROM (SELECT array_agg(partition) AS partitions, array_agg(next_offset) AS offsets \
                   FROM checkpoints WHERE model_version = $1 AND topic = $2) AS c \
             LEFT JOIN LATERAL \
                  (SELECT placed_at_us, order_id, causes, doc FROM orders \
                   WHERE customer_id = $3 AND placed_at_us >= $4 AND placed_at_us < $5 \
                     AND (placed_at_us, order_id) < ($6, $7) AND ($8::text IS NULL OR status = $8) \
                   ORDER BY placed_at_us DESC, order_id DESC LIMIT $9) AS o ON true \
             ORDER BY o.placed_at_us DESC, o.order_id DESC",
        )
        .bind(MODEL_VERSION)
        .bind(index(Topic::Orders))
        .bind(customer_id)
        .bind(filter.from.map_or(i64::MIN, Timestamp::micros))
        .bind(filter.to.map_or(i64::MAX, Timestamp::micros))
        .bind(after.placed_at.micros())
        .bind(after.order_id)
        .bind(filter.status.map(domain::OrderStatus::as_str))
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await?;
        let mut page = Page::default();
        if let Some((Some(partitions), Some(offsets), ..)) = rows.first() {
            for (partition, offset) in partitions.iter().zip(offsets) {
                page.positions.observe(
                    TopicPartition {
                        topic: Topic::Orders,
                        partition: *partition,
                    },
                    *offset,
                );
            }
        }
        for row in rows {
            if let (_, _, Some(placed_at_us), Some(order_id), Some(causes), Some(doc)) = row {
                let after = After {
                    placed_at: Timestamp(placed_at_us),
                    order_id,
                };
                page.orders.push(OrderRow {
                    after,
                    causes: from_json(&causes)?,
                    doc,
                });
            }
        }
        Ok(page)
    }

    /// How far the model is, over all partitions.
    pub async fn positions(&self) -> Result<Positions, StoreError> {
        let rows: Vec<(i16, i32, i64)> =
            sqlx::query_as("SELECT topic, partition, next_offset FROM checkpoints WHERE model_version = $1")
                .bind(MODEL_VERSION)
                .fetch_all(&self.pool)
                .await?;
        let mut positions = Positions::new();
        for (topic, partition, next_offset) in rows {
            if let Some(topic) = u8::try_from(topic).ok().and_then(Topic::from_index) {
                positions.observe(TopicPartition { topic, partition }, next_offset);
            }
        }
        Ok(positions)
    }

    /// Which log the model is made from.
    pub async fn deployment(&self) -> Result<Option<Deployment>, StoreError> {
        let row: Option<(Vec<u8>, i32)> = sqlx::query_as("SELECT log_id, partitions FROM deployment")
            .fetch_optional(&self.pool)
            .await?;
        row.map(|(id, partitions)| deployment::of(&id, partitions))
            .transpose()
    }
}
