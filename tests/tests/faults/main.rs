//! What the pipeline does when something is killed or missing. One test at a time: they kill what all share.

mod cluster;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use e2e::{Client, Pipeline, Setup, components, key, order};
use tokio::sync::Mutex;

/// Whoever holds it may kill components.
static COMPONENTS: Mutex<()> = Mutex::const_new(());

const SKUS: usize = 20;
const CLIENTS: usize = 8;

/// Clients that place orders until they are told to stop, each under its key until it is answered.
struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<tokio::task::JoinHandle<Vec<(String, i64)>>>,
}

impl Load {
    fn start(client: &Client) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let clients = (0..CLIENTS)
            .map(|n| {
                let (client, stop) = (client.clone(), Arc::clone(&stop));
                tokio::spawn(async move {
                    let mut acknowledged = Vec::new();
                    while !stop.load(Ordering::Relaxed) {
                        let lines: Vec<(String, i64)> = (0..fastrand::usize(1..4))
                            .map(|_| (format!("sku-{}", fastrand::usize(..SKUS)), fastrand::i64(1..4)))
                            .collect();
                        let lines: Vec<(&str, i64)> =
                            lines.iter().map(|(sku, n)| (sku.as_str(), *n)).collect();
                        let total: i64 = lines.iter().map(|(_, n)| n * 250).sum();
                        let body = order(&format!("buyer-{n}"), &lines);
                        let placed = client
                            .post_until_answered("/v1/orders", &key(), &body)
                            .await
                            .expect(201);
                        acknowledged.push((placed.text_of("order_id"), total));
                    }
                    acknowledged
                })
            })
            .collect();
        Self { stop, clients }
    }

    /// Every acknowledged order and its total.
    async fn finish(self) -> HashMap<String, i64> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = HashMap::new();
        let mut count = 0;
        for client in self.clients {
            let acknowledged = tokio::time::timeout(Duration::from_mins(2), client).await;
            let acknowledged = acknowledged
                .expect("every client is answered once all is up again")
                .expect("no client fails");
            count += acknowledged.len();
            all.extend(acknowledged);
        }
        assert_eq!(all.len(), count, "no two acknowledged orders have the same id");
        all
    }
}

async fn pipeline(name: &str) -> (Pipeline, Client) {
    let pipeline = Setup::new(name).start().await;
    let client = pipeline.client();
    for sku in 0..SKUS {
        client.receive(&format!("sku-{sku}"), 400).await;
    }
    (pipeline, client)
}

/// Waits until no order is pending, then compares everything with everything.
async fn settle_and_compare(pipeline: &Pipeline, client: &Client, acknowledged: &HashMap<String, i64>) {
    let report = e2e::eventually("every order comes to rest", Duration::from_secs(90), async || {
        let report = pipeline.verify();
        (report["log"]["orders_with_open_steps"] == 0).then_some(report)
    })
    .await;
    assert_eq!(
        report["log"]["orders"],
        acknowledged.len(),
        "acknowledged orders are there, and no other: {report}"
    );
    assert_eq!(report["log"]["doubled"], 0);
    assert_eq!(report["log"]["leaks"], serde_json::json!([]));
    assert_eq!(report["log"]["orders_by_status"]["pending"], 0);
    for (id, total) in acknowledged {
        let read = e2e::send(client.query(&format!("/v1/orders/{id}")))
            .await
            .expect(200);
        assert_eq!(read.json["total_minor"], *total);
    }
    println!(
        "{} acknowledged orders, {} void records",
        acknowledged.len(),
        report["log"]["void"]
    );
}

/// Kills one thing after the other under load, each started again the way `up` does it.
async fn kill_each(name: &str, victims: &[String]) {
    let (pipeline, client) = pipeline(name).await;
    let load = Load::start(&client);
    for victim in victims {
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        if pipeline.services.names().contains(victim) {
            pipeline.kill(victim);
            tokio::time::sleep(Duration::from_millis(500)).await;
            pipeline
                .services
                .restart(victim)
                .expect("the service starts again");
        } else {
            components().kill(victim);
            tokio::time::sleep(Duration::from_millis(500)).await;
            components().restart(victim);
        }
        // Services may not have survived; `up` starts what does not run.
        pipeline.services.start().expect("all services are ready");
    }
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let acknowledged = load.finish().await;
    assert!(acknowledged.len() > 50, "there was load: {}", acknowledged.len());
    settle_and_compare(&pipeline, &client, &acknowledged).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_of_each_service_under_load_loses_and_doubles_nothing() {
    let _alone = COMPONENTS.lock().await;
    let victims = [
        "command-service-1",
        "projector-1",
        "query-service-1",
        "command-service-1",
        "projector-1",
    ];
    kill_each("killsvc", &victims.map(str::to_owned)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_of_each_component_under_load_loses_and_doubles_nothing() {
    let _alone = COMPONENTS.lock().await;
    kill_each("killcmp", &components().names()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_service_starts_and_works_while_postgres_redis_and_the_registry_are_down() {
    let _alone = COMPONENTS.lock().await;
    let (pipeline, client) = pipeline("kafkaonly").await;
    let down = ["registry", "redis", "postgres"];
    for name in down {
        components().kill(name);
    }
    pipeline.kill("command-service-1");
    pipeline
        .services
        .restart("command-service-1")
        .expect("it starts with Kafka alone");
    let mut acknowledged = HashMap::new();
    for n in 0..20 {
        let body = order("alice", &[("sku-1", 1), ("sku-2", 1)]);
        let placed = client
            .post("/v1/orders", &format!("k{n}"), &body)
            .await
            .expect(201);
        acknowledged.insert(placed.text_of("order_id"), 500);
    }
    for name in ["postgres", "redis", "registry"] {
        components().restart(name);
    }
    pipeline.services.start().expect("all services are ready");
    settle_and_compare(&pipeline, &client, &acknowledged).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_lost_everything_is_rebuilt_unasked() {
    let _alone = COMPONENTS.lock().await;
    let (pipeline, client) = pipeline("flushed").await;
    let load = Load::start(&client);
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    e2e::flush_redis().await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let acknowledged = load.finish().await;
    settle_and_compare(&pipeline, &client, &acknowledged).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_model_follows_the_log_while_the_other_is_down() {
    let _alone = COMPONENTS.lock().await;
    let (pipeline, client) = pipeline("oneleg").await;
    let mut acknowledged = HashMap::new();
    for down in ["redis", "postgres"] {
        components().kill(down);
        for _ in 0..20 {
            let body = order("alice", &[("sku-1", 1), ("sku-2", 1)]);
            let placed = client
                .post_until_answered("/v1/orders", &key(), &body)
                .await
                .expect(201);
            let id = placed.text_of("order_id");
            e2e::eventually("the other model has it", Duration::from_secs(20), async || {
                let read = client.get(&format!("/v1/orders/{id}"), &placed.token()).await;
                (read.status == 200).then_some(())
            })
            .await;
            acknowledged.insert(id, 500);
        }
        components().restart(down);
    }
    // The registry keeps its schemas in Postgres, and for a while the connections that died with it.
    components().kill("registry");
    components().restart("registry");
    pipeline.services.start().expect("all services are ready");
    settle_and_compare(&pipeline, &client, &acknowledged).await;
}
