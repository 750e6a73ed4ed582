//! What the projection makes of events, and that any sequence of them is taken or refused without harm.

mod beside;

use domain::OrderStatus;
use eventlog::{Positions, Topic, TopicPartition};
use proptest::prelude::*;
use schemas::orders::{
    NoteAdded, OrderCancelled, OrderConfirmed, OrderLineReleased, OrderLineReserved, OrderPaid, OrderPlaced,
    OrderRejected, OrderShipped, PlacedLine,
};
use schemas::stock::{StockAdjusted, StockReceived, StockReleased, StockReserved, StockShipped};
use schemas::{Barrier, OrderEvent, StockEvent, Timestamp};
use uuid::Uuid;

use super::{Misfit, apply_order, apply_stock};
use crate::view::{Order, ReservationView, Stock};

const ORDER: Uuid = Uuid::from_u128(7);

fn causes(offset: i64) -> Positions {
    [(
        TopicPartition {
            topic: Topic::Stock,
            partition: 1,
        },
        offset,
    )]
    .into_iter()
    .collect()
}

fn placed(lines: usize) -> OrderEvent {
    let line = |index| PlacedLine {
        sku: format!("sku-{index}"),
        quantity: 2,
        unit_price_minor: 50,
    };
    OrderEvent::Placed(OrderPlaced {
        occurred_at: Timestamp(1),
        order_id: ORDER,
        customer_id: "c".to_owned(),
        currency: "GBP".to_owned(),
        total_minor: 100 * i64::try_from(lines).unwrap(),
        lines: (0..lines).map(line).collect(),
    })
}

#[track_caller]
fn order_of(events: &[OrderEvent]) -> Order {
    let mut order = None;
    for (n, event) in events.iter().enumerate() {
        assert_eq!(
            apply_order(&mut order, event, &causes(i64::try_from(n).unwrap())),
            Ok(true),
            "{event:?}"
        );
    }
    order.unwrap()
}

fn at(micros: i64) -> Timestamp {
    Timestamp(micros)
}

#[test]
fn an_order_that_goes_well() {
    let order = order_of(&[
        placed(2),
        OrderEvent::LineReserved(OrderLineReserved {
            occurred_at: at(2),
            order_id: ORDER,
            line: 0,
        }),
        OrderEvent::Confirmed(OrderConfirmed {
            occurred_at: at(3),
            order_id: ORDER,
            line: 1,
        }),
        OrderEvent::Paid(OrderPaid {
            occurred_at: at(4),
            order_id: ORDER,
            amount_minor: 200,
            reference: "r".to_owned(),
        }),
        OrderEvent::Shipped(OrderShipped {
            occurred_at: at(5),
            order_id: ORDER,
            carrier: "x".to_owned(),
            tracking_code: "t".to_owned(),
        }),
        OrderEvent::NoteAdded(NoteAdded {
            occurred_at: at(6),
            order_id: ORDER,
            note_id: Uuid::nil(),
            author: "a".to_owned(),
            text: "b".to_owned(),
            reply_to: None,
        }),
    ]);
    assert_eq!(order.view.status, OrderStatus::Shipped);
    assert!(
        order
            .view
            .lines
            .iter()
            .all(|line| line.reservation == ReservationView::Reserved)
    );
    assert_eq!(
        (order.view.sequence, order.view.placed_at, order.view.updated_at),
        (6, at(1), at(6))
    );
    assert_eq!(order.view.payment.unwrap().amount_minor, 200);
    assert_eq!(order.notes.each().unwrap().len(), 1);
    assert_eq!(order.causes, causes(5));
}

#[test]
fn an_order_that_is_refused_or_cancelled_says_why() {
    let rejected = order_of(&[
        placed(1),
        OrderEvent::Rejected(OrderRejected {
            occurred_at: at(2),
            order_id: ORDER,
            line: 0,
            reason: "sold out".to_owned(),
        }),
    ]);
    assert_eq!(rejected.view.status, OrderStatus::Rejected);
    assert_eq!(rejected.view.lines[0].reservation, ReservationView::Refused);
    assert_eq!(rejected.view.reason.as_deref(), Some("sold out"));
    let cancelled = order_of(&[
        placed(1),
        OrderEvent::Confirmed(OrderConfirmed {
            occurred_at: at(2),
            order_id: ORDER,
            line: 0,
        }),
        OrderEvent::Cancelled(OrderCancelled {
            occurred_at: at(3),
            order_id: ORDER,
            reason: "changed my mind".to_owned(),
        }),
        OrderEvent::LineReleased(OrderLineReleased {
            occurred_at: at(4),
            order_id: ORDER,
            line: 0,
        }),
    ]);
    assert_eq!(cancelled.view.status, OrderStatus::Cancelled);
    assert_eq!(cancelled.view.lines[0].reservation, ReservationView::Released);
    assert_eq!(cancelled.view.reason.as_deref(), Some("changed my mind"));
}

