//! What the pipeline does when something is killed or missing. One test at a time: they kill what all share.

mod cluster;
mod instances;
mod reads;
mod writers;

use std::collections::HashMap;
use std::time::Duration;

use e2e::{Load, Setup, components, key, order, settle_and_compare, stocked};
use tokio::sync::Mutex;

/// Whoever holds it may kill components.
static COMPONENTS: Mutex<()> = Mutex::const_new(());

/// Kills one thing after the other under load, each started again the way `up` does it.
async fn kill_each(name: &str, victims: &[String]) {
    let (pipeline, client) = stocked(Setup::new(name)).await;
    let load = Load::start(std::slice::from_ref(&client));
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
    load.placed_more_than(50).await;
    let acknowledged = load.finish().await;
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
    let (pipeline, client) = stocked(Setup::new("kafkaonly")).await;
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
    let (pipeline, client) = stocked(Setup::new("flushed")).await;
    let load = Load::start(std::slice::from_ref(&client));
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    e2e::flush_redis().await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let acknowledged = load.finish().await;
    settle_and_compare(&pipeline, &client, &acknowledged).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_model_follows_the_log_while_the_other_is_down() {
    let _alone = COMPONENTS.lock().await;
    let (pipeline, client) = stocked(Setup::new("oneleg")).await;
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
            e2e::eventually("the other model has it", async || {
                let read = client.get(&format!("/v1/orders/{id}"), &placed.token()).await;
                (read.status == 200).then_some(())
            })
            .await;
            acknowledged.insert(id, 500);
        }
        if down == "postgres" {
            let list = e2e::send(client.query("/v1/customers/alice/orders?status=pending")).await;
            list.problem(503, "unavailable");
        }
        components().restart(down);
    }
    // The registry keeps its schemas in Postgres, and for a while the connections that died with it.
    components().kill("registry");
    components().restart("registry");
    pipeline.services.start().expect("all services are ready");
    settle_and_compare(&pipeline, &client, &acknowledged).await;
}
