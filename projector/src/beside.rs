//! What a batch adds beside the views: the events of orders, and how the sales change.

use read_model::projection::sales::{SalesChanges, is_sold};
use read_model::{KeptEvent, Order};
use rustc_hash::FxHashSet;
use uuid::Uuid;

use crate::step::{Effect, Step};

/// Gathers it while a batch is folded, for a store that keeps it.
#[derive(Debug, Default)]
pub(crate) struct Beside<'a> {
    keeps: bool,
    events: Vec<KeptEvent<'a>>,
    /// The orders that counted as sold before the batch.
    sold: FxHashSet<Uuid>,
}

impl<'a> Beside<'a> {
    /// Before the first step. `orders` are those that the steps concern, as they are stored.
    pub(crate) fn begin<'o>(keeps: bool, orders: impl Iterator<Item = &'o Order>) -> Self {
        let sold = orders.filter(|order| keeps && is_sold(order.view.status));
        Self {
            keeps,
            events: Vec::new(),
            sold: sold.map(|order| order.view.order_id).collect(),
        }
    }

    /// A step changed an order, which is now so.
    pub(crate) fn note(&mut self, step: &'a Step, order: &Order) {
        if let (true, Effect::Order(event, origin)) = (self.keeps, &step.effect) {
            self.events.push(KeptEvent {
                order_id: order.view.order_id,
                partition: step.partition.partition,
                offset: step.offset,
                sequence: order.view.sequence,
                command_id: origin.command_id,
                causes: &origin.causes,
                event,
            });
        }
    }

    /// What there is to store, the orders being changed now.
    pub(crate) fn end<'o>(
        self,
        changed: impl Iterator<Item = (i32, &'o Order)>,
    ) -> (Vec<KeptEvent<'a>>, SalesChanges<'o>) {
        let mut sales = SalesChanges::default();
        if self.keeps {
            for (partition, order) in changed {
                sales.take(partition, self.sold.contains(&order.view.order_id), &order.view);
            }
        }
        (self.events, sales)
    }
}
