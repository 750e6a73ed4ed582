//! A log that does not hold what was decided is told, and what changes nothing raises no sequence.

use domain::{State, evolve};
use schemas::{
    Barrier, CommandRejected, Event, OrderEvent, StockEvent, Timestamp,
    orders::{NoteAdded, OrderCancelled, OrderConfirmed, OrderPlaced, PlacedLine},
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

/// An order with that many notes, from the log or by way of what is stored.
fn noted(count: u128) -> State {
    let note = |id: u128| -> Event {
        let reply_to = (id > 1).then(|| Uuid::from_u128(id - 1));
        OrderEvent::NoteAdded(NoteAdded {
            occurred_at: Timestamp(i64::try_from(id).expect("a few notes")),
            order_id: ORDER,
            note_id: Uuid::from_u128(id),
            author: "a".into(),
            text: "n".repeat(4_000),
            reply_to,
        })
        .into()
    };
    let events: Vec<_> = std::iter::once(placed())
        // Not in the order of their ids.
        .chain((1..=count).rev().map(note))
        .collect();
    fold(&events).expect("a legal history").expect("an order")
}

#[test]
fn equal_orders_have_equal_bytes_and_keep_the_order_of_their_notes() {
    let state = noted(100);
    let stored = serde_json::to_vec(&state).unwrap();
    let read: State = serde_json::from_slice(&stored).unwrap();
    assert_eq!(read, state);
    assert_eq!(serde_json::to_vec(&read).unwrap(), stored);
    let order = read.as_order().unwrap();
    let ids: Vec<_> = order.notes().map(|note| note.note_id.as_u128()).collect();
    assert_eq!(ids, (1..=100).rev().collect::<Vec<_>>());
    assert!((1..=100).all(|id| order.has_note(Uuid::from_u128(id))) && !order.has_note(Uuid::from_u128(101)));
}

#[test]
fn what_an_order_takes_follows_its_notes() {
    let (none, many) = (noted(0).bytes(), noted(3_000).bytes());
    assert!((400..1_200).contains(&none), "{none}");
    assert!((3_000 * 4_000..3_000 * 4_400).contains(&many), "{many}");
}

#[test]
fn a_note_comes_once() {
    let note = |id| -> Event {
        OrderEvent::NoteAdded(NoteAdded {
            occurred_at: AT,
            order_id: ORDER,
            note_id: Uuid::from_u128(id),
            author: "a".into(),
            text: "t".into(),
            reply_to: None,
        })
        .into()
    };
    assert!(fold(&[placed(), note(1), note(2)]).is_ok());
    assert!(fold(&[placed(), note(1), note(1)]).is_err());
}
