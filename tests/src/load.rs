//! Clients that place and cancel orders while something happens, and what must hold afterwards.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use reqwest::Method;

use crate::client::{Answer, Client, key, order, try_send};
use crate::eventually::{DEADLINE, eventually};
use crate::pipeline::{Pipeline, Setup};

const SKUS: usize = 20;
const CLIENTS: usize = 8;

/// How long one attempt of a client may take.
const ATTEMPT: Duration = Duration::from_secs(6);

/// What came of a load.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Every acknowledged order and its total.
    pub acknowledged: HashMap<String, i64>,
    /// How long each took from the first attempt to its answer.
    pub took: Vec<Duration>,
    /// Attempts that were answered 503.
    pub unavailable: usize,
    /// Attempts that got no answer: refused, reset, timed out.
    pub broken: usize,
}

/// Clients that place orders and cancel some of them until they are told to stop, each under its key until it is answered.
pub struct Load {
    stop: Arc<AtomicBool>,
    placed: Arc<AtomicUsize>,
    clients: Vec<tokio::task::JoinHandle<Outcome>>,
}

impl Load {
    /// Clients of these command services: each keeps to one until it does not answer, and then goes to the next.
    pub fn start(services: &[Client]) -> Self {
        let (stop, placed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let clients = (0..CLIENTS)
            .map(|number| {
                let (services, stop) = (services.to_vec(), Arc::clone(&stop));
                tokio::spawn(buy(number, services, stop, Arc::clone(&placed)))
            })
            .collect();
        Self {
            stop,
            placed,
            clients,
        }
    }

    /// Waits until more than so many orders were acknowledged, so that what a test does is done under load.
    pub async fn placed_more_than(&self, orders: usize) {
        eventually("orders are placed", async || {
            (self.placed() > orders).then_some(())
        })
        .await;
    }

    /// Orders that were acknowledged so far.
    pub fn placed(&self) -> usize {
        self.placed.load(Ordering::Relaxed)
    }

    /// Every acknowledged order and its total.
    pub async fn finish(self) -> HashMap<String, i64> {
        self.outcome().await.acknowledged
    }

    /// All that came of it.
    pub async fn outcome(self) -> Outcome {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Outcome::default();
        for client in self.clients {
            let one = tokio::time::timeout(DEADLINE, client).await;
            let one = one
                .expect("every client is answered once all is up again")
                .expect("no client fails");
            all.acknowledged.extend(one.acknowledged);
            all.took.extend(one.took);
            all.unavailable += one.unavailable;
            all.broken += one.broken;
        }
        assert_eq!(
            all.acknowledged.len(),
            all.took.len(),
            "no two acknowledged orders have the same id"
        );
        all
    }
}

async fn buy(
    number: usize,
    services: Vec<Client>,
    stop: Arc<AtomicBool>,
    placed: Arc<AtomicUsize>,
) -> Outcome {
    let mut outcome = Outcome::default();
    let (mut at, mut mine) = (number, VecDeque::new());
    while !stop.load(Ordering::Relaxed) {
        let lines: Vec<(String, i64)> = (0..fastrand::usize(1..4))
            .map(|_| (format!("sku-{}", fastrand::usize(..SKUS)), fastrand::i64(1..4)))
            .collect();
        let lines: Vec<(&str, i64)> = lines.iter().map(|(sku, n)| (sku.as_str(), *n)).collect();
        let total: i64 = lines.iter().map(|(_, n)| n * 250).sum();
        let (body, once) = (order(&format!("buyer-{number}"), &lines), key());
        let begun = Instant::now();
        let answer = insist(&services, &mut at, &mut outcome, "/v1/orders", &once, &body).await;
        outcome.took.push(begun.elapsed());
        let id = answer.expect(201).text_of("order_id");
        outcome.acknowledged.insert(id.clone(), total);
        placed.fetch_add(1, Ordering::Relaxed);
        // Most are confirmed by the time that they are cancelled.
        mine.push_back(id);
        if mine.len() > 5
            && let Some(id) = mine.pop_front()
            && fastrand::bool()
        {
            let (path, once) = (format!("/v1/orders/{id}/cancellations"), key());
            let body = serde_json::json!({"reason": "changed my mind"});
            let answer = insist(&services, &mut at, &mut outcome, &path, &once, &body).await;
            assert!([200, 409].contains(&answer.status), "{}", answer.text);
        }
    }
    outcome
}

/// Asks one service after the other until one answers.
async fn insist(
    services: &[Client],
    at: &mut usize,
    outcome: &mut Outcome,
    path: &str,
    once: &str,
    body: &serde_json::Value,
) -> Answer {
    loop {
        let service = &services[*at % services.len()];
        let request = service
            .command(Method::POST, path)
            .header("idempotency-key", once)
            .timeout(ATTEMPT)
            .json(body);
        match try_send(request).await {
            Ok(answer) if answer.status != 503 => return answer,
            Ok(_) => outcome.unavailable += 1,
            Err(_) => outcome.broken += 1,
        }
        *at += 1;
        tokio::time::sleep(Duration::from_millis(if services.len() == 1 { 100 } else { 10 })).await;
    }
}

/// A pipeline with stock for a [`Load`], and a client of its first services.
pub async fn stocked(setup: Setup) -> (Pipeline, Client) {
    let pipeline = setup.start().await;
    let client = pipeline.client();
    for sku in 0..SKUS {
        client.receive(&format!("sku-{sku}"), 400).await;
    }
    (pipeline, client)
}

/// Waits until no order is pending, then compares everything with everything.
#[expect(clippy::implicit_hasher, reason = "it is what a load gives")]
pub async fn settle_and_compare(pipeline: &Pipeline, client: &Client, acknowledged: &HashMap<String, i64>) {
    let report = eventually("every order comes to rest", async || {
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
    let kept = report["models"]["postgres"]["events"].as_u64();
    assert!(
        kept >= Some(2 * acknowledged.len() as u64) && report["models"]["postgres"]["sales"] != 0,
        "events and sales are compared: {report}"
    );
    assert_eq!(report["log"]["leaks"], serde_json::json!([]));
    assert_eq!(report["log"]["orders_by_status"]["pending"], 0);
    for (id, total) in acknowledged {
        let read = crate::send(client.query(&format!("/v1/orders/{id}")))
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
