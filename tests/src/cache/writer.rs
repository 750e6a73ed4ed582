//! Who changes what is read.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::json;
use uuid::Uuid;

use super::run::Shared;
use crate::client::{Client, key, order};

/// SKUs that are ordered and received.
pub(super) const SKUS: usize = 6;
/// Orders that are changed and read; each new one lets go of the oldest.
pub(super) const ORDERS: usize = 48;
/// Writes in a row, before a writer pauses: a storm, and then time for what was read to be read again.
const BURST: u64 = 25;
/// Each customer gets so many orders.
const ORDERS_EACH: usize = 12;

/// What there is, and how far the last write of each is.
#[derive(Debug, Default)]
pub(super) struct Things {
    /// Orders, their customers and the token of their last write.
    pub(super) orders: Vec<(Uuid, String, String)>,
    /// The token of each SKU's last write.
    pub(super) stock: Vec<String>,
    placed: usize,
}

/// What another task left when it failed fails the run anyway.
pub(super) fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Receives every SKU and places the first orders.
pub(super) async fn prepare(client: &Client, things: &Mutex<Things>) {
    for sku in 0..SKUS {
        let token = client.receive(&format!("sku-{sku}"), 1_000_000).await;
        lock(things).stock.push(token);
    }
    for _ in 0..ORDERS {
        place(client, things).await;
    }
}

async fn place(client: &Client, things: &Mutex<Things>) {
    let customer = {
        let mut things = lock(things);
        things.placed += 1;
        format!("customer-{}", things.placed / ORDERS_EACH)
    };
    let sku = format!("sku-{}", fastrand::usize(..SKUS));
    let body = order(&customer, &[(&sku, 1)]);
    let placed = client
        .post_until_answered("/v1/orders", &key(), &body)
        .await
        .expect(201);
    let id = placed.text_of("order_id").parse().expect("an order has an id");
    let mut things = lock(things);
    things.orders.push((id, customer, placed.token()));
    if things.orders.len() > ORDERS {
        things.orders.remove(0);
    }
}

/// Writes until the readers are done; how often.
pub(super) async fn write(client: Client, shared: Arc<Shared>, seed: u64) -> u64 {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut writes = 0;
    while !shared.is_done() {
        match rng.u8(..20) {
            0 => place(&client, &shared.things).await,
            1..8 => {
                let sku = rng.usize(..SKUS);
                let token = client.receive(&format!("sku-{sku}"), 1).await;
                lock(&shared.things).stock[sku] = token;
            }
            _ => {
                let id = {
                    let things = lock(&shared.things);
                    things.orders[rng.usize(..things.orders.len())].0
                };
                let note = json!({ "author": "writer", "text": rng.u64(..).to_string() });
                let path = format!("/v1/orders/{id}/notes");
                let noted = client.post_until_answered(&path, &key(), &note).await.expect(201);
                let mut things = lock(&shared.things);
                if let Some(order) = things.orders.iter_mut().find(|order| order.0 == id) {
                    order.2 = noted.token();
                }
            }
        }
        writes += 1;
        if writes % BURST == 0 {
            tokio::time::sleep(shared.options.pause_of_writers).await;
        }
    }
    writes
}
