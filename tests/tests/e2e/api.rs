//! Orders and stock through the API, from write to read.

use e2e::{Setup, key, order, send};
use reqwest::Method;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "one order's whole life, told in order")]
async fn an_order_is_placed_confirmed_paid_and_shipped_and_both_models_show_it() {
    let pipeline = Setup::new("life").start().await;
    let client = pipeline.client();
    client.receive("mug", 10).await;
    let received = client.receive("tee", 3).await;

    let placed = client
        .place("alice", &[("mug", 4), ("tee", 1), ("mug", 2)])
        .await
        .expect(201);
    let id = placed.text_of("order_id");
    assert_eq!(
        (&placed.json["status"], &placed.json["sequence"]),
        (&json!("pending"), &json!(1))
    );
    assert_eq!(placed.header("etag"), Some("\"1\""));
    let path = format!("/v1/orders/{id}");
    assert_eq!(
        placed.header("location"),
        Some(format!("{}{path}", client.query_url).as_str())
    );

    let confirmed = e2e::eventually("the order is confirmed", async || {
        let read = client.get(&path, &placed.token()).await.expect(200);
        (read.json["status"] == "confirmed").then_some(read)
    })
    .await;
    assert_eq!(confirmed.json["total_minor"], 7 * 250);
    let lines = confirmed.json["lines"].as_array().unwrap();
    assert_eq!(lines.len(), 3, "a SKU twice stays two lines");
    assert!(lines.iter().all(|line| line["reservation"] == "reserved"));
    // What was seen carries its causes: the stock is not older than the confirmation.
    let mug = client.get("/v1/stock/mug", &confirmed.token()).await.expect(200);
    assert_eq!(
        mug.json,
        json!({"sku": "mug", "on_hand": 10, "reserved": 6, "available": 4, "sequence": 3})
    );
    assert_eq!(mug.header("etag"), Some("\"3\""));

    // A wrong amount is refused, a stale version too; then it is paid.
    let wrong = client
        .post(
            &format!("{path}/payments"),
            &key(),
            &json!({"amount_minor": 1, "reference": "x"}),
        )
        .await;
    wrong.problem(409, "wrong-amount");
    let pay = json!({"amount_minor": 1750, "reference": "card 1"});
    let stale = send(
        client
            .command(Method::POST, &format!("{path}/payments"))
            .header("idempotency-key", key())
            .header("if-match", "\"1\"")
            .json(&pay),
    )
    .await;
    stale.problem(412, "version-mismatch");
    assert_eq!(stale.json["sequence"], 4);
    let paid = send(
        client
            .command(Method::POST, &format!("{path}/payments"))
            .header("idempotency-key", key())
            .header("if-match", confirmed.header("etag").unwrap())
            .json(&pay),
    )
    .await
    .expect(200);
    assert_eq!(
        (&paid.json["status"], &paid.json["sequence"]),
        (&json!("paid"), &json!(5))
    );

    let note = client
        .post(
            &format!("{path}/notes"),
            &key(),
            &json!({"author": "bob", "text": "hurry"}),
        )
        .await
        .expect(201);
    let note_id = note.text_of("note_id");
    let reply = json!({"author": "alice", "text": "yes", "reply_to": note_id});
    client
        .post(&format!("{path}/notes"), &key(), &reply)
        .await
        .expect(201);
    let unknown = json!({"author": "alice", "text": "?", "reply_to": uuid::Uuid::new_v4()});
    client
        .post(&format!("{path}/notes"), &key(), &unknown)
        .await
        .problem(409, "unknown-reply-to");

    let ship = json!({"carrier": "post", "tracking_code": "T1"});
    let shipped = client
        .post(&format!("{path}/shipments"), &key(), &ship)
        .await
        .expect(200);
    assert_eq!(shipped.json["status"], "shipped");
    client
        .post(
            &format!("{path}/cancellations"),
            &key(),
            &json!({"reason": "late"}),
        )
        .await
        .problem(409, "not-cancellable");
    // The token names the order's partition only, so a model that has not seen the stock yet may answer meanwhile.
    // Shipping takes from what is on hand and from what is reserved.
    e2e::eventually("the stock has left", async || {
        let mug = client.get("/v1/stock/mug", &shipped.token()).await;
        (mug.json["on_hand"] == 4 && mug.json["reserved"] == 0).then_some(())
    })
    .await;
    let read = client.get(&path, &shipped.token()).await.expect(200);
    assert_eq!(read.json["payment"]["amount_minor"], 1750);
    assert_eq!(read.json["shipment"]["carrier"], "post");
    assert_eq!(read.json["notes"][1]["reply_to"], note_id);
    // Each model alone answers the same, once it has come as far; steps of the process manager may have followed.
    for model in ["redis", "postgres"] {
        let one = send(
            client
                .query(&path)
                .header("tailwater-model", model)
                .header("consistency-token", read.token())
                .header("prefer", "wait=20"),
        )
        .await
        .expect(200);
        assert_eq!(one.header("served-from"), Some(model));
        assert!(one.json["sequence"].as_u64() >= read.json["sequence"].as_u64());
    }
    let etag = read.header("etag").unwrap();
    let again = send(
        client
            .query(&path)
            .header("if-none-match", etag)
            .header("consistency-token", read.token()),
    )
    .await;
    assert!(
        again.status == 304 || again.header("etag") != Some(etag),
        "{}",
        again.status
    );

    let list = client
        .get("/v1/customers/alice/orders", &shipped.token())
        .await
        .expect(200);
    assert_eq!(list.json["orders"][0]["order_id"], id);
    let nobody = client
        .get("/v1/customers/nobody/orders", &received)
        .await
        .expect(200);
    assert_eq!(nobody.json, json!({"orders": [], "next_cursor": null}));
    assert_eq!(pipeline.verify()["log"]["orders"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_or_cancelled_gives_its_stock_back() {
    let pipeline = Setup::new("back").start().await;
    let client = pipeline.client();
    client.receive("mug", 5).await;
    client.receive("tee", 1).await;
    let refused = client.place("bob", &[("mug", 5), ("tee", 2)]).await.expect(201);
    let unknown = client
        .place("bob", &[("mug", 1), ("no-such-sku", 1)])
        .await
        .expect(201);
    for placed in [&refused, &unknown] {
        let path = format!("/v1/orders/{}", placed.text_of("order_id"));
        let read = e2e::eventually("the order is rejected and at rest", async || {
            let read = client.get(&path, &placed.token()).await.expect(200);
            let rest = read.json["lines"]
                .as_array()
                .unwrap()
                .iter()
                .all(|line| line["reservation"] == "released" || line["reservation"] == "refused");
            (read.json["status"] == "rejected" && rest).then_some(read)
        })
        .await;
        assert!(read.json["reason"].is_string());
    }
    let placed = client.place("bob", &[("mug", 2)]).await.expect(201);
    let path = format!("/v1/orders/{}", placed.text_of("order_id"));
    let cancelled = client
        .post(&format!("{path}/cancellations"), &key(), &json!({"reason": "no"}))
        .await
        .expect(200);
    assert_eq!(cancelled.json["status"], "cancelled");
    // Until its line is answered the reservation may still be on its way, and the stock look as if it were back.
    e2e::eventually("the reservation is made and given back", async || {
        let read = client.get(&path, &cancelled.token()).await.expect(200);
        (read.json["lines"][0]["reservation"] == "released").then_some(())
    })
    .await;
    e2e::eventually("all stock is back", async || {
        let mug = client.get("/v1/stock/mug", &cancelled.token()).await;
        (mug.json["reserved"] == 0 && mug.json["on_hand"] == 5).then_some(())
    })
    .await;
    let down = json!({"quantity": -6, "reason": "broken"});
    let refused = client.post("/v1/stock/mug/adjustments", &key(), &down).await;
    refused.problem(409, "insufficient-stock");
    assert_eq!(refused.json["available"], 5);
    client
        .post(
            "/v1/stock/mug/adjustments",
            &key(),
            &json!({"quantity": -5, "reason": "broken"}),
        )
        .await
        .expect(200);
    let report = pipeline.verify();
    assert_eq!(report["log"]["leaks"], json!([]));
    assert_eq!(report["log"]["orders_with_open_steps"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_item_goes_to_exactly_one_of_many_buyers() {
    let pipeline = Setup::new("last").start().await;
    let client = pipeline.client();
    client.receive("gem", 1).await;
    let buyers: Vec<_> = (0..100)
        .map(|n| {
            let client = client.clone();
            tokio::spawn(async move {
                let body = order(&format!("buyer-{n}"), &[("gem", 1)]);
                client
                    .post_until_answered("/v1/orders", &key(), &body)
                    .await
                    .expect(201)
            })
        })
        .collect();
    let mut statuses = std::collections::BTreeMap::new();
    for buyer in buyers {
        let placed = buyer.await.unwrap();
        let path = format!("/v1/orders/{}", placed.text_of("order_id"));
        let status = e2e::eventually("no order stays pending", async || {
            let read = client.get(&path, &placed.token()).await.expect(200);
            (read.json["status"] != "pending").then(|| read.text_of("status"))
        })
        .await;
        *statuses.entry(status).or_insert(0) += 1;
    }
    assert_eq!(
        statuses,
        [("confirmed".to_owned(), 1), ("rejected".to_owned(), 99)].into()
    );
    pipeline.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_gives_the_same_answer_whatever_happens_in_between() {
    let pipeline = Setup::new("same").start().await;
    let client = pipeline.client();
    client.receive("mug", 5).await;
    let (place, body) = (key(), order("carol", &[("mug", 1)]));
    let first = client.post("/v1/orders", &place, &body).await.expect(201);
    assert_eq!(first.header("idempotent-replayed"), None);
    let path = format!("/v1/orders/{}", first.text_of("order_id"));
    // A refusal is an answer, too.
    let (pay, wrong) = (key(), json!({"amount_minor": 1, "reference": "x"}));
    let refused = client
        .post(&format!("{path}/payments"), &pay, &wrong)
        .await
        .expect(409);
    let missing = key();
    let nobody = format!("/v1/orders/{}/payments", uuid::Uuid::new_v4());
    client
        .post(&nobody, &missing, &wrong)
        .await
        .problem(404, "order-not-found");
    for round in 0..3 {
        if round == 1 {
            pipeline.kill("command-service-1");
            pipeline.services.restart("command-service-1").unwrap();
        }
        for (path, key, body, earlier) in [
            ("/v1/orders", &place, &body, &first),
            (format!("{path}/payments").as_str(), &pay, &wrong, &refused),
        ] {
            let again = client.post(path, key, body).await.expect(earlier.status);
            assert_eq!(again.json, earlier.json);
            assert_eq!(again.header("idempotent-replayed"), Some("true"));
            for header in ["etag", "location"] {
                assert_eq!(again.header(header), earlier.header(header), "{header}");
            }
        }
        client
            .post("/v1/orders", &place, &order("carol", &[("mug", 2)]))
            .await
            .problem(422, "idempotency-key-reused");
    }
    // At the same moment.
    let (twin, body) = (key(), order("dora", &[("mug", 1)]));
    let (a, b) = tokio::join!(
        client.post("/v1/orders", &twin, &body),
        client.post("/v1/orders", &twin, &body)
    );
    assert_eq!((a.status, &a.json), (201, &b.json));
    assert_eq!(pipeline.verify()["log"]["orders"], 2);
}
