//! The folding half of a projection: steps in, batches out, views in between.
//!
//! A batch is committed at once, or held for more where nobody waits for it: then each view that changes often is stored once.

use std::collections::BTreeMap;

use eventlog::{Checkpoint, Positions, TopicPartition};
use read_model::projection::sales::{SalesChanges, is_sold};
use read_model::projection::{Misfit, apply_order, apply_stock};
use read_model::{Batch, Committed, KeptEvent, Move, Order, Stock, Store, StoreError};
use rustc_hash::{FxHashMap, FxHashSet};
use schemas::{OrderEvent, StockEvent, Timestamp};
use uuid::Uuid;

use crate::cache::Cache;
use crate::ring::Places;
use crate::step::{Effect, Step};

/// Weight of the views that are kept: about a hundred bytes each unit.
const CACHE_WEIGHT: usize = 200_000;
/// What a note weighs, and what a view weighs beside its lines and notes.
const WEIGHT: usize = 2;

fn weight(order: &Order) -> usize {
    WEIGHT + order.view.lines.len() + WEIGHT * order.notes.len()
}

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

/// What is folded and not stored yet.
#[derive(Debug, Default)]
struct Held {
    /// How far each partition was folded.
    reached: BTreeMap<TopicPartition, Checkpoint>,
    orders: FxHashMap<Uuid, Work<Order>>,
    stock: FxHashMap<String, Work<Stock>>,
    /// The orders that count as sold as they are stored.
    sold: FxHashSet<Uuid>,
    weight: usize,
}

impl Held {
    /// An order as it is stored.
    fn note_stored<S: Store>(&mut self, order: &Order) {
        self.weight += weight(order);
        if S::KEEPS_HISTORY && is_sold(order.view.status) {
            self.sold.insert(order.view.order_id);
        }
    }

    /// How the sales change by it.
    fn sales(&self) -> SalesChanges<'_> {
        let mut sales = SalesChanges::default();
        for (partition, order) in changed(self.orders.values()) {
            sales.take(partition, self.sold.contains(&order.view.order_id), &order.view);
        }
        sales
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
    held: Held,
}

/// What became of the steps of one batch.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Folded {
    /// None where they are held.
    pub(crate) committed: Option<Committed>,
    /// Partitions that stopped in this batch.
    pub(crate) halted: Vec<(TopicPartition, String)>,
    /// When the last event occurred.
    pub(crate) last: Option<Timestamp>,
}

impl Fold {
    pub(crate) fn new(stored: BTreeMap<TopicPartition, Checkpoint>) -> Self {
        Self {
            stored,
            halted: BTreeMap::new(),
            orders: Cache::new(CACHE_WEIGHT),
            stock: Cache::new(CACHE_WEIGHT),
            held: Held::default(),
        }
    }

    /// What the store has.
    pub(crate) const fn stored(&self) -> &BTreeMap<TopicPartition, Checkpoint> {
        &self.stored
    }

    /// Whether something is folded and not stored yet.
    pub(crate) fn holds(&self) -> bool {
        !self.held.reached.is_empty()
    }

    /// Where the partitions stand that did not stop.
    pub(crate) fn places(&self) -> Places {
        let mut places = self.stored.clone();
        places.extend(&self.held.reached);
        places.retain(|partition, _| !self.halted.contains_key(partition));
        places
    }

    /// Applies the steps and stores what they change, with all that is held, in one commit.
    pub(crate) async fn run<S: Store>(
        &mut self,
        store: &mut S,
        steps: &[&Step],
    ) -> Result<Folded, StoreError> {
        let (events, halted) = self.apply(store, steps).await?;
        Ok(Folded {
            committed: Some(self.commit_with(store, events).await?),
            halted,
            last: last(steps),
        })
    }

    /// Applies the steps and holds what they change; stores it where it has become too much.
    pub(crate) async fn hold<S: Store>(
        &mut self,
        store: &mut S,
        steps: &[&Step],
    ) -> Result<Folded, StoreError> {
        let (events, halted) = self.apply(store, steps).await?;
        if !events.is_empty() {
            store.take_in(&events).await?;
        }
        let committed = if self.held.weight < S::HELD_WEIGHT_MAX {
            None
        } else {
            Some(self.commit(store).await?)
        };
        Ok(Folded {
            committed,
            halted,
            last: last(steps),
        })
    }

    /// Stores what is held.
    pub(crate) async fn commit<S: Store>(&mut self, store: &mut S) -> Result<Committed, StoreError> {
        self.commit_with(store, Vec::new()).await
    }

    async fn commit_with<S: Store>(
        &mut self,
        store: &mut S,
        events: Vec<KeptEvent<'_>>,
    ) -> Result<Committed, StoreError> {
        let held = std::mem::take(&mut self.held);
        let sales = if S::KEEPS_HISTORY {
            held.sales()
        } else {
            SalesChanges::default()
        };
        let batch = Batch {
            moves: self.moves(&held.reached),
            orders: changed(held.orders.values()).collect(),
            stock: changed(held.stock.values()).collect(),
            events,
            sales,
        };
        // Nothing moves where all that came belongs to partitions that stopped.
        let committed = if batch.moves.is_empty() {
            Committed::Yes
        } else {
            store.commit(&batch).await?
        };
        if committed == Committed::Yes {
            self.stored.extend(&held.reached);
            self.keep(held.orders, held.stock);
        }
        Ok(committed)
    }