#[test]
fn barriers_and_refusals_change_nothing_and_misfits_are_refused() {
    let barrier = OrderEvent::Barrier(Barrier { occurred_at: at(9) });
    let mut none = None;
    assert_eq!(apply_order(&mut none, &barrier, &causes(1)), Ok(false));
    let no_such_line = OrderEvent::LineReserved(OrderLineReserved {
        occurred_at: at(2),
        order_id: ORDER,
        line: 2,
    });
    assert_eq!(
        apply_order(&mut none, &no_such_line, &causes(1)),
        Err(Misfit::Missing)
    );
    let before = order_of(&[placed(2)]);
    let mut order = Some(before.clone());
    assert_eq!(
        apply_order(&mut order, &no_such_line, &causes(1)),
        Err(Misfit::NoSuchLine)
    );
    assert_eq!(
        apply_order(&mut order, &placed(2), &causes(1)),
        Err(Misfit::AlreadyThere)
    );
    assert_eq!(apply_order(&mut order, &barrier, &causes(1)), Ok(false));
    assert_eq!(order, Some(before));
}

fn received(quantity: i64) -> StockEvent {
    StockEvent::Received(StockReceived {
        occurred_at: at(1),
        sku: "s".to_owned(),
        quantity,
    })
}

fn reserved(quantity: i64) -> StockEvent {
    StockEvent::Reserved(StockReserved {
        occurred_at: at(1),
        sku: "s".to_owned(),
        order_id: ORDER,
        line: 0,
        quantity,
    })
}

fn released(quantity: i64) -> StockEvent {
    StockEvent::Released(StockReleased {
        occurred_at: at(1),
        sku: "s".to_owned(),
        order_id: ORDER,
        line: 0,
        quantity,
    })
}

fn shipped(quantity: i64) -> StockEvent {
    StockEvent::Shipped(StockShipped {
        occurred_at: at(1),
        sku: "s".to_owned(),
        order_id: ORDER,
        line: 0,
        quantity,
    })
}

fn adjusted(quantity: i64) -> StockEvent {
    StockEvent::Adjusted(StockAdjusted {
        occurred_at: at(1),
        sku: "s".to_owned(),
        quantity,
        reason: "r".to_owned(),
    })
}

#[test]
fn stock_adds_up() {
    let mut stock = None;
    for event in [
        received(10),
        reserved(4),
        adjusted(-1),
        reserved(2),
        released(2),
        shipped(4),
        received(1),
    ] {
        assert_eq!(apply_stock(&mut stock, &event, &causes(3)), Ok(true));
    }
    let Stock { view, causes: found } = stock.unwrap();
    assert_eq!(
        (view.on_hand, view.reserved, view.available, view.sequence),
        (6, 0, 6, 7)
    );
    assert_eq!(found, causes(3));
    assert_eq!(
        apply_stock(&mut None, &reserved(1), &causes(1)),
        Err(Misfit::Missing)
    );
}

proptest! {
    #[test]
    fn no_sequence_of_stock_events_makes_anything_negative(events in prop::collection::vec((0..5_u8, any::<i64>()), 0..30)) {
        let mut stock = None;
        for (kind, quantity) in events {
            let event = [received, reserved, released, shipped, adjusted][usize::from(kind)](quantity);
            let before = stock.clone();
            if apply_stock(&mut stock, &event, &Positions::new()).is_err() {
                prop_assert_eq!(&stock, &before);
            }
            if let Some(Stock { view, .. }) = &stock {
                prop_assert!(view.reserved >= 0 && view.available >= 0);
                prop_assert_eq!(view.available, view.on_hand - view.reserved);
            }
        }
    }
}
