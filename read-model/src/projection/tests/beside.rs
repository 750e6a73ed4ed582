//! What is kept beside the views: folding kept events gives the order as it was, and the sales are those of the orders as
//! they are at the end, however they came there.

use std::collections::BTreeMap;

use eventlog::Positions;
use proptest::prelude::*;
use schemas::orders::{
    OrderCancelled, OrderConfirmed, OrderExpired, OrderLineReserved, OrderPaid, OrderPlaced, OrderShipped,
    PlacedLine,
};
use schemas::{OrderEvent, Timestamp};
use uuid::Uuid;

use super::causes;
use crate::projection::sales::{Amount, SalesChanges, is_sold};
use crate::projection::{At, apply_order, order_at};
use crate::store::KeptEvent;
use crate::view::{Day, HistoryEvent, Order};

const DAY_US: i64 = 86_400_000_000;

/// What an event is made from: the order, what happens to it, and how much later than the event before.
#[derive(Clone, Debug)]
struct Happening {
    order: u128,
    kind: u8,
    later_us: i64,
    quantity: i64,
}

fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    let happening = (0..4_u128, 0..7_u8, -1_000..DAY_US, 1..5_i64);
    let happening = happening.prop_map(|(order, kind, later_us, quantity)| Happening {
        order,
        kind,
        later_us,
        quantity,
    });
    prop::collection::vec(happening, 0..60)
}

fn event(of: &Happening, occurred_at: Timestamp) -> OrderEvent {
    let order_id = Uuid::from_u128(of.order);
    let line = |sku: &str| PlacedLine {
        sku: sku.to_owned(),
        quantity: of.quantity,
        unit_price_minor: i64::MAX / 7,
    };
    match of.kind {
        0 => OrderEvent::Placed(OrderPlaced {
            occurred_at,
            order_id,
            customer_id: "c".to_owned(),
            currency: ["GBP", "EUR"][usize::from(of.order.is_multiple_of(2))].to_owned(),
            total_minor: 1,
            lines: vec![line("a"), line("b"), line("a")],
        }),
        1 => OrderEvent::Confirmed(OrderConfirmed {
            occurred_at,
            order_id,
            line: 1,
        }),
        2 => OrderEvent::Paid(OrderPaid {
            occurred_at,
            order_id,
            amount_minor: of.quantity,
            reference: "r \u{0}".to_owned(),
        }),
        3 => OrderEvent::Shipped(OrderShipped {
            occurred_at,
            order_id,
            carrier: "x".to_owned(),
            tracking_code: "t".to_owned(),
        }),
        4 => OrderEvent::Cancelled(OrderCancelled {
            occurred_at,
            order_id,
            reason: "why".to_owned(),
        }),
        5 => OrderEvent::Expired(OrderExpired {
            occurred_at,
            order_id,
        }),
        _ => OrderEvent::LineReserved(OrderLineReserved {
            occurred_at,
            order_id,
            line: 0,
        }),
    }
}

/// Orders by id, each as it was after each of its events, and its kept events.
#[derive(Default)]
struct Past {
    orders: BTreeMap<Uuid, Order>,
    versions: BTreeMap<Uuid, Vec<Order>>,
    kept: BTreeMap<Uuid, Vec<HistoryEvent>>,
}

impl Past {
    /// Takes an event in, if it fits.
    fn take(&mut self, event: &OrderEvent, offset: i64) {
        let order_id = event.order_id().unwrap();
        let mut order = self.orders.remove(&order_id);
        let applied = apply_order(&mut order, event, &causes(offset));
        if let Some(order) = order {
            if applied == Ok(true) {
                let kept = KeptEvent {
                    order_id,
                    partition: 0,
                    offset,
                    sequence: order.view.sequence,
                    command_id: Uuid::nil(),
                    causes: &causes(offset),
                    event,
                };
                self.kept
                    .entry(order_id)
                    .or_default()
                    .push(HistoryEvent::of(&kept).unwrap());
                self.versions.entry(order_id).or_default().push(order.clone());
            }
            self.orders.insert(order_id, order);
        }
    }
}

