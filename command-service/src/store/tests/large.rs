//! An order with thousands of notes counts for what it takes, and leaves memory like any other.

use std::time::Duration;

use domain::{Command, OrderCommand};
use eventlog::Topic;
use schemas::{Timestamp, orders::PlacedLine};

use super::driven::Driven;
use super::*;
use crate::writer::{Expected, Found, Request};

const NOTES: u128 = 3_000;
const TEXT_CHARS: usize = 4_000;
const ORDER: Uuid = Uuid::from_u128(9);

fn request(number: u128, command: OrderCommand) -> Request<Command> {
    Request {
        id: Uuid::from_u128(number),
        fingerprint: [0; 16],
        at: Timestamp(1_000_000),
        expected: Expected::Any,
        causes: [].into(),
        traceparent: None,
        source: None,
        command: Command::Order(command),
    }
}

fn place(number: u128) -> Request<Command> {
    let line = PlacedLine {
        sku: "s".to_owned(),
        quantity: 1,
        unit_price_minor: 1,
    };
    let command = OrderCommand::Place {
        order_id: Uuid::from_u128(number),
        customer_id: "c".to_owned(),
        currency: "EUR".to_owned(),
        lines: vec![line],
    };
    request(number, command)
}

fn note(number: u128) -> Request<Command> {
    let command = OrderCommand::AddNote {
        order_id: ORDER,
        note_id: Uuid::from_u128(number),
        author: "a".to_owned(),
        text: "n".repeat(TEXT_CHARS),
        reply_to: None,
    };
    request(number, command)
}

fn save(driven: &mut Driven, store: &Store<Shop>) {
    let delta = driven.core.delta().unwrap();
    let cold = store.save(&delta, Duration::ZERO).unwrap();
    driven.core.stored(delta.number, Some(cold));
}

#[test]
fn an_order_with_thousands_of_notes_counts_for_what_it_takes() {
    let folder = Folder::new();
    let store = open(&folder.file("large.redb"), Topic::Orders).store;
    let mut driven = Driven::new(Topic::Orders);
    driven.ask(&place(ORDER.as_u128()));
    for number in 100..100 + NOTES {
        driven.ask(&note(number));
    }
    let (units, commands) = (
        usize::try_from(NOTES).unwrap() * 4,
        usize::try_from(NOTES).unwrap() + 1,
    );
    let fold = driven.core.fold();
    assert!(
        (units - 400..units + 800).contains(&(fold.unstored() - commands)),
        "{}",
        fold.unstored()
    );
    assert_eq!(fold.unstored_count(), 1 + commands, "it is one aggregate");
    let whole = fold.state(&Key::Order(ORDER)).unwrap().clone();

    // Small ones beside it stay when it has to go.
    save(&mut driven, &store);
    for number in 1..=5 {
        driven.ask(&place(number));
    }
    save(&mut driven, &store);
    assert_eq!(driven.core.fold().unstored(), 0);
    for _ in 0..3 {
        driven.core.evict(100, usize::MAX);
    }
    assert_eq!(driven.core.fold().hot(), 5);

    // A reader finds it without bringing it back; a command brings it back as it was.
    let Found::Cold(cold) = driven.core.fold().find(&Key::Order(ORDER)) else {
        panic!("it left memory");
    };
    assert_eq!(cold.state(&Key::Order(ORDER)).unwrap().as_ref(), Some(&whole));
    assert_eq!(driven.core.fold().hot(), 5);
    driven.ask(&note(10));
    assert!(driven.core.fold().unstored() > units - 400);
    let Found::Hot(now) = driven.core.fold().find(&Key::Order(ORDER)) else {
        panic!("it is in memory");
    };
    let order = now.as_order().unwrap();
    assert_eq!(order.notes().count(), commands);
    assert_eq!(order.notes().last().unwrap().note_id, Uuid::from_u128(10));
    assert!(matches!(
        driven.core.fold().find(&Key::Order(Uuid::nil())),
        Found::Cold(_)
    ));
}
