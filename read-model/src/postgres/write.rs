//! What a projector does with Postgres: what it stores and loads.

use std::collections::BTreeMap;
use std::time::Duration;

use eventlog::{Checkpoint, Topic, TopicPartition};
use futures::FutureExt;
use sqlx::PgPool;
use uuid::Uuid;

use super::intake::Intake;
use super::rows::{BatchRows, Known};
use super::statement::{Part, Statement};
use super::{all_checkpoints, index, options_of, untested_pool};
use crate::reading::{from_json, sequence};
use crate::store::{Batch, Committed, KeptEvent, Move, Store, StoreError, Storing};
use crate::view::{Notes, Order, Stock, StockView};

/// The model in Postgres, for writing.
#[derive(Debug)]
pub struct PostgresStore {
    pool: PgPool,
    /// What was taken in since the last commit.
    intake: Option<Intake>,
    known: Known,
}

/// One for what is stored, one for what is taken in meanwhile, one for what is loaded.
const CONNECTIONS_MAX: u32 = 3;

impl PostgresStore {
    /// Of one generation. Connects when it is first used.
    pub fn new(database_url: &str, generation: i32) -> Result<Self, StoreError> {
        // A commit that is lost with the server's memory takes its rows and its checkpoint together, so the projector makes
        // it again from the log: waiting for the disk would buy nothing.
        let options = options_of(database_url, "tailwater-projector", generation)?.options([
            ("synchronous_commit", "off"),
            ("statement_timeout", "30s"),
            ("idle_in_transaction_session_timeout", "30s"),
        ]);
        Ok(Self {
            // A batch that meets a dead connection is made again, and one that does not has one way less to go.
            pool: untested_pool(options, CONNECTIONS_MAX, Duration::from_secs(5)),
            intake: None,
            known: Known::default(),
        })
    }
}

impl Store for PostgresStore {
    const MODEL: &'static str = "postgres";
    const KEEPS_HISTORY: bool = true;
    const HELD_WEIGHT_MAX: usize = 150_000;

    async fn checkpoints(
        &mut self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, Checkpoint>, StoreError> {
        self.intake = None;
        let topics: Vec<i16> = partitions
            .iter()
            .map(|partition| index(partition.topic))
            .collect();
        let numbers: Vec<i32> = partitions.iter().map(|partition| partition.partition).collect();
        let beginning = Checkpoint::BEGINNING;
        sqlx::query(
            "INSERT INTO checkpoints (topic, partition, next_offset, last_offset, link) \
             SELECT topic, partition, $3, $4, $5 FROM UNNEST($1::smallint[], $2::integer[]) AS wanted (topic, partition) \
             ON CONFLICT DO NOTHING",
        )
        .bind(topics)
        .bind(numbers)
        .bind(beginning.next_offset)
        .bind(beginning.last_offset)
        .bind(&beginning.link.0[..])
        .execute(&self.pool)
        .await?;
        let mut connection = self.pool.acquire().await?;
        self.known.look(&mut connection).await?;
        let mut found = all_checkpoints(&mut connection).await?;
        found.retain(|partition, _| partitions.contains(partition));
        Ok(found)
    }

    async fn reset(&mut self, partition: TopicPartition, found: Checkpoint) -> Result<(), StoreError> {
        let mut transaction = self.pool.begin().await?;
        let moves = [Move {
            partition,
            from: found,
            to: Checkpoint::BEGINNING,
        }];
        let statement = Statement::of(Part {
            moves: &moves,
            ..Part::default()
        })?;
        if statement.run(&mut transaction).await? == Committed::Yes {
            let deletes: &[&'static str] = match partition.topic {
                Topic::Orders => &[
                    "DELETE FROM orders WHERE partition = $1",
                    "DELETE FROM order_events WHERE partition = $1",
                    "DELETE FROM sales WHERE partition = $1",
                ],
                Topic::Stock => &["DELETE FROM stock WHERE partition = $1"],
            };
            for delete in deletes {
                sqlx::query(*delete)
                    .bind(partition.partition)
                    .execute(&mut *transaction)
                    .await?;
            }
            transaction.commit().await?;
        }
        Ok(())
    }

    async fn load_orders(&mut self, ids: &[(i32, Uuid)]) -> Result<Vec<Order>, StoreError> {
        let ids: Vec<Uuid> = ids.iter().map(|(_, id)| *id).collect();
        let rows: Vec<(String, String, String)> =
            sqlx::query_as("SELECT doc, notes, causes FROM orders WHERE order_id = ANY($1)")
                .bind(ids)
                .fetch_all(&self.pool)
                .await?;
        rows.iter()
            .map(|(doc, notes, causes)| {
                Ok(Order {
                    view: from_json(doc)?,
                    notes: Notes::stored(notes)?,
                    causes: from_json(causes)?,
                })
            })
            .collect()
    }

    async fn load_stock(&mut self, skus: &[(i32, String)]) -> Result<Vec<Stock>, StoreError> {
        let skus: Vec<&str> = skus.iter().map(|(_, sku)| sku.as_str()).collect();
        let rows: Vec<(String, i64, i64, i64, String)> =
            sqlx::query_as("SELECT sku, on_hand, reserved, sequence, causes FROM stock WHERE sku = ANY($1)")
                .bind(skus)
                .fetch_all(&self.pool)
                .await?;
        rows.into_iter()
            .map(|(sku, on_hand, reserved, version, causes)| {
                let view = StockView::new(sku, on_hand, reserved, sequence(version)?);
                Ok(Stock {
                    view,
                    causes: from_json(&causes)?,
                })
            })
            .collect()
    }

    async fn take_in(&mut self, events: &[KeptEvent<'_>]) -> Result<(), StoreError> {
        let intake = self
            .intake
            .get_or_insert_with(|| Intake::begin(self.pool.clone()));
        intake.take_in(events).await
    }

    fn prepare(&mut self, batch: &Batch<'_>) -> Result<Storing, StoreError> {
        let (pool, intake) = (self.pool.clone(), self.intake.take());
        let rows = BatchRows::of(batch, &self.known)?;
        Ok(rows.store(pool, intake).boxed())
    }
}
