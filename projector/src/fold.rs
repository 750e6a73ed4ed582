//! The folding half of a projection: steps in, one batch out, views in between.

use std::collections::BTreeMap;

use eventlog::{Checkpoint, Positions, TopicPartition};
use read_model::projection::{Misfit, apply_order, apply_stock};
use read_model::{Batch, Committed, Move, Order, Stock, Store, StoreError};
use rustc_hash::FxHashMap;
use schemas::{OrderEvent, StockEvent, Timestamp};
use uuid::Uuid;

use crate::beside::Beside;
use crate::cache::Cache;
use crate::ring::Places;
use crate::step::{Effect, Step};

/// Weight of the views that are kept: about a hundred bytes each unit.
const CACHE_WEIGHT: usize = 200_000;

/// A view in work.
#[derive(Debug)]
struct Work<V> {
    partition: i32,
    view: Option<V>,
    changed: bool,
}

impl<V> Work<V> {
    const fn of(partition: i32, view: Option<V>) -> Self {
        Self {
            partition,
            view,
            changed: false,
        }
    }
}

/// Folds one session's steps. Views that were changed and not stored are gone with it, so a session that fails is thrown away.
#[derive(Debug)]
pub(crate) struct Fold {
    /// What the store has.
    stored: BTreeMap<TopicPartition, Checkpoint>,
    /// What stopped, and why.
    halted: BTreeMap<TopicPartition, String>,
    orders: Cache<Uuid, Order>,
    stock: Cache<String, Stock>,
}

/// What became of the steps of one batch.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Folded {
    pub(crate) committed: Committed,
    /// Partitions that stopped in this batch.
    pub(crate) halted: Vec<(TopicPartition, String)>,
    /// When the last event occurred.
    pub(crate) last: Option<Timestamp>,
}

impl Fold {
    pub(crate) fn new(stored: BTreeMap<TopicPartition, Checkpoint>) -> Self {
        let (orders, stock) = (Cache::new(CACHE_WEIGHT), Cache::new(CACHE_WEIGHT));
        Self {
            stored,
            halted: BTreeMap::new(),
            orders,
            stock,
        }
    }

    /// What the store has.
    pub(crate) const fn stored(&self) -> &BTreeMap<TopicPartition, Checkpoint> {
        &self.stored
    }

    /// Where the partitions stand that did not stop.
    pub(crate) fn places(&self) -> Places {
        let goes_on = |(partition, _): &(&TopicPartition, &Checkpoint)| !self.halted.contains_key(partition);
        self.stored
            .iter()
            .filter(goes_on)
            .map(|(partition, checkpoint)| (*partition, *checkpoint))
            .collect()
    }

    /// Applies the steps and stores what they change, in one commit.
    pub(crate) async fn run<S: Store>(
        &mut self,
        store: &mut S,
        steps: &[&Step],
    ) -> Result<Folded, StoreError> {
        let mut orders = self.orders_of(store, steps).await?;
        let mut stock = self.stock_of(store, steps).await?;
        let stored = orders.values().filter_map(|work| work.view.as_ref());
        let mut beside = Beside::begin(S::KEEPS_HISTORY, stored);
        let mut reached: BTreeMap<TopicPartition, Checkpoint> = BTreeMap::new();
        let mut halted = Vec::new();
        for step in steps {
            if self.halted.contains_key(&step.partition) {
                continue;
            }
            match apply(&mut orders, &mut stock, &mut beside, step) {
                Ok(()) => {
                    reached.insert(step.partition, step.checkpoint);
                }
                Err(reason) => {
                    self.halted.insert(step.partition, reason.clone());
                    halted.push((step.partition, reason));
                }
            }
        }
        let batch = self.batch(&reached, &orders, &stock, beside);
        // Nothing moves where all that came belongs to partitions that stopped.
        let committed = if batch.moves.is_empty() {
            Committed::Yes
        } else {
            store.commit(&batch).await?
        };
        if committed == Committed::Yes {
            self.stored.extend(reached);
            self.keep(orders, stock);
        }
        Ok(Folded {
            committed,
            halted,
            last: steps.iter().rev().find_map(|step| step.occurred_at),
        })
    }

