//! Orders, and notes on them: one record each.

use std::time::Duration;

use anyhow::Context as _;
use eventlog::partition_of;
use schemas::{Codec, Event, OrderEvent, Timestamp, orders::NoteAdded};
use uuid::Uuid;

use super::rig::PARTITIONS;
use crate::load::{Request, Target, each};

/// Who writes the notes.
pub const AUTHOR: &str = "bench";
/// SKUs that orders are spread over.
const SKUS: usize = 200;
/// What is received of each, more than any load can take.
const STOCK: i64 = 1_000_000;
/// Connections for what is not measured.
const CONNECTIONS: usize = 32;
/// A note's value in the log, in bytes.
pub const RECORD_BYTES: usize = 250;

/// A text with which a note's value has exactly [`RECORD_BYTES`].
pub fn fitting_text(codec: &Codec) -> anyhow::Result<String> {
    let mut text = String::new();
    // Twice: the length of a longer text may itself take one byte more.
    for _ in 0..2 {
        let event = OrderEvent::NoteAdded(NoteAdded {
            occurred_at: Timestamp(jiff::Timestamp::now().as_microsecond()),
            order_id: Uuid::nil(),
            note_id: Uuid::nil(),
            author: AUTHOR.to_owned(),
            text: text.clone(),
            reply_to: None,
        });
        let rest = codec.encode(&Event::Order(event))?.len() - text.len();
        text = "x".repeat(
            RECORD_BYTES
                .checked_sub(rest)
                .context("a note is too long without its text")?,
        );
    }
    Ok(text)
}

/// Receives stock of every SKU that [`order`] orders.
pub async fn receive_stock(target: &Target, run: &str) -> anyhow::Result<()> {
    let make = {
        let (target, run) = (target.clone(), run.to_owned());
        move |index: usize| {
            let path = format!("/v1/stock/{}/receipts", sku(index));
            let body = format!(r#"{{"quantity":{STOCK}}}"#);
            Request::post(&target, &path, &format!("{run}-receipt-{index}"), body.as_bytes())
        }
    };
    let driven = each(target, CONNECTIONS, SKUS, make, |_| {}).await?;
    for (_, answer) in &driven.answers {
        anyhow::ensure!(
            answer.status == 200,
            "a receipt was answered {}",
            answer.summary()
        );
    }
    Ok(())
}

/// Single-line orders, one for each number, under keys that begin with `run`.
pub fn order(target: &Target, run: &str) -> impl Fn(usize) -> Request + Clone + 'static + use<> {
    let (target, run) = (target.clone(), run.to_owned());
    move |index| {
        let body = format!(
            r#"{{"customer_id":"bench-{}","currency":"GBP","lines":[{{"sku":"{}","quantity":1,"unit_price_minor":1000}}]}}"#,
            index % 1_000,
            sku(index)
        );
        Request::post(&target, "/v1/orders", &format!("{run}-{index}"), body.as_bytes())
    }
}

/// Places so many orders; their ids.
pub async fn place_orders(target: &Target, run: &str, count: usize) -> anyhow::Result<Vec<Uuid>> {
    let driven = each(target, CONNECTIONS, count, order(target, run), |_| {}).await?;
    let mut ids = Vec::new();
    for (_, answer) in &driven.answers {
        let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let id = body["order_id"].as_str().and_then(|id| id.parse().ok());
        ids.push(id.with_context(|| format!("an order was answered {}", answer.summary()))?);
    }
    Ok(ids)
}

/// Notes on these orders in turn, one for each number, under keys that begin with `run`.
pub fn note(
    target: &Target,
    run: &str,
    orders: &[Uuid],
    text: &str,
) -> impl Fn(usize) -> Request + Clone + 'static + use<> {
    let (target, run, orders) = (target.clone(), run.to_owned(), orders.to_vec());
    let body = format!(r#"{{"author":"{AUTHOR}","text":"{text}"}}"#);
    move |index| {
        let path = format!("/v1/orders/{}/notes", orders[index % orders.len()]);
        Request::post(&target, &path, &format!("{run}-{index}"), body.as_bytes())
    }
}

/// The partition of an order's events.
pub fn partition_of_order(order_id: Uuid) -> i32 {
    partition_of(order_id.to_string().as_bytes(), PARTITIONS)
}

/// Waits until the process manager has nothing to do any more: what it does would be measured with the rest.
pub async fn rest() {
    tokio::time::sleep(Duration::from_secs(1)).await;
}

fn sku(index: usize) -> String {
    format!("bench-{:03}", index % SKUS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_has_the_size_that_it_is_compared_at() {
        let ids = schemas::all().iter().zip(1..);
        let codec = Codec::new(ids).unwrap();
        let text = fitting_text(&codec).unwrap();
        assert!((100..RECORD_BYTES).contains(&text.len()), "{}", text.len());
        let event = OrderEvent::NoteAdded(NoteAdded {
            occurred_at: Timestamp(jiff::Timestamp::now().as_microsecond()),
            order_id: Uuid::new_v4(),
            note_id: Uuid::new_v4(),
            author: AUTHOR.to_owned(),
            text,
            reply_to: None,
        });
        assert_eq!(codec.encode(&Event::Order(event)).unwrap().len(), RECORD_BYTES);
    }
}
