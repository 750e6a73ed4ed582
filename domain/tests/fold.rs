//! A log that does not hold what was decided is told, and what changes nothing raises no sequence.

use domain::{State, evolve};
use schemas::{
    Barrier, CommandRejected, Event, OrderEvent, StockEvent, Timestamp,
    orders::{OrderCancelled, OrderConfirmed, OrderPlaced, PlacedLine},
    stock::{StockAdjusted, StockReceived, StockReleased, StockReserved},
};
use uuid::Uuid;

const AT: Timestamp = Timestamp(1);
const ORDER: Uuid = Uuid::from_u128(0x0D);

fn placed() -> Event {
    let lines = vec![
        PlacedLine {
            sku: "A".into(),
            quantity: 1,
            unit_price_minor: 1
        };
        2
    ];
    let (customer_id, currency) = ("C".into(), "GBP".into());
    OrderEvent::Placed(OrderPlaced {
        occurred_at: AT,
        order_id: ORDER,
        customer_id,
        currency,
        total_minor: 2,
        lines,
    })
    .into()
}

fn received(quantity: i64) -> Event {
    StockEvent::Received(StockReceived {
        occurred_at: AT,
        sku: "A".into(),
        quantity,
    })
    .into()
}

fn fold(events: &[Event]) -> Result<Option<State>, domain::Inconsistent> {
    events
        .iter()
        .try_fold(None, |state, event| evolve(state, event, Uuid::nil()))
}

#[test]
fn refusals_and_barriers_change_nothing() {
    let rejected = CommandRejected {
        occurred_at: AT,
        command: "PayOrder".into(),
        reason: "wrong-amount".into(),
        problem: "{}".into(),
    };
    let barrier = Barrier { occurred_at: AT };
    let idle: [Event; 4] = [
        OrderEvent::CommandRejected(rejected.clone()).into(),
        OrderEvent::Barrier(barrier.clone()).into(),
        StockEvent::CommandRejected(rejected).into(),
        StockEvent::Barrier(barrier).into(),
    ];
    for event in idle {
        assert!(!event.changes_state());
        for past in [vec![], vec![placed()], vec![received(1)]] {
            let before = fold(&past).unwrap();
            assert_eq!(evolve(before.clone(), &event, Uuid::nil()).unwrap(), before);
        }
    }
}

#[test]
fn what_cannot_follow_is_inconsistent() {
    let confirmed = |line| {
        OrderEvent::Confirmed(OrderConfirmed {
            occurred_at: AT,
            order_id: ORDER,
            line,
        })
        .into()
    };
    let cancelled: Event = OrderEvent::Cancelled(OrderCancelled {
        occurred_at: AT,
        order_id: ORDER,
        reason: "r".into(),
    })
    .into();
    let adjusted = StockEvent::Adjusted(StockAdjusted {
        occurred_at: AT,
        sku: "A".into(),
        quantity: -2,
        reason: "r".into(),
    });
    let adjusted: Event = adjusted.into();
    let (sku, order_id, line) = (String::from("A"), ORDER, 0);
    let reserved = |quantity| -> Event {
        StockEvent::Reserved(StockReserved {
            occurred_at: AT,
            sku: sku.clone(),
            order_id,
            line,
            quantity,
        })
        .into()
    };
    let released: Event = StockEvent::Released(StockReleased {
        occurred_at: AT,
        sku: sku.clone(),
        order_id,
        line,
        quantity: 1,
    })
    .into();
    let impossible: [Vec<Event>; 12] = [
        vec![cancelled.clone()],
        vec![placed(), placed()],
        vec![placed(), confirmed(0)],
        vec![placed(), confirmed(2)],
        vec![placed(), confirmed(-1)],
        vec![placed(), cancelled.clone(), cancelled],
        vec![placed(), received(1)],
        vec![received(1), placed()],
        vec![adjusted.clone()],
        vec![received(1), adjusted],
        vec![received(1), reserved(2)],
        vec![received(1), released],
    ];
    for past in impossible {
        assert!(fold(&past).is_err(), "{past:?}");
    }
    assert!(fold(&[received(2), reserved(1), reserved(1)]).is_err());
    assert!(fold(&[received(i64::MAX), received(1)]).is_err());
}
