//! What became of the orders that were placed since the demo began, folded from events.

use domain::{Order, OrderStatus, State, evolve};
use rustc_hash::{FxHashMap, FxHashSet};
use schemas::{Event, OrderEvent};
use uuid::Uuid;

use super::ledger::Ledger;

/// The orders that the log holds.
#[derive(Debug, Default)]
pub(super) struct Folded {
    /// How often the log holds each.
    placed: FxHashMap<Uuid, u32>,
    orders: FxHashMap<Uuid, Order>,
    /// Orders that have a step to take.
    restless: FxHashSet<Uuid>,
    /// Events, without refusals and barriers.
    pub(super) events: u64,
    /// What cannot be read or does not follow.
    pub(super) faults: Vec<String>,
}

impl Folded {
    /// Takes one more event. Orders that were placed before are left alone.
    pub(super) fn fold(&mut self, event: &Event, event_id: Uuid) {
        self.events += u64::from(event.changes_state());
        let Event::Order(of_order) = event else { return };
        let Some(order_id) = of_order.order_id() else {
            return;
        };
        if matches!(of_order, OrderEvent::Placed(_)) {
            *self.placed.entry(order_id).or_default() += 1;
        } else if !self.placed.contains_key(&order_id) {
            return;
        }
        let before = self.orders.remove(&order_id).map(State::Order);
        match evolve(before, event, event_id) {
            Ok(Some(State::Order(order))) => {
                if order.steps_left() > 0 {
                    self.restless.insert(order_id);
                } else {
                    self.restless.remove(&order_id);
                }
                self.orders.insert(order_id, order);
            }
            Ok(_) => {}
            Err(error) => {
                self.restless.remove(&order_id);
                self.faults.push(format!("order {order_id}: {error}"));
            }
        }
    }

    /// How many orders there are.
    pub(super) fn len(&self) -> usize {
        self.placed.len()
    }

    /// The orders that have a step to take.
    pub(super) const fn restless(&self) -> &FxHashSet<Uuid> {
        &self.restless
    }

    /// How many orders have a status.
    pub(super) fn count(&self, status: OrderStatus) -> usize {
        self.orders
            .values()
            .filter(|order| order.status == status)
            .count()
    }

    /// An order that was placed since the demo began.
    pub(super) fn order(&self, order_id: Uuid) -> Option<&Order> {
        self.orders.get(&order_id)
    }

    /// What differs between the log and the list of what was acknowledged: lost, doubled, or with other money.
    pub(super) fn differences(&self, ledger: &Ledger) -> Vec<String> {
        let mut differences: Vec<String> = ledger.faults.iter().chain(&self.faults).cloned().collect();
        for (order_id, sent) in ledger.iter() {
            match (self.placed.get(&order_id), self.orders.get(&order_id)) {
                (Some(1), Some(order)) if order.placed.total_minor == sent.total_minor => {}
                (Some(1), Some(order)) => differences.push(format!(
                    "order {order_id} was sent with {} and is in the log with {}",
                    sent.total_minor, order.placed.total_minor
                )),
                (times, _) => differences.push(format!(
                    "order {order_id} was acknowledged and is in the log {} times",
                    times.copied().unwrap_or(0)
                )),
            }
        }
        let ours: FxHashSet<&str> = ledger
            .iter()
            .filter_map(|(id, _)| Some(self.orders.get(&id)?.placed.customer_id.as_str()))
            .collect();
        let unknown = self.orders.iter().filter(|(id, _)| ledger.get(**id).is_none());
        for (order_id, _) in unknown.filter(|(_, order)| ours.contains(order.placed.customer_id.as_str())) {
            differences.push(format!(
                "order {order_id} is in the log and was never acknowledged"
            ));
        }
        differences
    }
}

#[cfg(test)]
mod tests {
    use schemas::{
        Timestamp,
        orders::{OrderConfirmed, OrderPlaced, PlacedLine},
    };

    use super::*;
    use crate::load::Response;

    const KEY: &str = "key";

    fn answer(order_id: Uuid) -> Response {
        Response::new(
            201,
            format!(r#"{{"order_id":"{order_id}","sequence":1,"status":"pending"}}"#),
        )
    }

    /// A ledger with one order of 100, and its id.
    fn ledger() -> (Ledger, Uuid) {
        let mut ledger = Ledger::default();
        let order_id = Ledger::id_of(KEY);
        assert_eq!(ledger.note(KEY, 100, &answer(order_id)), Some(order_id));
        (ledger, order_id)
    }

    fn placed(order_id: Uuid, total_minor: i64) -> Event {
        let lines = vec![PlacedLine {
            sku: "A".into(),
            quantity: 1,
            unit_price_minor: total_minor,
        }];
        let (customer_id, currency) = ("C".into(), "GBP".into());
        let occurred_at = Timestamp(1);
        Event::from(OrderEvent::Placed(OrderPlaced {
            occurred_at,
            order_id,
            customer_id,
            currency,
            total_minor,
            lines,
        }))
    }

    fn fold(events: &[Event]) -> Folded {
        let mut folded = Folded::default();
        for event in events {
            folded.fold(event, Uuid::nil());
        }
        folded
    }

    #[test]
    fn an_order_that_is_there_once_does_not_differ() {
        let (ledger, order_id) = ledger();
        let confirmed = OrderEvent::Confirmed(OrderConfirmed {
            occurred_at: Timestamp(2),
            order_id,
            line: 0,
        });
        let folded = fold(&[placed(order_id, 100)]);
        assert!(folded.restless().contains(&order_id));
        let folded = fold(&[placed(order_id, 100), confirmed.into()]);
        assert!(folded.restless().is_empty());
        assert_eq!(folded.differences(&ledger), Vec::<String>::new());
        assert_eq!((folded.count(OrderStatus::Confirmed), folded.events), (1, 2));
    }

    #[test]
    fn an_order_that_is_lost_doubled_or_of_other_money_differs() {
        let (ledger, order_id) = ledger();
        for past in [
            vec![],
            vec![placed(order_id, 99)],
            vec![placed(order_id, 100), placed(order_id, 100)],
        ] {
            assert!(!fold(&past).differences(&ledger).is_empty(), "{past:?}");
        }
    }

    #[test]
    fn a_second_order_of_our_customer_differs_and_a_strangers_does_not() {
        let (ledger, order_id) = ledger();
        let another = placed(Uuid::from_u128(1), 100);
        assert_eq!(
            fold(&[placed(order_id, 100), another.clone()])
                .differences(&ledger)
                .len(),
            1
        );
        let Event::Order(OrderEvent::Placed(mut strangers)) = another else {
            panic!("an order")
        };
        strangers.customer_id = "stranger".into();
        let past = [placed(order_id, 100), Event::from(OrderEvent::Placed(strangers))];
        assert_eq!(fold(&past).differences(&ledger), Vec::<String>::new());
    }

    #[test]
    fn an_acknowledgement_of_another_order_differs() {
        let (mut ledger, order_id) = ledger();
        ledger.note(KEY, 100, &answer(order_id));
        ledger.note("other", 100, &answer(Uuid::from_u128(2)));
        ledger.note("refused", 100, &Response::new(409, "{}"));
        assert_eq!(ledger.faults.len(), 3);
    }
}
