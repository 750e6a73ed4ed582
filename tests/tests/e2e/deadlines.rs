//! Orders that nobody pays for in time.

use std::time::Duration;

use e2e::{Client, Setup, eventually, key};
use serde_json::{Value, json};

/// The order once it has this status.
async fn once(client: &Client, path: &str, token: &str, status: &str) -> Value {
    eventually(status, async || {
        let read = client.get(path, token).await.expect(200);
        (read.json["status"] == status).then_some(read.json)
    })
    .await
}

async fn rests_at(client: &Client, sku: &str, on_hand: i64, reserved: i64) {
    eventually("the stock comes to rest", async || {
        let stock = client
            .get(&format!("/v1/stock/{sku}"), &client.receive("other", 1).await)
            .await;
        (stock.json["on_hand"] == on_hand && stock.json["reserved"] == reserved).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_confirmed_order_that_nobody_pays_for_expires_and_gives_its_stock_back() {
    let pipeline = Setup::new("expire")
        .env("TAILWATER_PAYMENT_WINDOW_SECONDS", "2")
        .start()
        .await;
    let client = pipeline.client();
    client.receive("mug", 10).await;
    let unpaid = client.place("alice", &[("mug", 2), ("mug", 1)]).await.expect(201);
    let paid = client.place("bob", &[("mug", 4)]).await.expect(201);
    let path = |placed: &e2e::Answer| format!("/v1/orders/{}", placed.text_of("order_id"));
    once(&client, &path(&paid), &paid.token(), "confirmed").await;
    client
        .post(
            &format!("{}/payments", path(&paid)),
            &key(),
            &json!({"amount_minor": 1_000, "reference": "card"}),
        )
        .await
        .expect(200);
    let expired = once(&client, &path(&unpaid), &unpaid.token(), "expired").await;
    assert!(expired["payment"].is_null());
    rests_at(&client, "mug", 10, 4).await;
    // The stock gives it back first; then the order says so.
    eventually("every line is released", async || {
        let read = client.get(&path(&unpaid), &unpaid.token()).await.expect(200);
        let lines = read.json["lines"].as_array()?;
        let released = lines.iter().all(|line| line["reservation"] == "released");
        released.then_some(())
    })
    .await;
    client
        .post(
            &format!("{}/payments", path(&unpaid)),
            &key(),
            &json!({"amount_minor": 750, "reference": "late"}),
        )
        .await
        .problem(409, "not-payable");
    // What was paid in time stays.
    once(&client, &path(&paid), &paid.token(), "paid").await;
    pipeline.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_survives_the_service_that_would_have_kept_it() {
    let pipeline = Setup::new("overdue")
        .env("TAILWATER_PAYMENT_WINDOW_SECONDS", "3")
        .start()
        .await;
    let client = pipeline.client();
    client.receive("mug", 10).await;
    let mut orders = Vec::new();
    for _ in 0..5 {
        orders.push(client.place("alice", &[("mug", 1)]).await.expect(201));
    }
    pipeline.kill("command-service-1");
    tokio::time::sleep(Duration::from_secs(4)).await;
    pipeline.services.start().expect("the service starts again");
    for placed in &orders {
        let path = format!("/v1/orders/{}", placed.text_of("order_id"));
        once(&client, &path, &placed.token(), "expired").await;
    }
    rests_at(&client, "mug", 10, 0).await;
    pipeline.verify();
}
