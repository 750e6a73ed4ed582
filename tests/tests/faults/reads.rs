//! What readers are answered while Postgres or Redis has nothing to say.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use e2e::{Answer, Client, Setup, components, eventually, key, order, send, settle_and_compare, stocked};

use super::COMPONENTS;

/// How long Postgres is away.
const OUTAGE: Duration = Duration::from_secs(10);

async fn place(client: &Client, acknowledged: &mut HashMap<String, i64>) -> (String, Answer) {
    let body = order("alice", &[("sku-1", 1), ("sku-2", 1)]);
    let placed = client
        .post_until_answered("/v1/orders", &key(), &body)
        .await
        .expect(201);
    let id = placed.text_of("order_id");
    acknowledged.insert(id.clone(), 500);
    (format!("/v1/orders/{id}"), placed)
}

async fn read(client: &Client, path: &str, headers: &[(&str, &str)]) -> Answer {
    let request = headers.iter().fold(client.query(path), |request, (name, value)| {
        request.header(*name, *value)
    });
    send(request).await
}

/// With a token, and time to wait for what it says.
async fn fresh(client: &Client, path: &str, token: &str) -> Answer {
    read(
        client,
        path,
        &[("consistency-token", token), ("prefer", "wait=20")],
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_no_postgres_is_answered_while_it_is_down_and_the_rest_is_503() {
    let _alone = COMPONENTS.lock().await;
    let (pipeline, client) = stocked(Setup::new("nopostgres")).await;
    let mut acknowledged = HashMap::new();
    let (known, placed) = place(&client, &mut acknowledged).await;
    let list = "/v1/customers/alice/orders?limit=200";
    fresh(&client, list, &placed.token()).await.expect(200);
    components().kill("postgres");
    let begun = Instant::now();
    while begun.elapsed() < OUTAGE {
        let (path, placed) = place(&client, &mut acknowledged).await;
        let token = placed.token();
        for path in [&path, "/v1/stock/sku-1"] {
            let answer = fresh(&client, path, &token).await.expect(200);
            assert_ne!(answer.header("served-from"), Some("postgres"));
        }
        // Without a token too, and what memory has had for a while.
        read(&client, &known, &[]).await.expect(200);
        let of_the_past = format!("{path}/history");
        for path in [
            list,
            "/v1/customers/alice/orders?status=paid",
            "/v1/products/sku-1/sales",
            &of_the_past,
        ] {
            let headers = [("consistency-token", token.as_str()), ("prefer", "wait=0")];
            let refused = read(&client, path, &headers).await.expect(503);
            assert!(
                refused.header("retry-after").is_some(),
                "{path}: {}",
                refused.text
            );
            assert_eq!(refused.header("content-type"), Some("application/problem+json"));
        }
    }
    components().restart("postgres");
    // The registry keeps its schemas in Postgres, and for a while the connections that died with it.
    components().kill("registry");
    components().restart("registry");
    pipeline.services.start().expect("all services are ready");
    let (path, placed) = place(&client, &mut acknowledged).await;
    eventually("Postgres has it all", async || {
        let listed = fresh(&client, list, &placed.token()).await;
        let orders = listed.json["orders"].as_array()?.len();
        (orders == acknowledged.len()).then_some(())
    })
    .await;
    fresh(&client, &format!("{path}/history"), &placed.token())
        .await
        .expect(200);
    settle_and_compare(&pipeline, &client, &acknowledged).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_missing_or_older_while_redis_is_built_again() {
    let _alone = COMPONENTS.lock().await;
    let (pipeline, client) = stocked(Setup::new("forgot")).await;
    let (mut acknowledged, mut written) = (HashMap::new(), Vec::new());
    for _ in 0..40 {
        let (path, placed) = place(&client, &mut acknowledged).await;
        let confirmed = eventually("its lines are answered", async || {
            let answer = fresh(&client, &path, &placed.token()).await.expect(200);
            (answer.json["status"] != "pending").then_some(answer)
        })
        .await;
        written.push((path, confirmed.token(), confirmed.json["sequence"].as_u64()));
    }
    // So that memory has none of the answers.
    pipeline.kill("query-service-1");
    pipeline
        .services
        .restart("query-service-1")
        .expect("it starts again");
    e2e::flush_redis().await;
    for (path, token, sequence) in &written {
        let answer = fresh(&client, path, token).await.expect(200);
        assert!(answer.json["sequence"].as_u64() >= *sequence, "{}", answer.text);
        // Redis says that it does not know yet, never that there is none.
        let headers = [
            ("tailwater-model", "redis"),
            ("consistency-token", token.as_str()),
            ("prefer", "wait=0"),
        ];
        let of_redis = read(&client, path, &headers).await;
        assert!(
            of_redis.status == 503 || of_redis.json["sequence"].as_u64() >= *sequence,
            "{}",
            of_redis.text
        );
    }
    for (path, token, sequence) in &written {
        let answer = eventually("Redis has it again", async || {
            let answer = read(
                &client,
                path,
                &[("tailwater-model", "redis"), ("consistency-token", token)],
            )
            .await;
            (answer.status == 200).then_some(answer)
        })
        .await;
        assert!(answer.json["sequence"].as_u64() >= *sequence, "{}", answer.text);
    }
    settle_and_compare(&pipeline, &client, &acknowledged).await;
}
