//! Several projectors divide the partitions among them, and take over from each other.

use std::collections::HashMap;

use e2e::{Answer, Client, DEADLINE, Load, Pipeline, Setup, eventually, send, settle_and_compare, stocked};
use eventlog::{Bulletin, BulletinReader};

/// So many that two projectors hardly ever leave one of them without any.
const PARTITIONS: i32 = 16;
const PROJECTORS: [&str; 2] = ["projector-1", "projector-2"];

fn two(name: &str) -> Setup {
    Setup::new(name).partitions(PARTITIONS).counts(1, 2, 1)
}

/// How many partitions a projector works on.
async fn share(pipeline: &Pipeline, projector: &str) -> f64 {
    pipeline
        .metric(projector, "tailwater_projector_partitions", "")
        .await
}

/// Of two whole numbers, as metrics are.
fn same(one: f64, other: f64) -> bool {
    (one - other).abs() < 0.5
}

/// Waits until both have some, and together all.
async fn divided(pipeline: &Pipeline) {
    eventually("both have some", async || {
        let shares = [
            share(pipeline, PROJECTORS[0]).await,
            share(pipeline, PROJECTORS[1]).await,
        ];
        let together = shares.iter().sum::<f64>();
        (same(together, PARTITIONS.into()) && shares.iter().all(|share| *share > 0.0)).then_some(())
    })
    .await;
}

/// Waits until this one has all.
async fn has_all(pipeline: &Pipeline, projector: &str, of: i32) {
    eventually("it has taken over", async || {
        same(share(pipeline, projector).await, of.into()).then_some(())
    })
    .await;
}

/// Sessions of both that ended for that reason.
async fn ended(pipeline: &Pipeline, reason: &str) -> f64 {
    let mut all = 0.0;
    for projector in PROJECTORS {
        all += pipeline
            .metric(projector, "tailwater_projection_restarts_total", reason)
            .await;
    }
    all
}

/// Places an order, and waits until both models show it.
async fn place_and_see(client: &Client, acknowledged: &mut HashMap<String, i64>) {
    let placed = client
        .place("alice", &[("sku-1", 1), ("sku-2", 1)])
        .await
        .expect(201);
    let id = placed.text_of("order_id");
    for model in ["postgres", "redis"] {
        eventually("the model shows it", async || {
            let answer = read(client, &id, model, &placed.token()).await;
            (answer.status == 200).then_some(())
        })
        .await;
    }
    acknowledged.insert(id, 500);
}

/// Places orders from now on, and waits until there are more than so many.
async fn loaded(client: &Client, orders: usize) -> Load {
    let load = Load::start(std::slice::from_ref(client));
    eventually("there is load", async || (load.placed() > orders).then_some(())).await;
    load
}

async fn read(client: &Client, id: &str, model: &str, token: &str) -> Answer {
    let request = client
        .query(&format!("/v1/orders/{id}"))
        .header("tailwater-model", model)
        .header("consistency-token", token);
    send(request).await
}

/// The keys on the cluster topic.
fn board(pipeline: &Pipeline) -> Vec<String> {
    let mut reader = BulletinReader::new(&pipeline.log()).expect("a reader can be made");
    let mut keys = Vec::new();
    loop {
        match reader.poll(DEADLINE).expect("Kafka answers") {
            Some(Bulletin::Entry { key, .. }) => keys.push(String::from_utf8_lossy(&key).into_owned()),
            Some(Bulletin::CaughtUp) => return keys,
            None => panic!("the board has an end"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_projectors_divide_the_partitions_and_keep_out_of_each_others_way() {
    let (pipeline, client) = stocked(two("divided")).await;
    let mut acknowledged = HashMap::new();
    // A machine that others use too may keep one silent for so long that the other takes over; in such a while they meet.
    eventually("a while without a handover", async || {
        divided(&pipeline).await;
        let (handovers, met) = (
            ended(&pipeline, "reassigned").await,
            ended(&pipeline, "superseded").await,
        );
        for _ in 0..30 {
            place_and_see(&client, &mut acknowledged).await;
        }
        let met_meanwhile = ended(&pipeline, "superseded").await - met;
        same(ended(&pipeline, "reassigned").await, handovers).then(|| {
            assert!(same(met_meanwhile, 0.0), "they met {met_meanwhile} times");
        })
    })
    .await;
    settle_and_compare(&pipeline, &client, &acknowledged).await;
    let output = pipeline.output_of("command-service-1");
    assert!(
        !output.contains("malformed"),
        "command services pass over what projectors say to each other:\n{output}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_of_a_projector_leaves_nothing_undone_and_it_gets_partitions_back() {
    let (pipeline, client) = stocked(two("onekilled")).await;
    divided(&pipeline).await;
    let load = loaded(&client, 10).await;
    tokio::task::block_in_place(|| pipeline.kill(PROJECTORS[1]));
    has_all(&pipeline, PROJECTORS[0], PARTITIONS).await;
    let mut seen = HashMap::new();
    for _ in 0..10 {
        place_and_see(&client, &mut seen).await;
    }
    tokio::task::block_in_place(|| pipeline.services.restart(PROJECTORS[1])).expect("it starts again");
    divided(&pipeline).await;
    let mut acknowledged = load.finish().await;
    acknowledged.extend(seen);
    settle_and_compare(&pipeline, &client, &acknowledged).await;
    for projector in PROJECTORS {
        let lag = "tailwater_projection_lag_records";
        eventually("what it gave away is not shown as lag", async || {
            (pipeline.metric(projector, lag, "").await == 0.0).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_projector_without_partitions_is_ready_and_takes_over_from_one_that_stops() {
    let (pipeline, client) = stocked(two("standby").partitions(1)).await;
    let mut acknowledged = HashMap::new();
    place_and_see(&client, &mut acknowledged).await;
    let (busy, idle) = eventually("one of them has it", async || {
        let [a, b] = PROJECTORS;
        match (share(&pipeline, a).await > 0.0, share(&pipeline, b).await > 0.0) {
            (true, false) => Some((a, b)),
            (false, true) => Some((b, a)),
            _ => None,
        }
    })
    .await;
    let stopped = tokio::task::block_in_place(|| pipeline.services.stop(busy));
    assert!(stopped.expect("it can be stopped"), "{busy} ran");
    let gone = |key: &String| key.starts_with("projector/") && key.ends_with("/gone");
    let keys = tokio::task::block_in_place(|| board(&pipeline));
    assert!(keys.iter().any(gone), "it says so: {keys:?}");
    has_all(&pipeline, idle, 1).await;
    for _ in 0..10 {
        place_and_see(&client, &mut acknowledged).await;
    }
    settle_and_compare(&pipeline, &client, &acknowledged).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_projectors_fill_generations_together() {
    let (pipeline, client) = stocked(two("filled")).await;
    divided(&pipeline).await;
    let load = loaded(&client, 50).await;
    let (code, report) = tokio::task::block_in_place(|| pipeline.tailwater(&["rebuild", "--model", "all"]));
    assert_eq!(code, 0, "{report}");
    settle_and_compare(&pipeline, &client, &load.finish().await).await;
    for projector in PROJECTORS {
        let beside = pipeline
            .metric(projector, "tailwater_projected_records_total", "-beside")
            .await;
        assert!(beside > 0.0, "{projector} filled its share");
    }
}
