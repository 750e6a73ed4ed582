//! An event of any topic, and what can be asked of each.

use serde::Serialize;
use serde_json::Value;

use crate::{
    OrderEvent, StockEvent, Timestamp, Topic,
    definitions::{self, Sink},
};

/// An event of any topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Of `<prefix>.orders.events`.
    Order(OrderEvent),
    /// Of `<prefix>.stock.events`.
    Stock(StockEvent),
}

impl Event {
    /// The topic that the event belongs to.
    pub const fn topic(&self) -> Topic {
        match self {
            Self::Order(_) => Topic::Orders,
            Self::Stock(_) => Topic::Stock,
        }
    }

    /// Namespace and name of the record: `shop.orders.v1.OrderPlaced`.
    pub fn full_name(&self) -> &'static str {
        definitions::all()[definitions::index(self)].full_name
    }

    /// The record's name without its namespace: `OrderPlaced`.
    pub fn short_name(&self) -> &'static str {
        definitions::all()[definitions::index(self)].short_name
    }

    /// When it was decided: the only time that a fold may use.
    pub const fn occurred_at(&self) -> Timestamp {
        match self {
            Self::Order(event) => event.occurred_at(),
            Self::Stock(event) => event.occurred_at(),
        }
    }

    /// The order's id or the SKU. Empty where the record does not name one: a barrier has none, and that of a
    /// refusal is the key of its record.
    pub fn aggregate_id(&self) -> String {
        match self {
            Self::Order(event) => event.order_id().map(|id| id.to_string()).unwrap_or_default(),
            Self::Stock(event) => event.sku().unwrap_or_default().to_owned(),
        }
    }

    /// Whether it changes an aggregate. Refusals and barriers do not: they raise no sequence.
    pub const fn changes_state(&self) -> bool {
        !matches!(
            self,
            Self::Order(OrderEvent::CommandRejected(_) | OrderEvent::Barrier(_))
                | Self::Stock(StockEvent::CommandRejected(_) | StockEvent::Barrier(_))
        )
    }

    /// The record as JSON, without `occurred_at`, which stands beside it wherever an event is shown.
    pub fn data(&self) -> Value {
        struct ToJson;
        impl Sink for ToJson {
            type Output = Value;
            fn take<T: Serialize>(self, record: &T) -> Value {
                serde_json::to_value(record).unwrap_or(Value::Null)
            }
        }
        let mut data = definitions::hand_over(self, ToJson);
        if let Value::Object(fields) = &mut data {
            fields.remove("occurred_at");
        }
        data
    }
}

impl From<OrderEvent> for Event {
    fn from(event: OrderEvent) -> Self {
        Self::Order(event)
    }
}

impl From<StockEvent> for Event {
    fn from(event: StockEvent) -> Self {
        Self::Stock(event)
    }
}
