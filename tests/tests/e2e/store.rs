//! What a store does with batches that no projector's tests come to.

use std::collections::BTreeMap;
use std::slice::from_ref;

use domain::OrderStatus;
use e2e::Setup;
use eventlog::{Checkpoint, Link, Positions, Topic, TopicPartition};
use read_model::generations::Generation;
use read_model::postgres::{PostgresGenerations, PostgresReader, PostgresStore};
use read_model::projection::sales::SalesChanges;
use read_model::view::{LineView, OrderView, ReservationView};
use read_model::{Batch, Committed, Generations, Move, Order, Store, StoreError};
use schemas::Timestamp;
use tokio::sync::oneshot;
use uuid::Uuid;

const PARTITION: TopicPartition = TopicPartition {
    topic: Topic::Orders,
    partition: 0,
};
/// Enough to be copied in.
const ORDERS: u128 = 1_000;
const SKU: &str = "sold";

fn order(id: u128, sequence: u64) -> Order {
    Order {
        view: OrderView {
            order_id: Uuid::from_u128(id),
            customer_id: "c".to_owned(),
            status: OrderStatus::Confirmed,
            currency: "GBP".to_owned(),
            total_minor: 6,
            lines: vec![LineView {
                line: 0,
                sku: SKU.to_owned(),
                quantity: 2,
                unit_price_minor: 3,
                reservation: ReservationView::Reserved,
            }],
            payment: None,
            shipment: None,
            reason: None,
            placed_at: Timestamp(1_700_000_000_000_000),
            updated_at: Timestamp(1_700_000_000_000_000),
            sequence,
        },
        notes: read_model::Notes::default(),
        causes: Positions::new(),
    }
}

/// A checkpoint before that offset.
fn at(next_offset: i64) -> Checkpoint {
    Checkpoint {
        next_offset,
        last_offset: next_offset - 1,
        link: Link([7; 16]),
    }
}

/// Stores orders as placed, all of them sold; from the stored checkpoint to the next one.
async fn place(store: &mut PostgresStore, orders: &[Order]) -> Result<Committed, StoreError> {
    let from = store.checkpoints(from_ref(&PARTITION)).await?[&PARTITION];
    let mut batch = batch(from);
    for order in orders {
        batch.placed.push((PARTITION.partition, order));
        batch.sales.take(PARTITION.partition, false, &order.view);
    }
    store.commit(&batch).await
}

fn batch<'a>(from: Checkpoint) -> Batch<'a> {
    Batch {
        moves: vec![Move {
            partition: PARTITION,
            from,
            to: at(from.next_offset + 1),
        }],
        sales: SalesChanges::default(),
        ..Batch::default()
    }
}

async fn filling(name: &str) -> (PostgresGenerations, Generation, String) {
    let pipeline = Setup::new(name).deploy().await;
    let url = pipeline.services.env()["TAILWATER_DATABASE_URL"].clone();
    let generations = PostgresGenerations::new(&url, "test").expect("the URL is right");
    let number = generations.create().await.expect("Postgres answers");
    let all = generations.list().await.expect("Postgres answers");
    let one = *all.iter().find(|one| one.number == number).expect("it was made");
    (generations, one, url)
}

/// What was sold of it, as it is read once the generation is.
async fn sold(generations: &PostgresGenerations, one: Generation, url: &str) -> i128 {
    generations.switch(one.number).await.expect("Postgres answers");
    let sales = PostgresReader::new(url)
        .expect("Postgres answers")
        .sales(SKU, None, None)
        .await
        .expect("Postgres answers");
    sales.days.iter().map(|day| day.quantity).sum()
}

#[tokio::test]
async fn an_order_that_is_placed_again_stops_nothing() {
    let (generations, one, url) = filling("placed-again").await;
    let mut store = generations.store(one.number).unwrap();
    let first: Vec<Order> = (0..ORDERS).map(|id| order(id, 1)).collect();
    let again: Vec<Order> = (0..ORDERS).map(|id| order(id, 2)).collect();
    assert_eq!(place(&mut store, &first).await.unwrap(), Committed::Yes);
    assert!(place(&mut store, &again).await.is_err(), "it was not to be there");
    assert_eq!(place(&mut store, &again).await.unwrap(), Committed::Yes);
    let ids: Vec<_> = (0..ORDERS)
        .map(|id| (PARTITION.partition, Uuid::from_u128(id)))
        .collect();
    let stored: BTreeMap<Uuid, u64> = store
        .load_orders(&ids)
        .await
        .unwrap()
        .into_iter()
        .map(|order| (order.view.order_id, order.view.sequence))
        .collect();
    assert_eq!(stored.len(), first.len());
    assert!(stored.values().all(|sequence| *sequence == 2));
    generations.complete(one.number).await.unwrap();
    assert_eq!(sold(&generations, one, &url).await, 4_000);
}

