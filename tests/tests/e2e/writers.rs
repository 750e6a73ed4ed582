//! What the query service asks the writers: proven positions, and the writers' own state.

use std::time::Duration;

use e2e::{Client, DEADLINE, Pipeline, Setup, eventually, key, send};
use eventlog::{Positions, TokenKey, Topic, TopicPartition, internal, topics};
use query_service::writers::{Writers, WritersError};
use read_model::view::{OrderDocument, StockView};
use reqwest::Method;
use serde_json::{Value, json};
use service_kit::auth::ServiceKey;
use service_kit::config::Secret;
use uuid::Uuid;

const PARTITIONS: i32 = 4;

fn secret(pipeline: &Pipeline) -> Secret {
    Secret::new(pipeline.services.env()["TAILWATER_TOKEN_KEY"].clone())
}

/// The way to the writers by each instance alone.
fn by_each(pipeline: &Pipeline) -> Vec<Writers> {
    let urls = pipeline.services.command_urls();
    let by = |url: &String| {
        let url = url.parse().expect("an address is a URL");
        Writers::new(vec![url], &secret(pipeline)).expect("a client can be made")
    };
    urls.iter().map(by).collect()
}

fn all_partitions() -> Vec<TopicPartition> {
    TopicPartition::all(PARTITIONS).collect()
}

fn tokens(pipeline: &Pipeline) -> TokenKey {
    let log_id = topics::log_id(&pipeline.log(), DEADLINE).expect("Kafka answers");
    TokenKey::new(secret(pipeline).expose().as_bytes(), log_id)
}

async fn two(name: &str) -> Pipeline {
    let pipeline = Setup::new(name)
        .counts(2, 1, 1)
        // Next to nothing stays in memory: most is read back from the embedded store.
        .env("TAILWATER_HOT_AGGREGATES", "1")
        .env("TAILWATER_CHECKPOINT_EVERY_MS", "100")
        .start()
        .await;
    eventually("the instances know each other", async || {
        for service in ["command-service-1", "command-service-2"] {
            if pipeline.metric(service, "tailwater_cluster_members", "").await < 1.5 {
                return None;
            }
        }
        Some(())
    })
    .await;
    pipeline
}

