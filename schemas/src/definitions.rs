//! Which record belongs to which topic: the one list that everything else is made from.

use serde::{Serialize, de::DeserializeOwned};

use crate::{Event, OrderEvent, StockEvent, Topic};

/// A record of an event topic and its Avro schema.
#[derive(Debug)]
pub struct SchemaDef {
    /// The topic that it may appear on.
    pub topic: Topic,
    /// Namespace and name: `shop.orders.v1.OrderPlaced`.
    pub full_name: &'static str,
    /// The record's name without its namespace: `OrderPlaced`.
    pub short_name: &'static str,
    /// The `.avsc` file.
    pub json: &'static str,
}

impl SchemaDef {
    /// The registry's subject (`TopicRecordNameStrategy`).
    pub fn subject(&self, prefix: &str) -> String {
        format!("{}-{}", self.topic.name(prefix), self.full_name)
    }
}

/// Every record of every topic.
pub fn all() -> &'static [SchemaDef] {
    &DEFINITIONS
}

/// Takes one record, whichever struct it is.
pub(crate) trait Sink {
    type Output;
    fn take<T: Serialize>(self, record: &T) -> Self::Output;
}

/// Gives one record, as whichever struct is asked for.
pub(crate) trait Source {
    type Error;
    fn give<T: DeserializeOwned>(self) -> Result<T, Self::Error>;
}

/// An event of any topic, as it lies in somebody's hand.
#[derive(Clone, Copy)]
pub(crate) enum Borrowed<'a> {
    Order(&'a OrderEvent),
    Stock(&'a StockEvent),
}

impl<'a> From<&'a Event> for Borrowed<'a> {
    fn from(event: &'a Event) -> Self {
        match event {
            Event::Order(event) => Self::Order(event),
            Event::Stock(event) => Self::Stock(event),
        }
    }
}

impl<'a> From<&'a OrderEvent> for Borrowed<'a> {
    fn from(event: &'a OrderEvent) -> Self {
        Self::Order(event)
    }
}

macro_rules! definitions {
    ($($index:literal: $topic:ident $namespace:literal $event:ident($side:ident::$variant:ident) $record:literal;)*) => {
        static DEFINITIONS: [SchemaDef; [$($index),*].len()] = [$(SchemaDef {
            topic: Topic::$topic,
            full_name: concat!($namespace, ".", $record),
            short_name: $record,
            json: include_str!(concat!("../avro/", $namespace, "/", $record, ".avsc")),
        }),*];

        /// The record's index in [`all`].
        pub(crate) fn index<'a>(event: impl Into<Borrowed<'a>>) -> usize {
            match event.into() {
                $(Borrowed::$event($side::$variant(_)) => $index,)*
            }
        }

        /// Hands the record inside the event to a sink.
        pub(crate) fn hand_over<'a, S: Sink>(event: impl Into<Borrowed<'a>>, sink: S) -> S::Output {
            match event.into() {
                $(Borrowed::$event($side::$variant(record)) => sink.take(record),)*
            }
        }

        /// Makes the event with that index; `None` where there is no such index.
        pub(crate) fn make<S: Source>(index: usize, source: S) -> Option<Result<Event, S::Error>> {
            Some(match index {
                $($index => source.give().map(|record| Event::$event($side::$variant(record))),)*
                _ => return None,
            })
        }
    };
}

definitions! {
    0: Orders "shop.orders.v1" Order(OrderEvent::Placed) "OrderPlaced";
    1: Orders "shop.orders.v1" Order(OrderEvent::LineReserved) "OrderLineReserved";
    2: Orders "shop.orders.v1" Order(OrderEvent::LineRefused) "OrderLineRefused";
    3: Orders "shop.orders.v1" Order(OrderEvent::Confirmed) "OrderConfirmed";
    4: Orders "shop.orders.v1" Order(OrderEvent::Rejected) "OrderRejected";
    5: Orders "shop.orders.v1" Order(OrderEvent::LineReleased) "OrderLineReleased";
    6: Orders "shop.orders.v1" Order(OrderEvent::LineShipped) "OrderLineShipped";
    7: Orders "shop.orders.v1" Order(OrderEvent::Paid) "OrderPaid";
    8: Orders "shop.orders.v1" Order(OrderEvent::Shipped) "OrderShipped";
    9: Orders "shop.orders.v1" Order(OrderEvent::Cancelled) "OrderCancelled";
    10: Orders "shop.orders.v1" Order(OrderEvent::Expired) "OrderExpired";
    11: Orders "shop.orders.v1" Order(OrderEvent::NoteAdded) "NoteAdded";
    12: Orders "shop.orders.v1" Order(OrderEvent::CommandRejected) "CommandRejected";
    13: Orders "shop.orders.v1" Order(OrderEvent::Barrier) "Barrier";
    14: Stock "shop.stock.v1" Stock(StockEvent::Received) "StockReceived";
    15: Stock "shop.stock.v1" Stock(StockEvent::Adjusted) "StockAdjusted";
    16: Stock "shop.stock.v1" Stock(StockEvent::Reserved) "StockReserved";
    17: Stock "shop.stock.v1" Stock(StockEvent::Released) "StockReleased";
    18: Stock "shop.stock.v1" Stock(StockEvent::Shipped) "StockShipped";
    19: Stock "shop.stock.v1" Stock(StockEvent::CommandRejected) "CommandRejected";
    20: Stock "shop.stock.v1" Stock(StockEvent::Barrier) "Barrier";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_definition_names_the_record_in_its_file() {
        for def in all() {
            let json: serde_json::Value = serde_json::from_str(def.json).expect("an .avsc file is JSON");
            let name = format!(
                "{}.{}",
                json["namespace"].as_str().unwrap(),
                json["name"].as_str().unwrap()
            );
            assert_eq!(name, def.full_name);
        }
    }

    #[test]
    fn subjects_follow_topic_record_name() {
        assert_eq!(
            all()[0].subject("shop"),
            "shop.orders.events-shop.orders.v1.OrderPlaced"
        );
    }
}
