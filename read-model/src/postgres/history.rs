//! What queries ask of the kept events: a history, an order as it was, and what a stream goes on with.

use eventlog::{Checkpoint, Topic};
use schemas::Timestamp;
use uuid::Uuid;

use super::current::live;
use super::{CheckpointRow, PostgresReader, checkpoint, index};
use crate::projection::{self, At};
use crate::reading::{Document, Reading, from_json, sequence, to_json, with_notes};
use crate::store::StoreError;
use crate::view::{HistoryEvent, Order};

/// The events of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// The first offset of the order's partition that the model had not examined.
    pub position: i64,
    /// Oldest first; none where there is no such order.
    pub events: Vec<HistoryEvent>,
}

/// Events from an offset on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Events {
    /// The first offset of the partition that the model had not examined.
    pub position: i64,
    /// The first offset that this answer says nothing about: where to ask again. It is `position` where all that the model
    /// has is in it, and never less than what was asked from.
    pub reached: i64,
    /// In the order of the partition.
    pub events: Vec<HistoryEvent>,
}

/// The columns of an event behind the checkpoint's; all or none are there.
type Row = (
    i64,
    Option<i32>,
    Option<i64>,
    Option<Uuid>,
    Option<i64>,
    Option<String>,
    Option<i64>,
    Option<Uuid>,
    Option<String>,
    Option<String>,
);

/// What precedes the conditions: the partition's checkpoint, and its events where there are any.
macro_rules! select_events {
    ($rest:literal) => {
        concat!(
            "SELECT c.next_offset, e.partition, e.\"offset\", e.order_id, e.sequence, e.type, e.occurred_at_us, e.command_id, e.causes, e.data, ",
            live!(),
            " FROM checkpoints AS c LEFT JOIN LATERAL (SELECT * FROM order_events ",
            $rest,
            ") AS e ON true WHERE c.topic = $1 AND c.partition = $2 ORDER BY e.partition, e.\"offset\""
        )
    };
}

impl PostgresReader {
    /// An order's events.
    pub async fn history(&self, partition: i32, order_id: Uuid) -> Result<History, StoreError> {
        let rows = self
            .asking
            .rows(|| {
                sqlx::query(select_events!("WHERE order_id = $3"))
                    .bind(index(Topic::Orders))
                    .bind(partition)
                    .bind(order_id)
            })
            .await?;
        history(rows)
    }

    /// An order as it was; none where it had not come so far, or was not placed yet.
    pub async fn order_at(&self, partition: i32, order_id: Uuid, at: At) -> Result<Reading, StoreError> {
        // More than 64 bits hold is beyond the last of any order.
        let (upto, until) = match at {
            At::Sequence(upto) => (i64::try_from(upto).unwrap_or(i64::MAX), i64::MAX),
            At::Time(until) => (i64::MAX, until.micros()),
        };
        let rows = self
            .asking
            .rows(|| {
                sqlx::query(select_events!(
                    "WHERE order_id = $3 AND sequence <= $4 AND occurred_at_us <= $5"
                ))
                .bind(index(Topic::Orders))
                .bind(partition)
                .bind(order_id)
                .bind(upto)
                .bind(until)
            })
            .await?;
        let History { position, events } = history(rows)?;
        let document = projection::order_at(&events, at)?
            .map(|order| document(&order))
            .transpose()?;
        Ok(Reading { position, document })
    }

    /// The events of a partition's orders from an offset on, at most so many.
    pub async fn events_after(
        &self,
        partition: i32,
        from_offset: i64,
        limit: u32,
    ) -> Result<Events, StoreError> {
        let rows = self
            .asking
            .rows(|| {
                sqlx::query(select_events!(
                    "WHERE partition = $2 AND \"offset\" >= $3 ORDER BY \"offset\" LIMIT $4"
                ))
                .bind(index(Topic::Orders))
                .bind(partition)
                .bind(from_offset)
                .bind(i64::from(limit))
            })
            .await?;
        events(rows, from_offset, limit)
    }

    /// The events of one order from an offset of its partition on, at most so many.
    pub async fn order_events_after(
        &self,
        order_id: Uuid,
        partition: i32,
        from_offset: i64,
        limit: u32,
    ) -> Result<Events, StoreError> {
        // By sequence, which an index has; within an order that is the order of the offsets.
        let rows = self
            .asking
            .rows(|| {
                sqlx::query(select_events!(
                    "WHERE order_id = $5 AND partition = $2 AND \"offset\" >= $3 ORDER BY sequence LIMIT $4"
                ))
                .bind(index(Topic::Orders))
                .bind(partition)
                .bind(from_offset)
                .bind(i64::from(limit))
                .bind(order_id)
            })
            .await?;
        events(rows, from_offset, limit)
    }

    /// How far a topic's partitions have been examined, with the link of the last effective record of each, by partition.
    /// One that is not named has not been begun.
    pub async fn positions_with_links(&self, topic: Topic) -> Result<Vec<(i32, Checkpoint)>, StoreError> {
        let rows: Vec<CheckpointRow> = self
            .asking
            .rows(|| {
                sqlx::query(concat!(
                    "SELECT topic, partition, next_offset, last_offset, link, ",
                    live!(),
                    " FROM checkpoints WHERE topic = $1 ORDER BY partition"
                ))
                .bind(index(topic))
            })
            .await?;
        rows.into_iter()
            .map(|row| checkpoint(row).map(|(partition, checkpoint)| (partition.partition, checkpoint)))
            .collect()
    }
}

fn history(rows: Vec<Row>) -> Result<History, StoreError> {
    let position = rows.first().map_or(0, |row| row.0);
    let events = rows.into_iter().filter_map(event).collect::<Result<_, _>>()?;
    Ok(History { position, events })
}

fn events(rows: Vec<Row>, from_offset: i64, limit: u32) -> Result<Events, StoreError> {
    let History { position, events } = history(rows)?;
    let is_full = usize::try_from(limit).is_ok_and(|limit| events.len() >= limit);
    let reached = match events.last() {
        Some(last) if is_full => last.offset + 1,
        None if is_full => from_offset,
        _ => position.max(from_offset),
    };
    Ok(Events {
        position,
        reached,
        events,
    })
}

/// The event of a row, where it has one.
fn event(row: Row) -> Option<Result<HistoryEvent, StoreError>> {
    let (_, partition, offset, order_id, version, kind, occurred_at_us, command_id, causes, data) = row;
    let (partition, offset, order_id, version) = (partition?, offset?, order_id?, version?);
    let (kind, occurred_at_us, command_id, causes, data) =
        (kind?, occurred_at_us?, command_id?, causes?, data?);
    let event = || {
        Ok(HistoryEvent {
            order_id,
            sequence: sequence(version)?,
            kind,
            occurred_at: Timestamp(occurred_at_us),
            command_id,
            partition,
            offset,
            causes: from_json(&causes)?,
            data,
        })
    };
    Some(event())
}

/// An order as it goes out.
fn document(order: &Order) -> Result<Document, StoreError> {
    Ok(Document {
        sequence: order.view.sequence,
        causes: order.causes.clone(),
        json: with_notes(&to_json(&order.view)?, order.notes.as_json())?,
    })
}
