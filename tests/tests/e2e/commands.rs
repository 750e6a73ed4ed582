//! Commands that are accepted first and carried out later, and what became of any command.

use e2e::{
    Answer, Client, Pipeline, Setup, effective, eventually, key, order, partition, produce_plain, read_plain,
    send,
};
use eventlog::{PlainTopic, Topic, Verdict};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

/// A POST whose caller does not want to wait.
async fn post_async(client: &Client, path: &str, key: &str, body: &Value) -> Answer {
    send(
        client
            .command(Method::POST, path)
            .header("idempotency-key", key)
            .header("prefer", "respond-async")
            .json(body),
    )
    .await
}

async fn outcome(client: &Client, id: &str) -> Answer {
    send(client.command(Method::GET, &format!("/v1/commands/{id}"))).await
}

/// The command's outcome, once it is not merely accepted.
async fn settled(client: &Client, id: &str) -> Value {
    eventually("the command is carried out", async || {
        let outcome = outcome(client, id).await.expect(200);
        (outcome.json["state"] != "accepted").then_some(outcome.json)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_accepted_command_is_carried_out_and_its_outcome_is_told() {
    let pipeline = Setup::new("later").start().await;
    let client = pipeline.client();
    client.receive("mug", 5).await;

    let (once, body) = (key(), order("alice", &[("mug", 2)]));
    let accepted = post_async(&client, "/v1/orders", &once, &body).await.expect(202);
    let id = accepted.text_of("command_id");
    assert_eq!(accepted.json, json!({"command_id": id, "state": "accepted"}));
    assert_eq!(
        accepted.header("location"),
        Some(format!("/v1/commands/{id}").as_str())
    );
    assert_eq!(accepted.header("preference-applied"), Some("respond-async"));

    // Another body under that key, at once.
    post_async(&client, "/v1/orders", &once, &order("alice", &[("mug", 5)]))
        .await
        .problem(422, "idempotency-key-reused");

    let applied = settled(&client, &id).await;
    assert_eq!(
        (&applied["command_id"], &applied["state"]),
        (&json!(id), &json!("applied"))
    );
    assert_eq!(applied["answer"]["status"], 201);
    let answer = &applied["answer"]["body"];
    assert_eq!(
        (&answer["status"], &answer["sequence"]),
        (&json!("pending"), &json!(1))
    );
    assert_eq!(applied["topic"], format!("{}.orders.events", pipeline.name));
    assert!(
        applied["partition"].is_i64() && applied["offset"].is_i64(),
        "{applied}"
    );

    // The same key: its outcome, whether its caller waits or not. Another body: refused.
    for replayed in [
        post_async(&client, "/v1/orders", &once, &body).await,
        client.post("/v1/orders", &once, &body).await,
    ] {
        let replayed = replayed.expect(201);
        assert_eq!(replayed.json, *answer);
        assert_eq!(replayed.header("idempotent-replayed"), Some("true"));
        assert_eq!(replayed.header("etag"), Some("\"1\""));
    }
    let other = order("alice", &[("mug", 1)]);
    post_async(&client, "/v1/orders", &once, &other)
        .await
        .problem(422, "idempotency-key-reused");

    // A refusal is an outcome, too.
    let take = json!({"quantity": -50, "reason": "lost"});
    let refused = post_async(&client, "/v1/stock/mug/adjustments", &key(), &take)
        .await
        .expect(202);
    let refused = settled(&client, &refused.text_of("command_id")).await;
    assert_eq!(refused["state"], "rejected");
    assert_eq!(refused["answer"]["status"], 409);
    assert_eq!(refused["answer"]["body"]["type"], "/problems/insufficient-stock");

    // And so is the outcome of a command whose caller waited.
    let waited = client.place("bob", &[("mug", 1)]).await.expect(201);
    let told = outcome(&client, &waited.text_of("command_id")).await.expect(200);
    assert_eq!(told.json["answer"]["body"], waited.json);

    outcome(&client, &Uuid::new_v4().to_string())
        .await
        .problem(404, "command-not-found");
    outcome(&client, "7").await.problem(400, "malformed-path");
    // What is wrong with a request is told at once.
    post_async(&client, "/v1/orders", &key(), &json!({}))
        .await
        .problem(422, "invalid-request");
    pipeline.verify();
}

/// Receipts and adjustments of one SKU, each of which is legal only after the one before it.
async fn zigzag(client: &Client, sku: &str, turns: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for _ in 0..turns {
        let (receipts, adjustments) = (
            format!("/v1/stock/{sku}/receipts"),
            format!("/v1/stock/{sku}/adjustments"),
        );
        let in_ = json!({"quantity": 3});
        let out = json!({"quantity": -3, "reason": "again"});
        for (path, body) in [(receipts, in_), (adjustments, out)] {
            let accepted = post_async(client, &path, &key(), &body).await.expect(202);
            ids.push(accepted.text_of("command_id"));
        }
    }
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn accepted_commands_are_carried_out_in_order_and_once_though_the_service_dies() {
    let pipeline = Setup::new("inorder").start().await;
    let client = pipeline.client();
    let mut ids = Vec::new();
    for turns in [40, 30] {
        ids.extend(zigzag(&client, "mug", turns).await);
        pipeline.kill("command-service-1");
        pipeline.services.start().expect("the service starts again");
    }
    ids.extend(zigzag(&client, "mug", 5).await);
    for id in &ids {
        assert_eq!(
            settled(&client, id).await["state"],
            "applied",
            "in order, each is legal"
        );
    }
    let last = settled(&client, ids.last().expect("there were some")).await;
    assert_eq!(
        last["answer"]["body"]["sequence"],
        ids.len(),
        "each is carried out once"
    );
    // Nothing is carried out again by the next one.
    pipeline.kill("command-service-1");
    pipeline.services.start().expect("the service starts again");
    client.receive("mug", 1).await;
    let report = pipeline.verify();
    assert_eq!(report["log"]["events"], ids.len() + 1, "{report}");
}

/// Appends a record to the accepted commands that is none.
fn spoil(pipeline: &Pipeline, value: &[u8]) {
    produce_plain(&pipeline.log(), PlainTopic::Commands, 0, b"mug", value);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_accepted_command_that_cannot_be_read_is_a_dead_letter_and_stops_nothing() {
    let pipeline = Setup::new("dead").partitions(1).start().await;
    let client = pipeline.client();
    spoil(&pipeline, b"no command");
    let accepted = post_async(&client, "/v1/stock/mug/receipts", &key(), &json!({"quantity": 3}))
        .await
        .expect(202);
    spoil(&pipeline, b"{\"v\":1}");
    let applied = settled(&client, &accepted.text_of("command_id")).await;
    assert_eq!(
        (&applied["state"], &applied["answer"]["status"]),
        (&json!("applied"), &json!(200))
    );
    let letters = eventually("both are dead letters", async || {
        let letters = read_plain(&pipeline.log(), PlainTopic::DeadLetters, 0);
        (letters.len() >= 2).then_some(letters)
    })
    .await;
    let values: Vec<_> = letters.iter().map(|letter| letter.value.as_slice()).collect();
    assert_eq!(values, [b"no command".as_slice(), b"{\"v\":1}"]);
    assert_eq!(
        letters[0].key,
        format!("{}.commands/0/0", pipeline.name).into_bytes()
    );

    // They were dealt with: the next start finds nothing to bury.
    eventually("the log says so", async || {
        let records = effective(&pipeline.log(), partition(Topic::Orders, 0));
        let sources = records.iter().filter_map(|(_, verdict)| match verdict {
            Verdict::Effective(envelope) => envelope.source,
            Verdict::Void(_) => None,
        });
        (sources.max() == Some(2)).then_some(())
    })
    .await;
    pipeline.kill("command-service-1");
    pipeline.services.start().expect("the service starts again");
    client.receive("mug", 1).await;
    assert_eq!(read_plain(&pipeline.log(), PlainTopic::DeadLetters, 0).len(), 2);
}
