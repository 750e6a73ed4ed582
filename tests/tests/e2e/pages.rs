//! Pages of a customer's orders, read while more orders are placed.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use e2e::{Answer, Client, Setup, eventually, key, order, send};
use read_model::view::time;
use schemas::Timestamp;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

const CUSTOMER: &str = "alice";
const PATH: &str = "/v1/customers/alice/orders";
/// Orders that are there before the first page is read.
const THERE: usize = 60;
/// Orders that are placed while pages are read, at least.
const MEANWHILE: usize = 40;
const BUYERS: usize = 4;

/// Places an order by somebody who has seen what the token says.
async fn place(client: &Client, customer: &str, token: Option<&str>) -> Answer {
    let mut request = client
        .command(reqwest::Method::POST, "/v1/orders")
        .header("idempotency-key", key())
        .json(&order(customer, &[("mug", 1)]));
    if let Some(token) = token {
        request = request.header("consistency-token", token);
    }
    send(request).await.expect(201)
}

/// Every page of a list, from the first to the last.
async fn pages(client: &Client, filter: &str, limit: usize, token: &str) -> Vec<Value> {
    let (mut orders, mut token, mut cursor): (Vec<Value>, _, _) =
        (Vec::new(), token.to_owned(), String::new());
    loop {
        let page = client
            .get(&format!("{PATH}?limit={limit}{filter}{cursor}"), &token)
            .await
            .expect(200);
        let shown = page.json["orders"].as_array().expect("a list");
        assert!(shown.len() <= limit, "{} orders of {limit}", shown.len());
        orders.extend(shown.iter().cloned());
        token = page.token();
        let Some(next) = page.json["next_cursor"].as_str() else {
            return orders;
        };
        assert_eq!(shown.len(), limit, "a page before the last is full");
        cursor = format!("&cursor={next}");
    }
}

fn id(order: &Value) -> &str {
    order["order_id"].as_str().expect("an id")
}

/// When an order was placed. The text would not do to compare: it has as few digits as the time needs.
fn placed_at(order: &Value) -> Timestamp {
    time::parse(order["placed_at"].as_str().expect("a time")).expect("it is a time")
}

