//! What a projector does with Postgres: rows as arrays, one transaction for each batch.

use std::collections::BTreeMap;
use std::time::Duration;

use eventlog::{Checkpoint, Topic, TopicPartition};
use futures::FutureExt;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::{PgPool, PgTransaction, Postgres};
use uuid::Uuid;

use super::intake::Intake;
use super::orders::{Known, OrderRows};
use super::{all_checkpoints, index, options_of, untested_pool};
use crate::reading::{from_json, sequence, to_json};
use crate::store::{Batch, Committed, KeptEvent, Move, Store, StoreError, Storing};
use crate::view::{Order, Stock, StockView};

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

    async fn begin(&self) -> Result<PgTransaction<'static>, StoreError> {
        Ok(self.pool.begin().await?)
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
        let mut transaction = self.begin().await?;
        let to = Checkpoint::BEGINNING;
        if advance(
            &mut transaction,
            &[Move {
                partition,
                from: found,
                to,
            }],
        )
        .await?
            == Committed::Yes
        {
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
                    notes: from_json(notes)?,
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
        let moves = batch.moves.clone();
        let orders = OrderRows::of(batch, &self.known)?;
        let stock = stock_statement(&batch.stock)?;
        Ok(async move {
            let mut transaction = match intake {
                Some(intake) => intake.end().await?,
                None => pool.begin().await?,
            };
            // Tables that were made ready meanwhile take other rows, which the next session makes.
            if advance(&mut transaction, &moves).await? == Committed::Superseded
                || orders.are_outdated(&mut transaction).await?
            {
                transaction.rollback().await?;
                return Ok(Committed::Superseded);
            }
            orders.store(&mut transaction).await?;
            if let Some(stock) = stock {
                stock.execute(&mut *transaction).await?;
            }
            transaction.commit().await?;
            Ok(Committed::Yes)
        }
        .boxed())
    }
}

/// Moves the checkpoints on, if all of them are where the batch started. Its locks keep a second projector out until this one
/// is through, and it then finds other checkpoints.
async fn advance(transaction: &mut PgTransaction<'_>, moves: &[Move]) -> Result<Committed, StoreError> {
    let column = |of: fn(&Move) -> i64| moves.iter().map(of).collect::<Vec<i64>>();
    let links = |of: fn(&Move) -> &Checkpoint| {
        moves
            .iter()
            .map(|step| of(step).link.0.to_vec())
            .collect::<Vec<_>>()
    };
    let updated = sqlx::query(
        "UPDATE checkpoints AS stored SET next_offset = m.to_next, last_offset = m.to_last, link = m.to_link \
         FROM UNNEST($1::smallint[], $2::integer[], $3::bigint[], $4::bytea[], $5::bigint[], $6::bigint[], $7::bytea[]) \
              AS m (topic, partition, from_next, from_link, to_next, to_last, to_link) \
         WHERE stored.topic = m.topic AND stored.partition = m.partition \
           AND stored.next_offset = m.from_next AND stored.link = m.from_link",
    )
    .bind(moves.iter().map(|step| index(step.partition.topic)).collect::<Vec<i16>>())
    .bind(moves.iter().map(|step| step.partition.partition).collect::<Vec<i32>>())
    .bind(column(|step| step.from.next_offset))
    .bind(links(|step| &step.from))
    .bind(column(|step| step.to.next_offset))
    .bind(column(|step| step.to.last_offset))
    .bind(links(|step| &step.to))
    .execute(&mut **transaction)
    .await?;
    if updated.rows_affected() == moves.len() as u64 {
        Ok(Committed::Yes)
    } else {
        Ok(Committed::Superseded)
    }
}

fn stock_statement(
    stock: &[(i32, &Stock)],
) -> Result<Option<Query<'static, Postgres, PgArguments>>, StoreError> {
    if stock.is_empty() {
        return Ok(None);
    }
    let causes = stock
        .iter()
        .map(|(_, stock)| to_json(&stock.causes))
        .collect::<Result<Vec<String>, _>>()?;
    let column = |of: fn(&StockView) -> i64| {
        stock
            .iter()
            .map(|(_, stock)| of(&stock.view))
            .collect::<Vec<i64>>()
    };
    Ok(Some(sqlx::query(
        "INSERT INTO stock (sku, partition, on_hand, reserved, sequence, causes) \
         SELECT * FROM UNNEST($1::text[], $2::integer[], $3::bigint[], $4::bigint[], $5::bigint[], $6::text[]) \
         ON CONFLICT (sku) DO UPDATE SET on_hand = excluded.on_hand, reserved = excluded.reserved, \
           sequence = excluded.sequence, causes = excluded.causes",
    )
    .bind(stock.iter().map(|(_, stock)| stock.view.sku.as_str()).collect::<Vec<&str>>())
    .bind(stock.iter().map(|(partition, _)| *partition).collect::<Vec<i32>>())
    .bind(column(|view| view.on_hand))
    .bind(column(|view| view.reserved))
    .bind(column(|view| view.sequence.cast_signed()))
    .bind(causes)))
}