    fn batch<'a>(
        &self,
        reached: &BTreeMap<TopicPartition, Checkpoint>,
        orders: &'a FxHashMap<Uuid, Work<Order>>,
        stock: &'a FxHashMap<String, Work<Stock>>,
        beside: Beside<'a>,
    ) -> Batch<'a> {
        let step = |(partition, to): (&TopicPartition, &Checkpoint)| {
            let from = self
                .stored
                .get(partition)
                .copied()
                .unwrap_or(Checkpoint::BEGINNING);
            (from != *to).then_some(Move {
                partition: *partition,
                from,
                to: *to,
            })
        };
        let (events, sales) = beside.end(changed(orders.values()));
        Batch {
            moves: reached.iter().filter_map(step).collect(),
            orders: changed(orders.values()).collect(),
            stock: changed(stock.values()).collect(),
            events,
            sales,
        }
    }

    /// The orders that the steps concern: from the cache, else from the store; a new one is nowhere.
    async fn orders_of<S: Store>(
        &mut self,
        store: &mut S,
        steps: &[&Step],
    ) -> Result<FxHashMap<Uuid, Work<Order>>, StoreError> {
        let (mut work, mut missing) = (FxHashMap::default(), Vec::new());
        for step in steps {
            let Effect::Order(event, _) = &step.effect else {
                continue;
            };
            let Some(id) = event.order_id() else { continue };
            let number = step.partition.partition;
            work.entry(id).or_insert_with(|| {
                let view = self.orders.take(&id);
                if view.is_none() && !matches!(**event, OrderEvent::Placed(_)) {
                    missing.push((number, id));
                }
                Work::of(number, view)
            });
        }
        if !missing.is_empty() {
            for order in store.load_orders(&missing).await? {
                if let Some(place) = work.get_mut(&order.view.order_id) {
                    place.view = Some(order);
                }
            }
        }
        Ok(work)
    }

    /// The stock that the steps concern: from the cache, else from the store.
    async fn stock_of<S: Store>(
        &mut self,
        store: &mut S,
        steps: &[&Step],
    ) -> Result<FxHashMap<String, Work<Stock>>, StoreError> {
        let (mut work, mut missing) = (FxHashMap::<String, Work<Stock>>::default(), Vec::new());
        for step in steps {
            let Effect::Stock(event, _) = &step.effect else {
                continue;
            };
            let Some(sku) = event
                .sku()
                .filter(|sku| !work.contains_key(*sku))
                .map(str::to_owned)
            else {
                continue;
            };
            let view = self.stock.take(&sku);
            if view.is_none() {
                missing.push((step.partition.partition, sku.clone()));
            }
            work.insert(sku, Work::of(step.partition.partition, view));
        }
        if !missing.is_empty() {
            for stock in store.load_stock(&missing).await? {
                if let Some(place) = work.get_mut(&stock.view.sku) {
                    place.view = Some(stock);
                }
            }
        }
        Ok(work)
    }

    fn keep(&mut self, orders: FxHashMap<Uuid, Work<Order>>, stock: FxHashMap<String, Work<Stock>>) {
        for (id, order) in orders.into_iter().filter_map(|(id, work)| Some((id, work.view?))) {
            let weight = 2 + order.view.lines.len() + 2 * order.notes.len();
            self.orders.put(id, order, weight);
        }
        for (sku, stock) in stock
            .into_iter()
            .filter_map(|(sku, work)| Some((sku, work.view?)))
        {
            self.stock.put(sku, stock, 2);
        }
    }
}

fn changed<'a, V>(work: impl Iterator<Item = &'a Work<V>>) -> impl Iterator<Item = (i32, &'a V)>
where
    V: 'a,
{
    work.filter(|work| work.changed)
        .filter_map(|work| Some((work.partition, work.view.as_ref()?)))
}

/// Applies one step; where it cannot be applied, nothing is changed, and the reason is the answer.
fn apply<'a>(
    orders: &mut FxHashMap<Uuid, Work<Order>>,
    stock: &mut FxHashMap<String, Work<Stock>>,
    beside: &mut Beside<'a>,
    step: &'a Step,
) -> Result<(), String> {
    match &step.effect {
        Effect::None => Ok(()),
        Effect::Poison(reason) => Err(reason.clone()),
        Effect::Order(event, origin) => {
            let changed = change_order(orders, event, &origin.causes)
                .map_err(|misfit| format!("{}: {misfit}", step.checkpoint.last_offset))?;
            if let Some(order) = changed {
                beside.note(step, order);
            }
            Ok(())
        }
        Effect::Stock(event, causes) => change_stock(stock, event, causes)
            .map_err(|misfit| format!("{}: {misfit}", step.checkpoint.last_offset)),
    }
}

/// The order as it is now, if it changed.
fn change_order<'o>(
    orders: &'o mut FxHashMap<Uuid, Work<Order>>,
    event: &OrderEvent,
    causes: &Positions,
) -> Result<Option<&'o Order>, Misfit> {
    let Some(work) = event.order_id().and_then(|id| orders.get_mut(&id)) else {
        return Ok(None);
    };
    let changed = apply_order(&mut work.view, event, causes)?;
    work.changed |= changed;
    Ok(work.view.as_ref().filter(|_| changed))
}

fn change_stock(
    stock: &mut FxHashMap<String, Work<Stock>>,
    event: &StockEvent,
    causes: &Positions,
) -> Result<(), Misfit> {
    if let Some(work) = event.sku().and_then(|sku| stock.get_mut(sku)) {
        work.changed |= apply_stock(&mut work.view, event, causes)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