#[tokio::test(flavor = "multi_thread")]
async fn any_instance_proves_how_far_every_partition_goes() {
    let pipeline = two("proofs").await;
    let (tokens, client) = (tokens(&pipeline), pipeline.client());
    let mut before = Positions::new();
    for (number, writers) in by_each(&pipeline).iter().enumerate() {
        let mut seen = Positions::new();
        for sku in 0..8 {
            seen.merge(
                &tokens
                    .open(&client.receive(&format!("sku-{sku}"), 1).await)
                    .unwrap(),
            );
        }
        let proven = writers.prove(&all_partitions(), DEADLINE).await.unwrap();
        assert_eq!(proven.iter().count(), all_partitions().len());
        for (partition, next_offset) in seen.iter().chain(before.iter()) {
            assert!(proven.get(partition) >= Some(next_offset), "by instance {number}");
        }
        // What is proven is in the log.
        let client = &pipeline.clients()[number];
        let request = client
            .command(Method::POST, "/v1/stock/sku-0/receipts")
            .header("idempotency-key", key())
            .header("consistency-token", tokens.seal(&proven))
            .json(&json!({"quantity": 1}));
        send(request).await.expect(200);
        before = proven;
    }
    let none = TopicPartition {
        topic: Topic::Orders,
        partition: PARTITIONS,
    };
    let refused = by_each(&pipeline)[0].prove(&[none], DEADLINE).await;
    assert_eq!(
        refused,
        Err(WritersError::Refused(http::StatusCode::UNPROCESSABLE_ENTITY))
    );
    pipeline.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_proofs_at_once_cost_a_handful_of_records() {
    let pipeline = two("shared").await;
    let writers = &by_each(&pipeline)[0];
    let partition = all_partitions()[0];
    let first = writers.prove(&[partition], DEADLINE).await.unwrap();
    let asked = (0..1_000).map(|_| async { writers.prove(&[partition], DEADLINE).await.unwrap() });
    let proven = futures::future::join_all(asked).await;
    let last = writers.prove(&[partition], DEADLINE).await.unwrap();
    let records = last.get(partition).unwrap() - first.get(partition).unwrap();
    assert!((2..20).contains(&records), "{records} records");
    assert!(
        proven
            .iter()
            .all(|proven| proven.get(partition) > first.get(partition))
    );
}

/// Waits until the read model shows the order in that status.
async fn shown(client: &Client, id: &str, token: &str, status: &str) {
    eventually(status, async || {
        let read = client.get(&format!("/v1/orders/{id}"), token).await.expect(200);
        (read.json["status"] == status).then_some(())
    })
    .await;
}

/// An order that was paid and shipped and has notes, one that was rejected, one that was cancelled.
async fn some_orders(client: &Client) -> Vec<String> {
    let received = client.receive("mug", 10).await;
    let mut ids = Vec::new();
    let placed = client.place("alice", &[("mug", 2), ("mug", 1)]).await.expect(201);
    let id = placed.text_of("order_id");
    let path = format!("/v1/orders/{id}");
    shown(client, &id, &placed.token(), "confirmed").await;
    let body = json!({"amount_minor": 750, "reference": "card 1"});
    client
        .post(&format!("{path}/payments"), &key(), &body)
        .await
        .expect(200);
    let mut reply_to = Value::Null;
    for n in 0..5 {
        let note =
            json!({"author": "bob", "text": format!("note {n} {}", "ä".repeat(3_000)), "reply_to": reply_to});
        let request = client
            .command(Method::POST, &format!("{path}/notes"))
            .header("idempotency-key", key())
            .header("consistency-token", &received)
            .json(&note);
        reply_to = send(request).await.expect(201).json["note_id"].clone();
    }
    let ship = json!({"carrier": "post", "tracking_code": "T1"});
    let shipped = client
        .post(&format!("{path}/shipments"), &key(), &ship)
        .await
        .expect(200);
    shown(client, &id, &shipped.token(), "shipped").await;
    ids.push(id);
    for (sku, status) in [("no-such-thing", "rejected"), ("mug", "cancelled")] {
        let placed = client.place("bob", &[(sku, 1)]).await.expect(201);
        let id = placed.text_of("order_id");
        if status == "cancelled" {
            let body = json!({"reason": "changed my mind"});
            let path = format!("/v1/orders/{id}/cancellations");
            client.post(&path, &key(), &body).await.expect(200);
        }
        shown(client, &id, &placed.token(), status).await;
        ids.push(id);
    }
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn the_writers_own_state_is_what_the_read_model_shows() {
    let pipeline = two("own").await;
    let (client, tokens) = (pipeline.client(), tokens(&pipeline));
    let ids = some_orders(&client).await;
    for (number, writers) in by_each(&pipeline).iter().enumerate() {
        let what = format!("the same by instance {number} and by the model");
        for id in &ids {
            let (order_id, path): (Uuid, _) = (id.parse().unwrap(), format!("/v1/orders/{id}"));
            // The process manager may still be giving stock back: then both are asked again.
            eventually(&what, async || {
                let reading = writers.order(order_id, 0, DEADLINE).await.unwrap();
                let order = reading.value.as_ref().expect("it is there");
                let shown = client.get(&path, &tokens.seal(&reading.seen())).await.expect(200);
                if shown.json["sequence"] != order.sequence {
                    return None;
                }
                let document = serde_json::to_value(OrderDocument::of_state(order_id, order)).unwrap();
                assert_eq!(document, shown.json, "by instance {number}");
                assert!(!reading.causes.is_empty(), "the stock's answers");
                Some(())
            })
            .await;
        }
        let mug = eventually(&what, async || {
            let reading = writers.stock("mug", 0, DEADLINE).await.unwrap();
            let stock = reading.value.as_ref().expect("it is there");
            let token = tokens.seal(&reading.seen());
            let shown = client.get("/v1/stock/mug", &token).await.expect(200);
            let view = serde_json::to_value(StockView::of_state("mug", stock)).unwrap();
            (view == shown.json && stock.reserved == 0).then_some(reading)
        })
        .await;
        assert_eq!(mug.value.map(|stock| stock.on_hand), Some(7));
        // What is not there is not there, as of a position.
        let none = writers.order(Uuid::from_u128(7), 0, DEADLINE).await.unwrap();
        assert!(none.value.is_none() && none.causes.is_empty());
        assert_eq!(writers.stock("nothing", 0, DEADLINE).await.unwrap().value, None);
        // As far as it is asked for, or not at all.
        let proven = writers.prove(&[mug.partition], DEADLINE).await.unwrap();
        let at_least = proven.get(mug.partition).unwrap();
        let fresh = writers.stock("mug", at_least, DEADLINE).await.unwrap();
        assert!(fresh.next_offset >= at_least);
        let beyond = writers.stock("mug", i64::MAX, Duration::from_millis(200)).await;
        assert!(
            matches!(beyond, Err(WritersError::TimedOut | WritersError::Unavailable)),
            "{beyond:?}"
        );
    }
    let cold = pipeline
        .metric(
            "command-service-1",
            "tailwater_writer_cold_reads_total",
            "aggregate",
        )
        .await;
    println!("{cold} aggregates were read back by the first instance");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_services_may_ask_the_writers() {
    let pipeline = Setup::new("internal").start().await;
    let client = pipeline.client();
    let service_key = ServiceKey::new(secret(&pipeline).expose().as_bytes());
    let ask = |path: &str, bearer: Option<http::HeaderValue>, body: &str| {
        let mut request = client
            .command(Method::POST, path)
            .header("content-type", "application/json")
            .body(body.to_owned());
        if let Some(bearer) = bearer {
            request = request.header("authorization", bearer);
        }
        send(request)
    };
    let stranger = ServiceKey::new(b"0123456789abcdef").bearer();
    for path in [internal::PROOFS, internal::AGGREGATES] {
        for bearer in [
            None,
            Some(stranger.clone()),
            Some(http::HeaderValue::from_static("Bearer x")),
        ] {
            // Nothing of it is looked at before.
            let refused = ask(path, bearer, "nonsense").await;
            refused.problem(401, "unauthorized");
            assert_eq!(refused.header("www-authenticate"), Some("Bearer"));
        }
        let bearer = || Some(service_key.bearer());
        ask(path, bearer(), "nonsense").await.problem(400, "not-json");
        ask(path, bearer(), "3").await.problem(422, "invalid-request");
    }
    for (path, body) in [
        (internal::PROOFS, r#"[{"topic":"orders","partition":-1}]"#),
        (internal::PROOFS, r#"[{"topic":"orders","partition":4}]"#),
        (internal::PROOFS, r#"[{"topic":"commands","partition":0}]"#),
        (
            internal::AGGREGATES,
            r#"{"topic":"orders","key":"mug","at_least":0}"#,
        ),
        (internal::AGGREGATES, r#"{"topic":"stock","key":"","at_least":0}"#),
        (
            internal::AGGREGATES,
            r#"{"topic":"stock","key":"mug","at_least":-1}"#,
        ),
        (internal::AGGREGATES, r#"{"topic":"stock","key":"mug"}"#),
    ] {
        let refused = ask(path, Some(service_key.bearer()), body).await;
        refused.problem(422, "invalid-request");
    }
    assert_eq!(
        ask(internal::PROOFS, Some(service_key.bearer()), "[]")
            .await
            .expect(200)
            .text,
        "[]"
    );
    // No part of the API.
    let document = send(client.command(Method::GET, "/openapi.json"))
        .await
        .expect(200);
    assert!(!document.text.contains("/internal/"));
}
