//! Folding into a store that is maps: any division into batches gives the same model, poison stops one partition, and
//! somebody else who commits is noticed.

use std::sync::{Arc, Mutex};

use eventlog::{Link, Positions, Topic};
use proptest::prelude::*;
use read_model::projection::sales::Amount;
use read_model::view::Day;
use read_model::{HistoryEvent, Storing};
use schemas::StockEvent;
use schemas::orders::{OrderCancelled, OrderConfirmed, OrderPlaced, PlacedLine};
use schemas::stock::{StockReceived, StockReserved};

use super::*;
use crate::step::Origin;

/// What a store has.
#[derive(Clone, Debug, Default, PartialEq)]
struct Maps {
    checkpoints: BTreeMap<TopicPartition, Checkpoint>,
    orders: BTreeMap<Uuid, Order>,
    stock: BTreeMap<String, Stock>,
    events: BTreeMap<(i32, i64), HistoryEvent>,
    /// By partition, day, SKU and currency; none is zero.
    sales: BTreeMap<(i32, Day, String, String), Amount>,
    /// Events that were taken in and are not committed.
    taken: Vec<HistoryEvent>,
}

/// A store that has a batch only once that was driven.
#[derive(Debug, Default)]
struct Stored {
    maps: Maps,
    driven: Arc<Mutex<Option<Maps>>>,
}

impl Stored {
    fn maps(&mut self) -> &mut Maps {
        if let Some(driven) = self.driven.lock().unwrap().take() {
            let taken = std::mem::take(&mut self.maps.taken);
            self.maps = Maps { taken, ..driven };
        }
        &mut self.maps
    }
}

impl Store for Stored {
    const MODEL: &'static str = "maps";
    const KEEPS_HISTORY: bool = true;
    const HELD_WEIGHT_MAX: usize = 12;