/// Takes all in, in batches of that size; what the batches change of the sales, added up.
fn past(happenings: &[Happening], batch: usize) -> (Past, BTreeMap<(Day, String, String), Amount>) {
    let (mut past, mut sales) = (Past::default(), BTreeMap::new());
    let (mut at, mut offset) = (1_700_000_000_000_000, 0);
    for batch in happenings.chunks(batch) {
        let sold = |order: &Order| is_sold(order.view.status);
        let before: Vec<Uuid> = past
            .orders
            .values()
            .filter(|order| sold(order))
            .map(|order| order.view.order_id)
            .collect();
        for happening in batch {
            at += happening.later_us;
            offset += 1;
            past.take(&event(happening, Timestamp(at)), offset);
        }
        let mut changes = SalesChanges::default();
        for order in past.orders.values() {
            changes.take(0, before.contains(&order.view.order_id), &order.view);
        }
        for (key, change) in changes.iter() {
            let amount: &mut Amount = sales
                .entry((key.day, key.sku.to_owned(), key.currency.to_owned()))
                .or_default();
            amount.quantity += change.quantity;
            amount.revenue_minor += change.revenue_minor;
        }
    }
    sales.retain(|_, amount| *amount != Amount::default());
    (past, sales)
}

proptest! {
    #[test]
    fn the_kept_events_give_each_version_of_an_order_again(happenings in happenings()) {
        let (past, _) = past(&happenings, 1);
        for (id, versions) in &past.versions {
            let kept = &past.kept[id];
            for (n, version) in (1..).zip(versions) {
                let found = order_at(kept, At::Sequence(n)).unwrap();
                prop_assert_eq!(found.as_ref(), Some(version));
            }
            for beyond in [0, versions.len() as u64 + 1, u64::MAX] {
                prop_assert_eq!(order_at(kept, At::Sequence(beyond)).unwrap(), None);
            }
        }
    }

    #[test]
    fn an_order_as_of_a_time_is_its_last_version_before_anything_later(happenings in happenings(), at in 0..60_usize) {
        let (past, _) = past(&happenings, 1);
        for (id, kept) in &past.kept {
            let until = kept[at % kept.len()].occurred_at;
            for until in [until, Timestamp(until.micros() - 1), Timestamp(i64::MIN), Timestamp(i64::MAX)] {
                let count = kept.iter().take_while(|event| event.occurred_at <= until).count();
                let expected = count.checked_sub(1).map(|last| &past.versions[id][last]);
                let found = order_at(kept, At::Time(until)).unwrap();
                prop_assert_eq!(found.as_ref(), expected);
                // A query leaves out what is later, though clocks may have gone back in between.
                let asked: Vec<_> = kept.iter().filter(|event| event.occurred_at <= until).cloned().collect();
                let found = order_at(&asked, At::Time(until)).unwrap();
                prop_assert_eq!(found.as_ref(), expected);
            }
        }
    }

    #[test]
    fn any_batches_add_up_to_the_sales_of_the_orders_as_they_are(happenings in happenings(), batch in 1..20_usize) {
        let (past, sales) = past(&happenings, batch);
        let mut expected: BTreeMap<(Day, String, String), Amount> = BTreeMap::new();
        for Order { view, .. } in past.orders.values() {
            if ["confirmed", "paid", "shipped"].contains(&view.status.as_str()) {
                for line in &view.lines {
                    let key = (Day::of(view.placed_at), line.sku.clone(), view.currency.clone());
                    let amount = expected.entry(key).or_default();
                    amount.quantity += i128::from(line.quantity);
                    amount.revenue_minor += i128::from(line.quantity) * i128::from(line.unit_price_minor);
                }
            }
        }
        prop_assert_eq!(sales, expected);
    }
}

#[test]
fn no_amount_is_too_large_to_be_counted_and_taken_out_again() {
    let mut order = None;
    let line = PlacedLine {
        sku: "a".to_owned(),
        quantity: i64::MAX,
        unit_price_minor: i64::MAX,
    };
    let placed = OrderEvent::Placed(OrderPlaced {
        occurred_at: Timestamp(0),
        order_id: Uuid::nil(),
        customer_id: "c".to_owned(),
        currency: "GBP".to_owned(),
        total_minor: 0,
        lines: vec![line; 1_000],
    });
    apply_order(&mut order, &placed, &Positions::new()).unwrap();
    let mut order = order.unwrap();
    order.view.status = domain::OrderStatus::Paid;
    let cancelled = Order {
        view: crate::OrderView {
            status: domain::OrderStatus::Cancelled,
            ..order.view.clone()
        },
        ..order.clone()
    };
    let mut changes = SalesChanges::default();
    changes.take(0, false, &order.view);
    changes.take(0, true, &order.view);
    let sum = changes.iter().next().unwrap().1;
    assert_eq!(sum.quantity, 1_000 * i128::from(i64::MAX));
    changes.take(0, true, &cancelled.view);
    assert_eq!(changes.iter().next().unwrap().1, Amount::default());
}
