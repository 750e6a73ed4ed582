//! The query service's memory: what is true is served from it, and nothing else.

use e2e::{Answer, Client, Setup, eventually, send};
use serde_json::json;

/// A read with these headers.
async fn read(client: &Client, path: &str, headers: &[(&str, &str)]) -> Answer {
    let request = headers.iter().fold(client.query(path), |request, (name, value)| {
        request.header(*name, *value)
    });
    send(request).await
}

/// Reads until memory answers.
async fn from_memory(client: &Client, path: &str) -> Answer {
    eventually("memory answers", async || {
        let answer = read(client, path, &[]).await;
        (answer.header("served-from") == Some("memory")).then_some(answer)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_answers_while_it_is_true_and_never_after() {
    let pipeline = Setup::new("memory").start().await;
    let client = pipeline.client();
    client.receive("mug", 1000).await;
    let placed = client.place("carla", &[("mug", 1)]).await.expect(201);
    let path = format!("/v1/orders/{}", placed.text_of("order_id"));
    let mut seen = placed.token();
    for round in 0..20 {
        let kept = from_memory(&client, &path).await.expect(200);
        assert_eq!(kept.header("cache-control"), Some("private, no-cache"));
        // With the token of what it gave, memory answers the same, and with its tag, nothing.
        let token = kept.token();
        let etag = kept.header("etag").unwrap().to_owned();
        let same = read(
            &client,
            &path,
            &[("consistency-token", &token), ("if-none-match", &etag)],
        )
        .await;
        if same.header("etag") == Some(&etag) {
            assert_eq!((same.status, same.text.as_str()), (304, ""));
        }
        // After a write, its token is never answered by what was before it.
        let note = json!({ "author": "a", "text": format!("note {round}") });
        let noted = client
            .post(&format!("{path}/notes"), &e2e::key(), &note)
            .await
            .expect(201);
        let after = client.get(&path, &noted.token()).await.expect(200);
        assert!(
            after.json["sequence"].as_u64() >= noted.json["sequence"].as_u64(),
            "{} before {}",
            after.text,
            noted.text
        );
        let strong = read(
            &client,
            &path,
            &[("consistency", "strong"), ("prefer", "wait=20")],
        )
        .await
        .expect(200);
        assert!(strong.json["sequence"].as_u64() >= noted.json["sequence"].as_u64());
        // A token travels along, also of partitions that the read does not need.
        let merged = read(
            &client,
            &path,
            &[("consistency-token", &seen), ("consistency", "eventual")],
        )
        .await;
        let again = read(
            &client,
            "/v1/stock/mug",
            &[("consistency-token", &merged.token()), ("prefer", "wait=20")],
        )
        .await;
        seen = again.expect(200).token();
    }
    for model in ["redis", "postgres"] {
        let one = read(&client, &path, &[("tailwater-model", model)])
            .await
            .expect(200);
        assert_eq!(
            one.header("served-from"),
            Some(model),
            "a diagnostic goes past memory"
        );
    }
    assert!(
        pipeline
            .metric("query-service-1", "tailwater_cache_hits_total", "order")
            .await
            >= 20.0
    );
    pipeline.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_kept_too_until_it_is() {
    let pipeline = Setup::new("absent").start().await;
    let client = pipeline.client();
    let absent = from_memory(&client, "/v1/stock/cup").await;
    absent.problem(404, "stock-not-found");
    assert_eq!(absent.header("cache-control"), Some("no-store"));
    let list = "/v1/customers/dora/orders";
    assert_eq!(
        from_memory(&client, list).await.expect(200).json["orders"],
        json!([])
    );
    let token = client.receive("cup", 3).await;
    assert_eq!(
        client.get("/v1/stock/cup", &token).await.expect(200).json["on_hand"],
        3
    );
    // Lists: a new order, and a change of one that is listed.
    let placed = client.place("dora", &[("cup", 1)]).await.expect(201);
    let listed = client.get(list, &placed.token()).await.expect(200);
    assert_eq!(listed.json["orders"][0]["order_id"], placed.json["order_id"]);
    from_memory(&client, list).await;
    let cancel = format!("/v1/orders/{}/cancellations", placed.text_of("order_id"));
    let cancelled = client
        .post(&cancel, &e2e::key(), &json!({ "reason": "changed my mind" }))
        .await
        .expect(200);
    let listed = client.get(list, &cancelled.token()).await.expect(200);
    assert_eq!(listed.json["orders"][0]["status"], "cancelled");
    let strong = read(&client, list, &[("consistency", "strong"), ("prefer", "wait=20")]).await;
    assert_eq!(strong.expect(200).json["orders"][0]["status"], "cancelled");
    let filtered = client
        .get(&format!("{list}?status=cancelled"), &cancelled.token())
        .await;
    assert_eq!(filtered.expect(200).header("served-from"), Some("postgres"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hot_key_is_filled_by_one_and_nobody_reads_older_than_his_token() {
    const WRITES: u64 = 150;
    let pipeline = Setup::new("hot").start().await;
    let client = pipeline.client();
    let first = client.receive("mug", 1).await;
    let (token, seen) = tokio::sync::watch::channel((first, 1_u64));
    let readers: Vec<_> = (0..64)
        .map(|_| {
            let (client, seen) = (client.clone(), seen.clone());
            tokio::spawn(async move {
                let mut reads = 0_u64;
                loop {
                    let (token, least) = seen.borrow().clone();
                    let answer = client.get("/v1/stock/mug", &token).await.expect(200);
                    let on_hand = answer.json["on_hand"].as_u64().unwrap();
                    assert!(on_hand >= least, "{on_hand} is older than {least}");
                    reads += 1;
                    if least > WRITES {
                        return reads;
                    }
                }
            })
        })
        .collect();
    for write in 2..=WRITES + 1 {
        let written = client.receive("mug", 1).await;
        token.send_replace((written, write));
    }
    let mut reads = 0;
    for reader in readers {
        reads += reader.await.unwrap();
    }
    let fills = pipeline
        .metric("query-service-1", "tailwater_cache_fills_total", "stock")
        .await;
    assert!(
        fills < f64::from(u32::try_from(reads).unwrap()) / 2.0,
        "{fills} fills for {reads} reads of one key"
    );
    pipeline.verify();
}
