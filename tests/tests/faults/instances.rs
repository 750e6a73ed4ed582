//! Several command services side by side: any of them takes any request, and none of them is missed.

use std::time::Duration;

use devstack::Signal;
use e2e::{
    Client, Load, Outcome, Pipeline, Setup, eventually, key, order, send, settle_and_compare, stocked,
    try_send,
};
use reqwest::Method;
use serde_json::json;

use crate::COMPONENTS;

const INSTANCES: usize = 3;

fn three(name: &str) -> Setup {
    Setup::new(name).counts(INSTANCES, 1, 1)
}

/// Waits until every instance sees all of them.
async fn all_there(pipeline: &Pipeline) {
    eventually("the instances know each other", async || {
        for number in 1..=INSTANCES {
            let service = format!("command-service-{number}");
            let members = pipeline.metric(&service, "tailwater_cluster_members", "").await;
            if (members - 3.0).abs() > 0.1 {
                return None;
            }
        }
        Some(())
    })
    .await;
}

fn tell(what: &str, outcome: &mut Outcome) {
    outcome.took.sort_unstable();
    let at = |share: usize| outcome.took[(outcome.took.len() - 1) * share / 100];
    println!(
        "{what}: {} orders, p50 {:?}, p99 {:?}, slowest {:?}; {} attempts answered 503, {} not answered",
        outcome.took.len(),
        at(50),
        at(99),
        at(100),
        outcome.unavailable,
        outcome.broken
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn any_instance_takes_any_request_and_knows_every_outcome() {
    let _shared = COMPONENTS.lock().await;
    let (pipeline, _) = stocked(three("any")).await;
    all_there(&pipeline).await;
    let clients = pipeline.clients();
    for n in 0..30 {
        let (once, body) = (key(), order("alice", &[("sku-1", 1)]));
        let first = &clients[n % INSTANCES];
        let placed = first.post("/v1/orders", &once, &body).await.expect(201);
        for other in &clients {
            let again = other.post("/v1/orders", &once, &body).await.expect(201);
            assert_eq!(again.header("idempotent-replayed"), Some("true"));
            for header in ["etag", "location"] {
                assert_eq!(again.header(header), placed.header(header));
            }
            assert_eq!(again.json, placed.json);
            let outcome = format!("/v1/commands/{}", placed.text_of("command_id"));
            let told = send(other.command(Method::GET, &outcome)).await.expect(200);
            assert_eq!(told.json["answer"]["body"], placed.json);
            other
                .post("/v1/orders", &once, &order("alice", &[("sku-2", 1)]))
                .await
                .problem(422, "idempotency-key-reused");
        }
        // What one instance has acknowledged is no future to any other.
        let path = format!("/v1/orders/{}/notes", placed.text_of("order_id"));
        send(
            clients[(n + 1) % INSTANCES]
                .command(Method::POST, &path)
                .header("idempotency-key", key())
                .header("consistency-token", placed.token())
                .json(&json!({"author": "alice", "text": "thanks"})),
        )
        .await
        .expect(201);
    }
    // The same command at the same moment everywhere is carried out once.
    for _ in 0..20 {
        let (once, body) = (key(), json!({"quantity": 1}));
        let asked = clients
            .iter()
            .map(|client| client.post("/v1/stock/sku-3/receipts", &once, &body));
        let answers = futures::future::join_all(asked).await;
        for answer in &answers {
            assert_eq!((answer.status, &answer.json), (200, &answers[0].json));
        }
    }
    pipeline.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_that_are_killed_or_stopped_are_not_missed() {
    let _shared = COMPONENTS.lock().await;
    let (pipeline, client) = stocked(three("missed")).await;
    all_there(&pipeline).await;
    let load = Load::start(&pipeline.clients());
    for number in [1, 2, 3, 1] {
        let victim = format!("command-service-{number}");
        tokio::time::sleep(Duration::from_secs(1)).await;
        pipeline.kill(&victim);
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        pipeline
            .services
            .restart(&victim)
            .expect("the service starts again");
        all_there(&pipeline).await;
    }
    for number in [2, 3] {
        let victim = format!("command-service-{number}");
        pipeline.signal(&victim, Signal::SIGSTOP);
        tokio::time::sleep(Duration::from_secs(3)).await;
        pipeline.signal(&victim, Signal::SIGCONT);
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    load.placed_more_than(50).await;
    let mut outcome = load.outcome().await;
    tell("killed and stopped", &mut outcome);
    settle_and_compare(&pipeline, &client, &outcome.acknowledged).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_fails_no_request() {
    let _shared = COMPONENTS.lock().await;
    let (pipeline, client) = stocked(three("rolling")).await;
    all_there(&pipeline).await;
    let load = Load::start(&pipeline.clients());
    for number in 1..=INSTANCES {
        let service = format!("command-service-{number}");
        tokio::time::sleep(Duration::from_secs(1)).await;
        pipeline
            .services
            .stop(&service)
            .expect("it ends when it is told to");
        let output = pipeline.output_of(&service);
        assert!(
            output.contains("cluster.left") && !output.contains("did not stop in time"),
            "{service} leaves in time"
        );
        pipeline
            .services
            .restart(&service)
            .expect("the service starts again");
        all_there(&pipeline).await;
    }
    let mut outcome = load.outcome().await;
    tell("rolling restart", &mut outcome);
    settle_and_compare(&pipeline, &client, &outcome.acknowledged).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_lost_its_disk_starts_from_what_the_others_have() {
    let _shared = COMPONENTS.lock().await;
    let (pipeline, client) = stocked(three("seeded").env("TAILWATER_CHECKPOINT_EVERY_MS", "100")).await;
    all_there(&pipeline).await;
    let load = Load::start(&pipeline.clients());
    tokio::time::sleep(Duration::from_secs(2)).await;
    pipeline.kill("command-service-3");
    pipeline.wipe("command-service-3");
    pipeline
        .services
        .restart("command-service-3")
        .expect("the service starts again");
    all_there(&pipeline).await;
    let output = pipeline.output_of("command-service-3");
    assert!(output.contains("writer.checkpoint.seeded"), "it asked the others");
    let outcome = load.outcome().await;
    settle_and_compare(&pipeline, &client, &outcome.acknowledged).await;
    // What it knows, it knows from them.
    let third = &pipeline.clients()[2];
    for id in outcome.acknowledged.keys().take(20) {
        let pay = json!({"amount_minor": 1, "reference": "x"});
        let refused = third
            .post(&format!("/v1/orders/{id}/payments"), &key(), &pay)
            .await;
        assert_eq!(refused.status, 409, "{}", refused.text);
    }
}

/// A buyer of the last item: asks until it is answered. 503 and a broken connection are no answers.
async fn buy_last(clients: Vec<Client>, number: usize) -> String {
    let (once, body) = (key(), order(&format!("buyer-{number}"), &[("last", 1)]));
    for attempt in 0.. {
        let request = clients[(number + attempt) % clients.len()]
            .command(Method::POST, "/v1/orders")
            .header("idempotency-key", &once)
            .timeout(Duration::from_secs(6))
            .json(&body);
        match try_send(request).await {
            Ok(answer) if answer.status != 503 => return answer.expect(201).text_of("order_id"),
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
    unreachable!("somebody answers")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_item_goes_to_one_of_a_thousand_though_an_instance_dies() {
    let _shared = COMPONENTS.lock().await;
    let (pipeline, client) = stocked(three("last")).await;
    all_there(&pipeline).await;
    client.receive("last", 1).await;
    let buyers: Vec<_> = (0..1_000)
        .map(|number| tokio::spawn(buy_last(pipeline.clients(), number)))
        .collect();
    tokio::time::sleep(Duration::from_millis(400)).await;
    pipeline.kill("command-service-2");
    let mut orders = Vec::new();
    for buyer in buyers {
        orders.push(buyer.await.expect("every buyer is answered"));
    }
    let report = eventually("every order comes to rest", async || {
        let report = pipeline.verify();
        (report["log"]["orders_with_open_steps"] == 0).then_some(report)
    })
    .await;
    let by_status = &report["log"]["orders_by_status"];
    assert_eq!(
        (&by_status["confirmed"], &by_status["rejected"]),
        (&json!(1), &json!(999)),
        "{report}"
    );
    assert_eq!(report["log"]["orders"], orders.len());
    pipeline
        .services
        .restart("command-service-2")
        .expect("the service starts again");
}