    async fn checkpoints(
        &mut self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, Checkpoint>, StoreError> {
        let maps = self.maps();
        maps.taken.clear();
        let of = |partition: &TopicPartition| {
            let stored = maps.checkpoints.get(partition).copied();
            (*partition, stored.unwrap_or(Checkpoint::BEGINNING))
        };
        Ok(partitions.iter().map(of).collect())
    }

    async fn reset(&mut self, partition: TopicPartition, _found: Checkpoint) -> Result<(), StoreError> {
        self.maps().checkpoints.remove(&partition);
        Ok(())
    }

    async fn load_orders(&mut self, ids: &[(i32, Uuid)]) -> Result<Vec<Order>, StoreError> {
        let maps = self.maps();
        Ok(ids
            .iter()
            .filter_map(|(_, id)| maps.orders.get(id).cloned())
            .collect())
    }

    async fn load_stock(&mut self, skus: &[(i32, String)]) -> Result<Vec<Stock>, StoreError> {
        let maps = self.maps();
        Ok(skus
            .iter()
            .filter_map(|(_, sku)| maps.stock.get(sku).cloned())
            .collect())
    }

    async fn take_in(&mut self, events: &[KeptEvent<'_>]) -> Result<(), StoreError> {
        for kept in events {
            self.maps.taken.push(HistoryEvent::of(kept)?);
        }
        Ok(())
    }

    fn prepare(&mut self, batch: &Batch<'_>) -> Result<Storing, StoreError> {
        let mut next = self.maps().clone();
        self.maps.taken.clear();
        let committed = next.store(batch)?;
        let driven = Arc::clone(&self.driven);
        Ok(Box::pin(async move {
            tokio::task::yield_now().await;
            *driven.lock().unwrap() = Some(next);
            Ok(committed)
        }))
    }
}

impl Maps {
    fn store(&mut self, batch: &Batch<'_>) -> Result<Committed, StoreError> {
        let stored = |step: &Move| {
            self.checkpoints
                .get(&step.partition)
                .copied()
                .unwrap_or(Checkpoint::BEGINNING)
        };
        if batch.moves.iter().any(|step| stored(step) != step.from) {
            return Ok(Committed::Superseded);
        }
        self.checkpoints
            .extend(batch.moves.iter().map(|step| (step.partition, step.to)));
        for (_, order) in &batch.placed {
            assert!(!self.orders.contains_key(&order.view.order_id));
        }
        let orders = batch.placed.iter().chain(&batch.orders);
        self.orders
            .extend(orders.map(|(_, order)| (order.view.order_id, (*order).clone())));
        self.stock.extend(
            batch
                .stock
                .iter()
                .map(|(_, stock)| (stock.view.sku.clone(), (*stock).clone())),
        );
        let named = batch.events.iter().map(HistoryEvent::of);
        let events: Vec<_> = self.taken.drain(..).map(Ok).chain(named).collect();
        for event in events {
            let event = event?;
            let before = self.events.insert((event.partition, event.offset), event);
            assert_eq!(before, None, "no event is kept twice");
        }
        for (key, change) in batch.sales.iter() {
            let key = (
                key.partition,
                key.day,
                key.sku.to_owned(),
                key.currency.to_owned(),
            );
            let amount = self.sales.entry(key).or_default();
            amount.quantity += change.quantity;
            amount.revenue_minor += change.revenue_minor;
        }
        self.sales.retain(|_, amount| *amount != Amount::default());
        Ok(Committed::Yes)
    }
}

const ORDERS: TopicPartition = TopicPartition {
    topic: Topic::Orders,
    partition: 0,
};
const STOCK: TopicPartition = TopicPartition {
    topic: Topic::Stock,
    partition: 1,
};

/// Steps of two partitions, numbered as they come.
#[derive(Default)]
struct Script {
    steps: Vec<Step>,
    next: BTreeMap<TopicPartition, i64>,
}

impl Script {
    fn push(&mut self, partition: TopicPartition, effect: Effect) -> &mut Self {
        let next = self.next.entry(partition).or_default();
        let checkpoint = Checkpoint {
            next_offset: *next + 1,
            last_offset: *next,
            link: Link([u8::try_from(*next).unwrap() + 1; 16]),
        };
        let offset = *next;
        *next += 1;
        self.steps.push(Step {
            partition,
            offset,
            checkpoint,
            occurred_at: Some(Timestamp(*next)),
            effect,
        });
        self
    }

    fn steps(&self) -> Vec<&Step> {
        self.steps.iter().collect()
    }

    fn placed(&mut self, id: u128) -> &mut Self {
        let line = PlacedLine {
            sku: "s".to_owned(),
            quantity: 1,
            unit_price_minor: 1,
        };
        let event = OrderEvent::Placed(OrderPlaced {
            occurred_at: Timestamp(1),
            order_id: Uuid::from_u128(id),
            customer_id: "c".to_owned(),
            currency: "GBP".to_owned(),
            total_minor: 1,
            lines: vec![line],
        });
        self.push(ORDERS, Effect::Order(Box::new(event), Origin::default()))
    }

    fn confirmed(&mut self, id: u128) -> &mut Self {
        let order_id = Uuid::from_u128(id);
        let event = OrderEvent::Confirmed(OrderConfirmed {
            occurred_at: Timestamp(2),
            order_id,
            line: 0,
        });
        self.push(ORDERS, Effect::Order(Box::new(event), Origin::default()))
    }

    fn cancelled(&mut self, id: u128) -> &mut Self {
        let event = OrderEvent::Cancelled(OrderCancelled {
            occurred_at: Timestamp(3),
            order_id: Uuid::from_u128(id),
            reason: "r".to_owned(),
        });
        self.push(ORDERS, Effect::Order(Box::new(event), Origin::default()))
    }

    fn received(&mut self, sku: &str) -> &mut Self {
        let event = StockEvent::Received(StockReceived {
            occurred_at: Timestamp(3),
            sku: sku.to_owned(),
            quantity: 9,
        });
        self.push(STOCK, Effect::Stock(Box::new(event), Positions::new()))
    }

    fn reserved(&mut self, sku: &str) -> &mut Self {
        let event = StockEvent::Reserved(StockReserved {
            occurred_at: Timestamp(3),
            sku: sku.to_owned(),
            order_id: Uuid::from_u128(1),
            line: 0,
            quantity: 1,
        });
        self.push(STOCK, Effect::Stock(Box::new(event), Positions::new()))
    }
}

/// What becomes of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// It is committed.
    Committed,
    /// It is committed, and the next one is folded by another fold.
    Fresh,
    /// It is held.
    Held,
    /// It is held, and what is held is lost with its fold now and then.
    Lost,
}

/// Folds the steps in batches of those sizes.
async fn fold(steps: &[&Step], sizes: &[usize], how: How) -> Maps {
    let mut store = Stored::default();
    let mut fold = Fold::new(BTreeMap::new());
    let (mut rest, mut sizes) = (steps, sizes.iter().cycle());
    let mut losses = if how == How::Lost { 3 } else { 0 };
    while !rest.is_empty() {
        let (batch, more) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
        if how == How::Fresh {
            fold = Fold::new(store.checkpoints(&[ORDERS, STOCK]).await.unwrap());
        }
        rest = more;
        if matches!(how, How::Committed | How::Fresh) {
            fold.run(&mut store, batch).await.unwrap();
            assert_eq!(ended(&mut fold), [Committed::Yes]);
            continue;
        }
        fold.hold(&mut store, batch).await.unwrap();
        assert!(
            ended(&mut fold)
                .iter()
                .all(|committed| *committed == Committed::Yes)
        );
        if losses > 0 && fold.held().is_some() {
            losses -= 1;
            let stored = store.checkpoints(&[ORDERS, STOCK]).await.unwrap();
            let is_left = |step: &&Step| step.offset >= stored[&step.partition].next_offset;
            let left = steps.iter().position(is_left).unwrap();
            // Only where nothing behind it is stored: a session reads each partition from its own checkpoint.
            if steps[left..].iter().all(is_left) {
                rest = &steps[left..];
                fold = Fold::new(stored);
            }
        }
    }
    fold.commit(&mut store).await.unwrap();
    assert!(
        ended(&mut fold)
            .iter()
            .all(|committed| *committed == Committed::Yes)
    );
    assert!(!fold.holds());
    store.maps().clone()
}

/// What became of the batches that ended.
fn ended(fold: &mut Fold) -> Vec<Committed> {
    fold.take_ended()
        .into_iter()
        .map(|(committed, _)| committed)
        .collect()
}

proptest! {
    #[test]
    fn any_division_into_batches_gives_the_same_model(sizes in prop::collection::vec(1..5_usize, 1..6)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut script = Script::default();
        script.received("a").placed(1).received("b").reserved("a").placed(2).confirmed(1).reserved("b").reserved("a");
        script.push(ORDERS, Effect::None).confirmed(2).received("a").cancelled(1);
        runtime.block_on(async {
            let whole = fold(&script.steps(), &[100], How::Committed).await;
            prop_assert_eq!(whole.orders.len(), 2);
            let kept: Vec<_> = whole.events.values().map(|event| (event.order_id.as_u128(), event.sequence)).collect();
            prop_assert_eq!(kept, [(1, 1), (2, 1), (1, 2), (2, 2), (1, 3)]);
            let sold: Vec<i128> = whole.sales.values().map(|amount| amount.quantity).collect();
            prop_assert_eq!(sold, [1], "one was taken out again");
            prop_assert_eq!(whole.stock["a"].view.available, 16);
            for how in [How::Committed, How::Fresh, How::Held, How::Lost] {
                prop_assert_eq!(&whole, &fold(&script.steps(), &sizes, how).await, "{:?}", how);
            }
            Ok(())
        })?;
    }
}

#[tokio::test]
async fn poison_stops_its_partition_where_it_stands_and_no_other() {
    let mut script = Script::default();
    script
        .placed(1)
        .push(ORDERS, Effect::Poison("unknown schema".to_owned()))
        .placed(2)
        .received("a");
    let (mut store, mut fold) = (Stored::default(), Fold::new(BTreeMap::new()));
    let folded = fold.run(&mut store, &script.steps()).await.unwrap();
    assert_eq!(folded.halted, [(ORDERS, "unknown schema".to_owned())]);
    assert_eq!(store.maps().orders.len(), 1);
    assert_eq!(store.maps().checkpoints[&ORDERS].next_offset, 1);
    assert_eq!(store.maps().checkpoints[&STOCK].next_offset, 1);
    let mut more = Script {
        next: script.next,
        ..Script::default()
    };
    more.placed(3).received("a");
    assert!(
        fold.run(&mut store, &more.steps())
            .await
            .unwrap()
            .halted
            .is_empty()
    );
    assert_eq!(store.maps().orders.len(), 1, "it stays where it is");
    assert_eq!(store.maps().stock["a"].view.on_hand, 18, "the other goes on");
}

#[tokio::test]
async fn an_event_that_fits_nothing_stops_its_partition() {
    let mut script = Script::default();
    script.placed(1).confirmed(2).confirmed(1);
    let (mut store, mut fold) = (Stored::default(), Fold::new(BTreeMap::new()));
    let folded = fold.run(&mut store, &script.steps()).await.unwrap();
    assert_eq!(folded.halted.len(), 1);
    assert_eq!(store.maps().checkpoints[&ORDERS].next_offset, 1);
    assert_eq!(store.maps().orders[&Uuid::from_u128(1)].view.sequence, 1);
}

#[tokio::test]
async fn a_second_projector_is_noticed_and_writes_nothing_twice() {
    let mut script = Script::default();
    script.received("a");
    let mut store = Stored::default();
    let (mut one, mut two) = (Fold::new(BTreeMap::new()), Fold::new(BTreeMap::new()));
    for (fold, expected) in [(&mut one, Committed::Yes), (&mut two, Committed::Superseded)] {
        fold.run(&mut store, &script.steps()).await.unwrap();
        assert_eq!(ended(fold), [expected]);
    }
    assert_eq!(store.maps().stock["a"].view.on_hand, 9);
}