#[tokio::test]
async fn sales_become_sums_when_a_generation_has_been_filled() {
    let (generations, one, url) = filling("sums").await;
    let mut store = generations.store(one.number).unwrap();
    assert_eq!(
        place(&mut store, &[order(1, 1), order(2, 1)]).await.unwrap(),
        Committed::Yes
    );
    assert_eq!(place(&mut store, &[order(3, 1)]).await.unwrap(), Committed::Yes);
    // A session that has begun before, and ends afterwards.
    let from = store.checkpoints(from_ref(&PARTITION)).await.unwrap()[&PARTITION];
    let order_4 = order(4, 1);
    let mut overtaken = batch(from);
    overtaken.placed.push((PARTITION.partition, &order_4));
    overtaken.sales.take(PARTITION.partition, false, &order_4.view);
    let storing = store.prepare(&overtaken).unwrap();
    generations.complete(one.number).await.unwrap();
    assert_eq!(storing.await.unwrap(), Committed::Superseded);
    assert_eq!(
        place(&mut store, from_ref(&order_4)).await.unwrap(),
        Committed::Yes
    );
    assert_eq!(place(&mut store, &[order(5, 1)]).await.unwrap(), Committed::Yes);
    assert_eq!(sold(&generations, one, &url).await, 10);
}

#[tokio::test]
async fn a_batch_of_which_one_checkpoint_is_another_stores_nothing() {
    let (generations, one, _) = filling("half-moved").await;
    let mut store = generations.store(one.number).unwrap();
    let topic = Topic::Orders;
    let both = [PARTITION, TopicPartition { topic, partition: 1 }];
    let before = store.checkpoints(&both).await.unwrap();
    let placed = order(1, 1);
    let mut half = batch(before[&PARTITION]);
    half.placed.push((PARTITION.partition, &placed));
    half.moves.push(Move {
        partition: both[1],
        from: at(5),
        to: at(6),
    });
    assert_eq!(store.commit(&half).await.unwrap(), Committed::Superseded);
    assert_eq!(store.checkpoints(&both).await.unwrap(), before);
    let ids = [(PARTITION.partition, placed.view.order_id)];
    assert!(store.load_orders(&ids).await.unwrap().is_empty());
    half.moves.pop();
    assert_eq!(store.commit(&half).await.unwrap(), Committed::Yes);
    assert_eq!(store.load_orders(&ids).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_discards_a_generation_meets_no_writer_half_way() {
    let (generations, first, _) = filling("discarded").await;
    generations.discard(first).await.unwrap();
    for round in 0..30 {
        let number = generations.create().await.unwrap();
        let mut store = generations.store(number).unwrap();
        let mut from = store.checkpoints(from_ref(&PARTITION)).await.unwrap()[&PARTITION];
        let (wrote, has_written) = oneshot::channel();
        let writer = tokio::spawn(async move {
            let mut wrote = Some(wrote);
            loop {
                let next = batch(from);
                match store.commit(&next).await {
                    Ok(committed) => assert_eq!(committed, Committed::Yes),
                    Err(error) => return error,
                }
                from = next.moves[0].to;
                let _ = wrote.take().map(|wrote| wrote.send(()));
            }
        });
        has_written.await.expect("the first batch is stored");
        // Each round meets the writer at another point of its batch.
        tokio::time::sleep(std::time::Duration::from_millis(round)).await;
        let all = generations.list().await.unwrap();
        let one = all.into_iter().find(|one| one.number == number).unwrap();
        generations.discard(one).await.expect("it waits for the writer");
        let error = writer.await.unwrap().to_string();
        assert!(error.contains("does not exist"), "{error}");
    }
}
