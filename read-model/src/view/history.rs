//! An order's events as they are kept and shown.

use eventlog::{Positions, TopicPartition};
use schemas::{OrderEvent, Timestamp};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use uuid::Uuid;

use super::time;
use crate::reading::to_json;
use crate::store::{KeptEvent, StoreError};

/// An effective event of an order, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryEvent {
    /// The order.
    pub order_id: Uuid,
    /// The order's sequence after it, from 1.
    pub sequence: u64,
    /// The record's short name: `OrderPlaced`.
    pub kind: String,
    /// When it was decided.
    pub occurred_at: Timestamp,
    /// The command that it answers.
    pub command_id: Uuid,
    /// Its partition.
    pub partition: i32,
    /// Its offset in the partition.
    pub offset: i64,
    /// What it depends on.
    pub causes: Positions,
    /// The record as JSON, without `occurred_at`.
    pub data: String,
}

/// A position that an event depends on: everything in the partition up to and including that offset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct CauseView {
    /// The topic's name.
    pub topic: String,
    /// The partition's number.
    pub partition: i32,
    /// The last offset that it depends on.
    pub offset: i64,
}

/// An element of an order's history, and the data of a server-sent event.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct EventView {
    /// The order; only in streams.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order_id: Option<Uuid>,
    /// The order's sequence after it, from 1.
    pub sequence: u64,
    /// The record's short name.
    #[serde(rename = "type")]
    #[schema(example = "OrderPlaced")]
    pub kind: String,
    /// When it was decided.
    #[serde(with = "time")]
    #[schema(value_type = String, format = DateTime)]
    pub occurred_at: Timestamp,
    /// The command that it answers.
    pub command_id: Uuid,
    /// Its partition of the orders' events.
    pub partition: i32,
    /// Its offset in the partition.
    pub offset: i64,
    /// What it depends on, beside what is before it in its own partition.
    pub causes: Vec<CauseView>,
    /// The record's other fields, as in its Avro schema.
    #[schema(value_type = Object)]
    pub data: Box<RawValue>,
}

impl HistoryEvent {
    /// As it is kept, from an event that was just read.
    pub fn of(kept: &KeptEvent<'_>) -> Result<Self, StoreError> {
        Ok(Self {
            order_id: kept.order_id,
            sequence: kept.sequence,
            kind: kept.event.short_name().to_owned(),
            occurred_at: kept.event.occurred_at(),
            command_id: kept.command_id,
            partition: kept.partition,
            offset: kept.offset,
            causes: kept.causes.clone(),
            data: data(kept.event)?,
        })
    }

    /// The event itself.
    pub fn event(&self) -> Result<OrderEvent, StoreError> {
        OrderEvent::from_data(&self.kind, self.occurred_at, &self.data)
            .map_err(|error| StoreError::Corrupt(format!("an event's data: {error}")))
    }

    /// As it is shown in a history. `prefix` is what the topics' names begin with.
    pub fn view(&self, prefix: &str) -> Result<EventView, StoreError> {
        let cause = |(TopicPartition { topic, partition }, next_offset): (TopicPartition, i64)| CauseView {
            topic: topic.name(prefix),
            partition,
            offset: next_offset - 1,
        };
        Ok(EventView {
            order_id: None,
            sequence: self.sequence,
            kind: self.kind.clone(),
            occurred_at: self.occurred_at,
            command_id: self.command_id,
            partition: self.partition,
            offset: self.offset,
            causes: self.causes.iter().map(cause).collect(),
            data: RawValue::from_string(self.data.clone())
                .map_err(|error| StoreError::Corrupt(format!("an event's data: {error}")))?,
        })
    }

    /// The JSON of an element of a history.
    pub fn json(&self, prefix: &str) -> Result<String, StoreError> {
        to_json(&self.view(prefix)?)
    }

    /// The JSON of a server-sent event's data: the same, with the order's id.
    pub fn json_with_order(&self, prefix: &str) -> Result<String, StoreError> {
        let mut view = self.view(prefix)?;
        view.order_id = Some(self.order_id);
        to_json(&view)
    }
}

/// An event's data as it is kept.
pub(crate) fn data(event: &OrderEvent) -> Result<String, StoreError> {
    event
        .data_json()
        .map_err(|error| StoreError::Corrupt(error.to_string()))
}

#[cfg(test)]
mod tests {
    use eventlog::Topic;
    use schemas::orders::OrderCancelled;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn an_element_of_a_history_has_the_shape_of_the_contract() {
        let order_id = Uuid::from_u128(7);
        let event = OrderEvent::Cancelled(OrderCancelled {
            occurred_at: Timestamp(1_700_000_000_000_000),
            order_id,
            reason: "no \u{0}".to_owned(),
        });
        let topic = Topic::Stock;
        let causes = [(TopicPartition { topic, partition: 3 }, 9)]
            .into_iter()
            .collect();
        let kept = KeptEvent {
            order_id,
            partition: 2,
            offset: 5,
            sequence: 4,
            command_id: Uuid::from_u128(8),
            causes: &causes,
            event: &event,
        };
        let kept = HistoryEvent::of(&kept).unwrap();
        assert_eq!(kept.event().unwrap(), event);
        let mut expected = json!({
            "sequence": 4, "type": "OrderCancelled", "occurred_at": "2023-11-14T22:13:20Z",
            "command_id": "00000000-0000-0000-0000-000000000008", "partition": 2, "offset": 5,
            "causes": [{"topic": "shop.stock.events", "partition": 3, "offset": 8}],
            "data": {"order_id": "00000000-0000-0000-0000-000000000007", "reason": "no \u{0}"},
        });
        let json = |text: String| serde_json::from_str::<Value>(&text).unwrap();
        assert_eq!(json(kept.json("shop").unwrap()), expected);
        expected["order_id"] = json!(order_id);
        assert_eq!(json(kept.json_with_order("shop").unwrap()), expected);
    }
}
