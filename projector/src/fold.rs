//! The folding half of a projection: steps in, batches out, views in between.
//!
//! A batch is committed at once, or held for more where nobody waits for it: then each view that changes often is stored once,
//! and the next batch is folded while one is stored.

mod held;

use std::collections::BTreeMap;

use eventlog::{Checkpoint, TopicPartition};
use read_model::projection::sales::SalesChanges;
use read_model::{Batch, Committed, KeptEvent, Move, Order, Stock, Store, StoreError};
use rustc_hash::FxHashMap;
use schemas::{OrderEvent, Timestamp};
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use crate::cache::Cache;
use crate::ring::Places;
use crate::step::{Effect, Step};
pub(crate) use held::Load;
use held::{Held, WEIGHT, Work, changed, weight};

/// Weight of the views that are kept: about a hundred bytes each unit.
const CACHE_WEIGHT: usize = 200_000;

/// A batch that is being stored.
#[derive(Debug)]
struct UnderWay {
    reached: BTreeMap<TopicPartition, Checkpoint>,
    load: Option<Load>,
    storing: AbortOnDropHandle<Result<Committed, StoreError>>,
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
    under_way: Option<UnderWay>,
    held: Held,
    /// Batches that came to their end, and nobody has asked for yet.
    ended: Vec<(Committed, Load)>,
}

/// What became of steps.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Folded {
    /// Partitions that stopped.
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
            under_way: None,
            held: Held::default(),
            ended: Vec::new(),
        }
    }

    /// What the store has.
    pub(crate) const fn stored(&self) -> &BTreeMap<TopicPartition, Checkpoint> {
        &self.stored
    }

    /// Whether something is folded that may not be stored yet.
    pub(crate) fn holds(&self) -> bool {
        !self.held.reached.is_empty() || self.under_way.is_some()
    }

    /// The steps that are held.
    pub(crate) const fn held(&self) -> Option<Load> {
        self.held.load
    }

    /// The batches that came to their end since this was asked last.
    pub(crate) fn take_ended(&mut self) -> Vec<(Committed, Load)> {
        std::mem::take(&mut self.ended)
    }

    /// Where the partitions stand that did not stop.
    pub(crate) fn places(&self) -> Places {
        let mut places = self.stored.clone();
        if let Some(under_way) = &self.under_way {
            places.extend(&under_way.reached);
        }
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
        self.commit_with(store, events).await?;
        let last = last(steps);
        Ok(Folded { halted, last })
    }

    /// Applies the steps and holds what they change; begins to store it where it has become too much.
    pub(crate) async fn hold<S: Store>(
        &mut self,
        store: &mut S,
        steps: &[&Step],
    ) -> Result<Folded, StoreError> {
        let (events, halted) = self.apply(store, steps).await?;
        if !events.is_empty() {
            store.take_in(&events).await?;
        }
        if self.held.weight >= S::HELD_WEIGHT_MAX {
            self.commit_beside(store).await?;
        }
        let last = last(steps);
        Ok(Folded { halted, last })
    }

    /// Stores what is held.
    pub(crate) async fn commit<S: Store>(&mut self, store: &mut S) -> Result<(), StoreError> {
        self.commit_with(store, Vec::new()).await
    }

    async fn commit_with<S: Store>(
        &mut self,
        store: &mut S,
        events: Vec<KeptEvent<'_>>,
    ) -> Result<(), StoreError> {
        self.settle().await?;
        let held = std::mem::take(&mut self.held);
        let batch = self.batch::<S>(&held, events);
        // Nothing moves where all that came belongs to partitions that stopped.
        let committed = if batch.moves.is_empty() {
            Committed::Yes
        } else {
            store.commit(&batch).await?
        };
        self.end(committed, &held.reached, held.load);
        if committed == Committed::Yes {
            self.keep(held.orders, held.stock);
        }
        Ok(())
    }

    /// Begins to store what is held, and comes back. One batch at a time: each goes on from where the one before it ends.
    pub(crate) async fn commit_beside<S: Store>(&mut self, store: &mut S) -> Result<(), StoreError> {
        self.settle().await?;
        let held = std::mem::take(&mut self.held);
        let batch = self.batch::<S>(&held, Vec::new());
        if batch.moves.is_empty() {
            self.end(Committed::Yes, &held.reached, held.load);
            return Ok(());
        }
        let storing = store.prepare(&batch)?;
        self.under_way = Some(UnderWay {
            reached: held.reached,
            load: held.load,
            storing: AbortOnDropHandle::new(tokio::spawn(storing)),
        });
        self.keep(held.orders, held.stock);
        Ok(())
    }

    /// Waits until nothing is being stored.
    async fn settle(&mut self) -> Result<(), StoreError> {
        if let Some(under_way) = self.under_way.take() {
            let committed = under_way
                .storing
                .await
                .map_err(|error| StoreError::Corrupt(error.to_string()))??;
            self.end(committed, &under_way.reached, under_way.load);
        }
        Ok(())
    }

    fn end(
        &mut self,
        committed: Committed,
        reached: &BTreeMap<TopicPartition, Checkpoint>,
        load: Option<Load>,
    ) {
        if committed == Committed::Yes {
            self.stored.extend(reached);
        }
        self.ended.extend(load.map(|load| (committed, load)));
    }

    fn batch<'a, S: Store>(&self, held: &'a Held, events: Vec<KeptEvent<'a>>) -> Batch<'a> {
        let changed_orders = |is_new: bool| {
            let orders = held.orders.values().filter(move |work| work.is_new == is_new);
            changed(orders).collect()
        };
        Batch {
            moves: self.moves(&held.reached),
            placed: changed_orders(true),
            orders: changed_orders(false),
            stock: changed(held.stock.values()).collect(),
            events,
            sales: if S::KEEPS_HISTORY {
                held.sales()
            } else {
                SalesChanges::default()
            },
        }
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
        self.held.add_records(steps.len());
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
            let mut work = Work::of(number, self.orders.take(&id));
            match &work.view {
                Some(order) => self.held.note_stored::<S>(order),
                None if matches!(**event, OrderEvent::Placed(_)) => work.is_new = true,
                None => missing.push((number, id)),
            }
            self.held.orders.insert(id, work);
        }
        if !missing.is_empty() {
            // It may be among what is being stored.
            self.settle().await?;
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
            self.settle().await?;
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

#[cfg(test)]
mod tests;
