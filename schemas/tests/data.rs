//! An order's event is kept as JSON, and comes back from it as it was.

mod common;

use common::{Parts, any_event};
use proptest::prelude::*;
use schemas::{Event, OrderEvent, Timestamp};
use serde_json::Value;
use uuid::Uuid;

#[track_caller]
fn comes_back(event: &OrderEvent) {
    let text = event.data_json().expect("it is JSON");
    let data: Value = serde_json::from_str(&text).expect("it is JSON");
    assert_eq!(data, Event::from(event.clone()).data());
    let back = OrderEvent::from_data(event.short_name(), event.occurred_at(), &text).expect("it comes back");
    assert_eq!(&back, event, "{text}");
}

#[test]
fn each_event_of_an_order_comes_back_from_its_data() {
    let parts = Parts {
        at: -5,
        id: Uuid::from_u128(7),
        other: Some(Uuid::from_u128(8)),
        number: i64::MIN,
        line: 3,
        text: "\u{0} \"}{,\n".into(),
    };
    for event in parts.one_of_each() {
        if let Event::Order(event) = event {
            comes_back(&event);
        }
    }
}

#[test]
fn other_texts_are_errors() {
    let order = "{\"order_id\":\"00000000-0000-0000-0000-000000000007\"}";
    let at = Timestamp(1);
    OrderEvent::from_data("OrderExpired", at, order).unwrap();
    for (name, data) in [
        ("StockReceived", order),
        ("OrderPaid", order),
        ("OrderExpired", "{}"),
        ("OrderExpired", ""),
        ("OrderExpired", "[]"),
        ("OrderExpired", &order[1..]),
        ("OrderExpired", &[order, "}"].concat()),
    ] {
        assert!(OrderEvent::from_data(name, at, data).is_err(), "{name} {data}");
    }
}

proptest! {
    #[test]
    fn any_event_of_an_order_comes_back_from_its_data(event in any_event()) {
        if let Event::Order(event) = event {
            comes_back(&event);
        }
    }
}