    fn moves(&self, reached: &BTreeMap<TopicPartition, Checkpoint>) -> Vec<Move> {
        let step = |(partition, to): (&TopicPartition, &Checkpoint)| {
            let stored = self.stored.get(partition).copied();
            let from = stored.unwrap_or(Checkpoint::BEGINNING);
            (from != *to).then_some(Move {
                partition: *partition,
                from,
                to: *to,
            })
        };
        reached.iter().filter_map(step).collect()
    }

    /// Applies the steps; the events to be kept, and the partitions that stopped.
    async fn apply<'s, S: Store>(
        &mut self,
        store: &mut S,
        steps: &[&'s Step],
    ) -> Result<(Vec<KeptEvent<'s>>, Vec<(TopicPartition, String)>), StoreError> {
        self.find_orders(store, steps).await?;
        self.find_stock(store, steps).await?;
        let (mut events, mut halted) = (Vec::new(), Vec::new());
        for step in steps {
            if self.halted.contains_key(&step.partition) {
                continue;
            }
            match self.held.apply(step) {
                Ok(event) => {
                    events.extend(event.filter(|_| S::KEEPS_HISTORY));
                    self.held.reached.insert(step.partition, step.checkpoint);
                }
                Err(reason) => {
                    self.halted.insert(step.partition, reason.clone());
                    halted.push((step.partition, reason));
                }
            }
        }
        Ok((events, halted))
    }

    /// Takes up the orders that the steps concern: from the cache, else from the store; a new one is nowhere.
    async fn find_orders<S: Store>(&mut self, store: &mut S, steps: &[&Step]) -> Result<(), StoreError> {
        let mut missing = Vec::new();
        for step in steps {
            let Effect::Order(event, _) = &step.effect else {
                continue;
            };
            let Some(id) = event.order_id().filter(|id| !self.held.orders.contains_key(id)) else {
                continue;
            };
            let number = step.partition.partition;
            let view = self.orders.take(&id);
            match &view {
                Some(order) => self.held.note_stored::<S>(order),
                None if matches!(**event, OrderEvent::Placed(_)) => {}
                None => missing.push((number, id)),
            }
            self.held.orders.insert(id, Work::of(number, view));
        }
        if !missing.is_empty() {
            for order in store.load_orders(&missing).await? {
                self.held.note_stored::<S>(&order);
                if let Some(place) = self.held.orders.get_mut(&order.view.order_id) {
                    place.view = Some(order);
                }
            }
        }
        Ok(())
    }

    /// Takes up the stock that the steps concern: from the cache, else from the store.
    async fn find_stock<S: Store>(&mut self, store: &mut S, steps: &[&Step]) -> Result<(), StoreError> {
        let mut missing = Vec::new();
        for step in steps {
            let Effect::Stock(event, _) = &step.effect else {
                continue;
            };
            let Some(sku) = event.sku().filter(|sku| !self.held.stock.contains_key(*sku)) else {
                continue;
            };
            let view = self.stock.take(sku);
            if view.is_none() {
                missing.push((step.partition.partition, sku.to_owned()));
            }
            self.held.weight += WEIGHT;
            self.held
                .stock
                .insert(sku.to_owned(), Work::of(step.partition.partition, view));
        }
        if !missing.is_empty() {
            for stock in store.load_stock(&missing).await? {
                if let Some(place) = self.held.stock.get_mut(&stock.view.sku) {
                    place.view = Some(stock);
                }
            }
        }
        Ok(())
    }

    fn keep(&mut self, orders: FxHashMap<Uuid, Work<Order>>, stock: FxHashMap<String, Work<Stock>>) {
        for (id, order) in orders.into_iter().filter_map(|(id, work)| Some((id, work.view?))) {
            let weight = weight(&order);
            self.orders.put(id, order, weight);
        }
        for (sku, stock) in stock
            .into_iter()
            .filter_map(|(sku, work)| Some((sku, work.view?)))
        {
            self.stock.put(sku, stock, WEIGHT);
        }
    }
}

fn last(steps: &[&Step]) -> Option<Timestamp> {
    steps.iter().rev().find_map(|step| step.occurred_at)
}

fn changed<'a, V>(work: impl Iterator<Item = &'a Work<V>>) -> impl Iterator<Item = (i32, &'a V)>
where
    V: 'a,
{
    work.filter(|work| work.changed)
        .filter_map(|work| Some((work.partition, work.view.as_ref()?)))
}

impl Held {
    /// Applies one step; the event to be kept, if there is one. Where it cannot be applied, nothing is changed, and the reason
    /// is the answer.
    fn apply<'s>(&mut self, step: &'s Step) -> Result<Option<KeptEvent<'s>>, String> {
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

#[cfg(test)]
mod tests;
