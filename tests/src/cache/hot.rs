//! One SKU that changes as fast as it can, and very many who read it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::run::key;
use super::wire::Wire;
use crate::pipeline::Pipeline;

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub struct Hot {
    /// Changes of the key.
    pub writes: u64,
    /// Reads that were answered.
    pub reads: u64,
    /// Reads that were answered 503.
    pub refused: u64,
    /// Reads that were older than their token, by the sequence.
    pub older: u64,
    /// How many fills there were.
    pub fills: f64,
    /// The most fills that were under way at once, of those that were seen.
    pub fills_at_once: f64,
    /// How often that was looked at.
    pub looks: u64,
    /// How long it took.
    pub took: Duration,
}

/// So many readers of one SKU, on a connection each, while it is received as fast as it can be.
pub async fn hot(pipeline: &Pipeline, readers: usize, writes: u64) -> Hot {
    const SKU: &str = "hot";
    let begun = Instant::now();
    let client = pipeline.client();
    let url = client.query_url.clone();
    let tokens = key(pipeline);
    let first = client.receive(SKU, 1).await;
    let (written, seen) = tokio::sync::watch::channel((first, 1_u64));
    let done = Arc::new(AtomicBool::new(false));
    let counts: Arc<[AtomicU64; 3]> = Arc::default();
    let tasks: Vec<_> = (0..readers)
        .map(|_| {
            let (url, seen, tokens) = (url.clone(), seen.clone(), tokens.clone());
            let (done, counts) = (Arc::clone(&done), Arc::clone(&counts));
            tokio::spawn(async move {
                let mut wire = Wire::connect(&url).await.expect("the service takes connections");
                let path = format!("/v1/stock/{SKU}");
                while !done.load(Ordering::Relaxed) {
                    let (token, least) = seen.borrow().clone();
                    wire.get(&path, &[("consistency-token", &token)]);
                    wire.send().await.expect("the service is there");
                    let reply = wire.reply().await.expect("the service answers");
                    let [reads, refused, older] = &*counts;
                    if reply.status == 503 {
                        refused.fetch_add(1, Ordering::Relaxed);
                        continue;
                    }
                    reads.fetch_add(1, Ordering::Relaxed);
                    let opened = tokens.open(&reply.token).unwrap_or_default();
                    let sent = tokens.open(&token).unwrap_or_default();
                    let behind = sent
                        .iter()
                        .any(|(partition, at)| opened.get(partition) < Some(at));
                    if behind || reply.etag.is_none_or(|sequence| sequence < least) {
                        older.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        })
        .collect();
    let writing = {
        let client = client.clone();
        let done = Arc::clone(&done);
        tokio::spawn(async move {
            for sequence in 2..=writes + 1 {
                let token = client.receive(SKU, 1).await;
                written.send_replace((token, sequence));
            }
            done.store(true, Ordering::Relaxed);
        })
    };
    let (mut fills_at_once, mut looks) = (0.0_f64, 0);
    while !done.load(Ordering::Relaxed) && !writing.is_finished() {
        let running = pipeline
            .metric("query-service-1", "tailwater_cache_fills_running", "")
            .await;
        fills_at_once = fills_at_once.max(running);
        looks += 1;
    }
    writing.await.expect("the writer does not fail");
    for task in tasks {
        task.await.expect("no reader fails");
    }
    let fills = pipeline
        .metric("query-service-1", "tailwater_cache_fills_total", "stock")
        .await;
    let [reads, refused, older] = [0, 1, 2].map(|n: usize| counts[n].load(Ordering::Relaxed));
    Hot {
        writes,
        reads,
        refused,
        older,
        fills,
        fills_at_once,
        looks,
        took: begun.elapsed(),
    }
}