/// Fails unless every one of `there` is shown once, and nothing twice or out of order.
fn each_once(orders: &[Value], there: &BTreeSet<String>, what: &str) {
    let shown: HashSet<&str> = orders.iter().map(id).collect();
    assert_eq!(shown.len(), orders.len(), "{what}: nothing is repeated");
    let skipped: Vec<_> = there.iter().filter(|id| !shown.contains(id.as_str())).collect();
    assert!(skipped.is_empty(), "{what}: nothing is skipped, but {skipped:?}");
    let placed: Vec<Timestamp> = orders.iter().map(placed_at).collect();
    assert!(
        placed.is_sorted_by(|newer, older| newer >= older),
        "{what}: newest first, not {placed:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_that_are_read_while_orders_are_placed_neither_skip_nor_repeat() {
    let pipeline = Setup::new("paging").start().await;
    let client = pipeline.client();
    client.receive("mug", 1_000_000).await;
    // One caller places what is there, so that its token covers all of it.
    let (mut token, mut there) = (None, BTreeSet::new());
    for _ in 0..THERE {
        let placed = place(&client, CUSTOMER, token.as_deref()).await;
        there.insert(placed.text_of("order_id"));
        token = Some(placed.token());
    }
    let confirmed = eventually("they are confirmed", async || {
        let list = client
            .get(&format!("{PATH}?limit=200&status=confirmed"), token.as_deref()?)
            .await;
        (list.json["orders"].as_array()?.len() == THERE).then_some(list)
    })
    .await;
    let token = confirmed.token();
    let list = confirmed.json["orders"].as_array().unwrap().clone();

    let stop = Arc::new(AtomicBool::new(false));
    let placed = Arc::new(AtomicUsize::new(0));
    let buyers: Vec<_> = (0..BUYERS)
        .map(|number| {
            let (client, stop, noted) = (client.clone(), Arc::clone(&stop), there.clone());
            let placed = Arc::clone(&placed);
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    place(&client, CUSTOMER, None).await;
                    place(&client, &format!("other-{number}"), None).await;
                    // What is there changes, too.
                    let old = noted
                        .iter()
                        .nth(placed.fetch_add(1, Ordering::Relaxed) % THERE)
                        .unwrap();
                    let note = json!({"author": "bob", "text": "hurry"});
                    client
                        .post(&format!("/v1/orders/{old}/notes"), &key(), &note)
                        .await
                        .expect(201);
                }
            })
        })
        .collect();
    // Those that were placed from the 50th on and before the 10th, newest first.
    let (to, from) = (placed_at(&list[9]), placed_at(&list[49]));
    let within: BTreeSet<String> = list
        .iter()
        .filter(|order| (from..to).contains(&placed_at(order)))
        .map(|order| id(order).to_owned())
        .collect();
    assert!((30..=40).contains(&within.len()), "{}", within.len());
    let between = format!("&from={}&to={}", from.rfc3339(), to.rfc3339());
    loop {
        for limit in [3, 7, 50, 200] {
            let what = format!("limit {limit}");
            each_once(&pages(&client, "", limit, &token).await, &there, &what);
            let all = pages(&client, "&status=confirmed", limit, &token).await;
            each_once(&all, &there, &format!("{what}, confirmed"));
            assert!(all.iter().all(|order| order["status"] == "confirmed"));
            let window = pages(&client, &between, limit, &token).await;
            each_once(&window, &within, &format!("{what}, from and to"));
            assert_eq!(window.len(), within.len(), "{what}: and nothing else");
        }
        // One that failed places no more, and is asked why below.
        if placed.load(Ordering::Relaxed) > MEANWHILE || buyers.iter().any(JoinHandle::is_finished) {
            break;
        }
    }
    stop.store(true, Ordering::Relaxed);
    for buyer in buyers {
        buyer.await.unwrap();
    }
    pipeline.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_page_can_be_asked_for_with_is_400() {
    let pipeline = Setup::new("badpages").start().await;
    let client = pipeline.client();
    let mut token = String::new();
    for customer in [CUSTOMER, CUSTOMER, "bob"] {
        token = place(
            &client,
            customer,
            Some(&token).filter(|token| !token.is_empty()).map(String::as_str),
        )
        .await
        .token();
    }
    let first = client.get(&format!("{PATH}?limit=1"), &token).await.expect(200);
    let cursor = first.text_of("next_cursor");
    client
        .get(&format!("{PATH}?limit=200&cursor={cursor}"), &token)
        .await
        .expect(200);
    for bad in [
        "limit=0",
        "limit=201",
        "limit=-1",
        "limit=",
        "limit=x",
        "limit=1.0",
        "limit=%2B5",
        "limit=1&limit=1",
        "status=lost",
        "status=",
        "status=Paid",
        "from=yesterday",
        "from=",
        "to=2026-11-22",
        "page=2",
        "Limit=1",
    ] {
        client
            .get(&format!("{PATH}?{bad}"), &token)
            .await
            .problem(400, "malformed-query");
    }
    let other = if cursor.as_bytes()[20] == b'A' { "B" } else { "A" };
    let changed = format!("{}{other}{}", &cursor[..20], &cursor[21..]);
    let cut = &cursor[..cursor.len() - 1];
    let long = "A".repeat(6_000);
    for bad in ["", "x", "%00", cut, &format!("{cursor}A"), &changed, &long] {
        client
            .get(&format!("{PATH}?cursor={bad}"), &token)
            .await
            .problem(400, "malformed-cursor");
    }
    // A place in one list is none in another.
    for path in [
        format!("/v1/customers/bob/orders?cursor={cursor}"),
        format!("{PATH}?status=paid&cursor={cursor}"),
        format!("{PATH}?from=2026-01-01T00:00:00Z&cursor={cursor}"),
        format!("{PATH}?to=2036-01-01T00:00:00Z&cursor={cursor}"),
    ] {
        client.get(&path, &token).await.problem(400, "malformed-cursor");
    }
    for customer in ["..", "%2e", "a%20b", "a%2Fb", &"a".repeat(65)] {
        let answer = client
            .get(&format!("/v1/customers/{customer}/orders"), &token)
            .await;
        assert!(
            answer.status == 400 || answer.status == 404,
            "{customer}: {}",
            answer.status
        );
    }
}
