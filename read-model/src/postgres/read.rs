//! What queries ask of Postgres. Rows and checkpoint come from one statement, and so from one snapshot.

use std::collections::BTreeMap;

use eventlog::{Checkpoint, Positions, Topic, TopicPartition};
use schemas::Timestamp;
use uuid::Uuid;

use super::current::{Asking, live};
use super::{CheckpointRow, as_of, checkpoint, index};
use crate::deployment::{self, Deployment};
use crate::reading::{Document, Reading, from_json, sequence, to_json, with_notes};
use crate::store::StoreError;
use crate::view::StockView;

const ORDER: &str = concat!(
    "SELECT c.next_offset, o.sequence, o.causes, o.doc, o.notes, ",
    live!(),
    " FROM checkpoints AS c LEFT JOIN orders AS o ON o.order_id = $3 WHERE c.topic = $1 AND c.partition = $2"
);

const STOCK: &str = concat!(
    "SELECT c.next_offset, s.on_hand, s.reserved, s.sequence, s.causes, ",
    live!(),
    " FROM checkpoints AS c LEFT JOIN stock AS s ON s.sku = $3 WHERE c.topic = $1 AND c.partition = $2"
);

const CUSTOMER: &str = concat!(
    "SELECT c.partitions, c.offsets, o.placed_at_us, o.order_id, o.causes, o.doc, ",
    live!(),
    " FROM (SELECT array_agg(partition) AS partitions, array_agg(next_offset) AS offsets \
            FROM checkpoints WHERE topic = $1) AS c \
      LEFT JOIN LATERAL \
           (SELECT placed_at_us, order_id, causes, doc FROM orders \
            WHERE customer_id = $2 AND placed_at_us >= $3 AND placed_at_us < $4 \
              AND (placed_at_us, order_id) < ($5, $6) AND ($7::text IS NULL OR status = $7) \
            ORDER BY placed_at_us DESC, order_id DESC LIMIT $8) AS o ON true \
      ORDER BY o.placed_at_us DESC, o.order_id DESC"
);

const CHECKPOINTS: &str = concat!(
    "SELECT topic, partition, next_offset, last_offset, link, ",
    live!(),
    " FROM checkpoints"
);

/// The live generation of the model in Postgres, for reading.
#[derive(Clone, Debug)]
pub struct PostgresReader {
    pub(super) asking: Asking,
}

/// Which of a customer's orders; all by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
        Ok(Self {
            asking: Asking::new(database_url)?,
        })
    }

    /// An order with its notes.
    pub async fn order(&self, partition: i32, order_id: Uuid) -> Result<Reading, StoreError> {
        type Row = (i64, Option<i64>, Option<String>, Option<String>, Option<String>);
        let rows: Vec<Row> = self
            .asking
            .rows(|| {
                sqlx::query(ORDER)
                    .bind(index(Topic::Orders))
                    .bind(partition)
                    .bind(order_id)
            })
            .await?;
        let Some((position, version, causes, doc, notes)) = rows.into_iter().next() else {
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
        let rows: Vec<Row> = self
            .asking
            .rows(|| {
                sqlx::query(STOCK)
                    .bind(index(Topic::Stock))
                    .bind(partition)
                    .bind(sku)
            })
            .await?;
        let Some((position, on_hand, reserved, version, causes)) = rows.into_iter().next() else {
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
        let rows: Vec<Row> = self
            .asking
            .rows(|| {
                sqlx::query(CUSTOMER)
                    .bind(index(Topic::Orders))
                    .bind(customer_id)
                    .bind(filter.from.map_or(i64::MIN, Timestamp::micros))
                    .bind(filter.to.map_or(i64::MAX, Timestamp::micros))
                    .bind(after.placed_at.micros())
                    .bind(after.order_id)
                    .bind(filter.status.map(domain::OrderStatus::as_str))
                    .bind(i64::from(limit))
            })
            .await?;
        let mut page = Page::default();
        for (partitions, offsets, placed_at_us, order_id, causes, doc) in rows {
            as_of(&mut page.positions, partitions, offsets);
            if let (Some(placed_at_us), Some(order_id), Some(causes), Some(doc)) =
                (placed_at_us, order_id, causes, doc)
            {
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
        let checkpoints = self.checkpoints().await?;
        Ok(checkpoints
            .into_iter()
            .map(|(partition, checkpoint)| (partition, checkpoint.next_offset))
            .collect())
    }

    /// Every checkpoint of the model: how far it is, with the link of the last effective record.
    pub async fn checkpoints(&self) -> Result<BTreeMap<TopicPartition, Checkpoint>, StoreError> {
        let rows: Vec<CheckpointRow> = self.asking.rows(|| sqlx::query(CHECKPOINTS)).await?;
        rows.into_iter().map(checkpoint).collect()
    }

    /// Which log the model is made from.
    pub async fn deployment(&self) -> Result<Option<Deployment>, StoreError> {
        let row: Option<(Vec<u8>, i32)> = sqlx::query_as("SELECT log_id, partitions FROM deployment")
            .fetch_optional(self.asking.shared())
            .await?;
        row.map(|(id, partitions)| deployment::of(&id, partitions))
            .transpose()
    }
}
