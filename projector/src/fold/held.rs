//! What is folded and not stored yet, and how a step changes it.

use std::collections::BTreeMap;
use std::time::Instant;

use eventlog::{Checkpoint, Positions, TopicPartition};
use read_model::projection::sales::{SalesChanges, is_sold};
use read_model::projection::{Misfit, apply_order, apply_stock};
use read_model::{KeptEvent, Order, Stock, Store};
use rustc_hash::{FxHashMap, FxHashSet};
use schemas::{OrderEvent, StockEvent};
use uuid::Uuid;

use crate::step::{Effect, Step};

/// What a view weighs beside its lines and notes, and what a note counts when it comes to others, about.
pub(super) const WEIGHT: usize = 2;
/// How many bytes of notes weigh as much as a line.
const BYTES_OF_A_LINE: usize = 128;

pub(super) fn weight(order: &Order) -> usize {
    WEIGHT + order.view.lines.len() + order.notes.as_json().len() / BYTES_OF_A_LINE
}

/// A view in work.
#[derive(Debug)]
pub(super) struct Work<V> {
    pub(super) partition: i32,
    pub(super) view: Option<V>,
    pub(super) changed: bool,
    /// The store does not have it.
    pub(super) is_new: bool,
}

impl<V> Work<V> {
    pub(super) const fn of(partition: i32, view: Option<V>) -> Self {
        Self {
            partition,
            view,
            changed: false,
            is_new: false,
        }
    }
}

/// The records of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Load {
    /// When the first of them came.
    pub(crate) begun: Instant,
    /// How many they are.
    pub(crate) records: usize,
}

/// What is folded and not stored yet.
#[derive(Debug, Default)]
pub(super) struct Held {
    pub(super) load: Option<Load>,
    /// How far each partition was folded.
    pub(super) reached: BTreeMap<TopicPartition, Checkpoint>,
    pub(super) orders: FxHashMap<Uuid, Work<Order>>,
    pub(super) stock: FxHashMap<String, Work<Stock>>,
    /// The orders that count as sold as they are stored.
    sold: FxHashSet<Uuid>,
    pub(super) weight: usize,
}

impl Held {
    pub(super) fn add_records(&mut self, records: usize) {
        let load = self.load.get_or_insert_with(|| Load {
            begun: Instant::now(),
            records: 0,
        });
        load.records += records;
    }

    /// An order as it is stored.
    pub(super) fn note_stored<S: Store>(&mut self, order: &Order) {
        self.weight += weight(order);
        if S::KEEPS_HISTORY && is_sold(order.view.status) {
            self.sold.insert(order.view.order_id);
        }
    }

    /// How the sales change by it.
    pub(super) fn sales(&self) -> SalesChanges<'_> {
        let mut sales = SalesChanges::default();
        for (partition, order) in changed(self.orders.values()) {
            sales.take(partition, self.sold.contains(&order.view.order_id), &order.view);
        }
        sales
    }

    /// Applies one step; the event to be kept, if there is one. Where it cannot be applied, nothing is changed, and the reason
    /// is the answer.
    pub(super) fn apply<'s>(&mut self, step: &'s Step) -> Result<Option<KeptEvent<'s>>, String> {
        let misfit = |misfit: Misfit| format!("{}: {misfit}", step.checkpoint.last_offset);
        match &step.effect {
            Effect::None => Ok(None),
            Effect::Poison(reason) => Err(reason.clone()),
            Effect::Order(event, origin) => {
                let changed = self.change_order(event, &origin.causes).map_err(misfit)?;
                Ok(changed.map(|order| KeptEvent {
                    order_id: order.view.order_id,
                    partition: step.partition.partition,
                    offset: step.offset,
                    sequence: order.view.sequence,
                    command_id: origin.command_id,
                    causes: &origin.causes,
                    event,
                }))
            }
            Effect::Stock(event, causes) => {
                self.change_stock(event, causes).map_err(misfit)?;
                Ok(None)
            }
        }
    }

    /// The order as it is now, if it changed.
    fn change_order(&mut self, event: &OrderEvent, causes: &Positions) -> Result<Option<&Order>, Misfit> {
        let Some(work) = event.order_id().and_then(|id| self.orders.get_mut(&id)) else {
            return Ok(None);
        };
        let changed = apply_order(&mut work.view, event, causes)?;
        work.changed |= changed;
        let order = work.view.as_ref().filter(|_| changed);
        self.weight += match (event, order) {
            (OrderEvent::Placed(_), Some(order)) => weight(order),
            (OrderEvent::NoteAdded(_), Some(_)) => WEIGHT,
            _ => 0,
        };
        Ok(order)
    }

    fn change_stock(&mut self, event: &StockEvent, causes: &Positions) -> Result<(), Misfit> {
        if let Some(work) = event.sku().and_then(|sku| self.stock.get_mut(sku)) {
            work.changed |= apply_stock(&mut work.view, event, causes)?;
        }
        Ok(())
    }
}

pub(super) fn changed<'a, V>(work: impl Iterator<Item = &'a Work<V>>) -> impl Iterator<Item = (i32, &'a V)>
where
    V: 'a,
{
    work.filter(|work| work.changed)
        .filter_map(|work| Some((work.partition, work.view.as_ref()?)))
}
