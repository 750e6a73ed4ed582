//! Reads that carry a token are never older than it.

use std::time::Duration;

use e2e::{Setup, send};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_sees_its_own_writes_and_never_goes_back_in_time() {
    let pipeline = Setup::new("fresh").start().await;
    let client = pipeline.client();
    let clients: Vec<_> = (0..8)
        .map(|n| {
            let client = client.clone();
            tokio::spawn(async move {
                let (sku, mut seen) = (format!("sku-{n}"), 0);
                for round in 1..=25_u64 {
                    let token = client.receive(&sku, 1).await;
                    let read = client.get(&format!("/v1/stock/{sku}"), &token).await.expect(200);
                    let on_hand = read.json["on_hand"].as_u64().unwrap();
                    assert!(
                        on_hand >= round && on_hand >= seen,
                        "{on_hand} after {round} writes"
                    );
                    seen = on_hand;
                    // Whichever model is asked, with the token that the read gave.
                    for model in ["redis", "postgres"] {
                        let request = client
                            .query(&format!("/v1/stock/{sku}"))
                            .header("consistency-token", read.token())
                            .header("tailwater-model", model)
                            .header("prefer", "wait=20");
                        let again = send(request).await.expect(200);
                        assert!(
                            again.json["on_hand"].as_u64().unwrap() >= seen,
                            "{model} goes back in time"
                        );
                    }
                }
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    pipeline.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_cannot_be_fresh_enough_in_time_is_503_and_never_older() {
    let pipeline = Setup::new("patience").start().await;
    let client = pipeline.client();
    let first = client.receive("mug", 1).await;
    for model in ["redis", "postgres"] {
        let request = client
            .query("/v1/stock/mug")
            .header("consistency-token", &first)
            .header("tailwater-model", model)
            .header("prefer", "wait=20");
        send(request).await.expect(200);
    }
    pipeline.kill("projector-1");
    let second = client.receive("mug", 1).await;
    let begun = std::time::Instant::now();
    let request = client
        .query("/v1/stock/mug")
        .header("tailwater-model", "postgres")
        .header("consistency-token", &second)
        .header("prefer", "wait=1");
    let late = send(request).await;
    late.problem(503, "not-yet-visible");
    assert!(late.header("retry-after").is_some());
    assert!(
        begun.elapsed() >= Duration::from_millis(900),
        "it waits as long as it is asked to"
    );
    // Where any may answer, the writer does at the end; it has no lists.
    for consistency in ["causal", "strong"] {
        let request = client
            .query("/v1/stock/mug")
            .header("consistency-token", &second)
            .header("consistency", consistency)
            .header("prefer", "wait=0");
        let written = send(request).await.expect(200);
        assert_eq!(written.header("served-from"), Some("writer"));
        assert_eq!(
            written.json,
            json!({"sku": "mug", "on_hand": 2, "reserved": 0, "available": 2, "sequence": 2})
        );
    }
    let placed = client.place("erin", &[("mug", 1)]).await.expect(201);
    let path = format!("/v1/orders/{}", placed.text_of("order_id"));
    for (path, status, source) in [
        (path.as_str(), 200, Some("writer")),
        ("/v1/customers/erin/orders", 503, None),
    ] {
        let request = client
            .query(path)
            .header("consistency-token", placed.token())
            .header("prefer", "wait=1");
        let answer = send(request).await.expect(status);
        assert_eq!(answer.header("served-from"), source);
    }
    // The older token, and none, are served at once.
    assert_eq!(
        client.get("/v1/stock/mug", &first).await.expect(200).json["on_hand"],
        1
    );
    let eventual = client
        .query("/v1/stock/mug")
        .header("consistency-token", &second)
        .header("consistency", "eventual");
    assert_eq!(send(eventual).await.expect(200).json["on_hand"], 1);
    pipeline.services.restart("projector-1").unwrap();
    let read = client.get("/v1/stock/mug", &second).await.expect(200);
    assert_eq!(read.json["on_hand"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_a_customers_orders_neither_skip_nor_repeat() {
    let pipeline = Setup::new("pages").start().await;
    let client = pipeline.client();
    client.receive("mug", 1_000).await;
    let mut placed = Vec::new();
    let mut token = String::new();
    for _ in 0..12 {
        let answer = client.place("alice", &[("mug", 1)]).await.expect(201);
        placed.push(answer.text_of("order_id"));
        let request = client.query(&format!("/v1/orders/{}", placed[placed.len() - 1]));
        let request = request
            .header("consistency-token", answer.token())
            .header("prefer", "wait=20");
        token = send(request).await.expect(200).token();
        // Each order's token covers its own partition; a list needs all of them.
        e2e::eventually("the list has it", async || {
            let list = client
                .get("/v1/customers/alice/orders?limit=200", &token)
                .await
                .expect(200);
            (list.json["orders"].as_array().unwrap().len() == placed.len()).then_some(())
        })
        .await;
    }
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = client
            .get(&format!("/v1/customers/alice/orders?limit=5{cursor}"), &token)
            .await
            .expect(200);
        let orders = page.json["orders"].as_array().unwrap();
        assert!(orders.len() <= 5 && orders.iter().all(|order| order.get("notes").is_none()));
        seen.extend(
            orders
                .iter()
                .map(|order| order["order_id"].as_str().unwrap().to_owned()),
        );
        let Some(next) = page.json["next_cursor"].as_str() else {
            break;
        };
        cursor = format!("&cursor={next}");
    }
    placed.reverse();
    assert_eq!(seen, placed, "newest first, each once");
    let pending = client
        .get("/v1/customers/alice/orders?status=cancelled", &token)
        .await
        .expect(200);
    assert_eq!(pending.json["orders"], json!([]));
}
