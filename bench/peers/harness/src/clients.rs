use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use uuid::Uuid;

use crate::{Args, Line, OrderPlaced, Peer, Workload};

/// What the clients saw.
#[derive(Default)]
pub struct Seen {
    took: Vec<Duration>,
    failed: usize,
    first_failure: Option<String>,
    elapsed: Duration,
}

impl Seen {
    pub fn succeeded(&self) -> usize {
        self.took.len()
    }

    pub fn json(mut self, peer: &str, version: &str, args: &Args) -> String {
        self.took.sort_unstable();
        format!(
            r#"{{"peer":"{peer}","version":"{version}","workload":"{}","clients":{},"commands":{},"failed":{},"seconds":{:.3},"p50_ms":{:.3},"p99_ms":{:.3}}}"#,
            args.workload.name(),
            args.clients,
            args.commands,
            self.failed,
            self.elapsed.as_secs_f64(),
            self.percentile_ms(50),
            self.percentile_ms(99),
        )
    }

    fn percentile_ms(&self, percent: usize) -> f64 {
        let index = (self.took.len() * percent).div_ceil(100).saturating_sub(1);
        self.took
            .get(index)
            .map_or(0.0, |took| took.as_secs_f64() * 1000.0)
    }
}

/// Each client takes the next order as soon as its last command is answered.
pub async fn run<P: Peer>(
    peer: &Arc<P>,
    args: &Args,
    orders: &Arc<[Uuid]>,
    range: Range<usize>,
) -> Result<Seen> {
    let next = Arc::new(AtomicUsize::new(range.start));
    let start = Instant::now();
    let clients: Vec<_> = (0..args.clients)
        .map(|_| {
            let (peer, orders, next) = (peer.clone(), orders.clone(), next.clone());
            tokio::spawn(client(peer, args.workload, orders, next, range.end))
        })
        .collect();
    let mut all = Seen::default();
    for client in clients {
        let seen = client.await.context("a client panicked")?;
        all.took.extend(seen.took);
        all.failed += seen.failed;
        all.first_failure = all.first_failure.or(seen.first_failure);
    }
    all.elapsed = start.elapsed();
    if let Some(failure) = &all.first_failure {
        eprintln!(
            "{}: {} commands failed, one of them: {}",
            P::NAME,
            all.failed,
            failure.replace('\n', " ")
        );
    }
    Ok(all)
}

async fn client<P: Peer>(
    peer: Arc<P>,
    workload: Workload,
    orders: Arc<[Uuid]>,
    next: Arc<AtomicUsize>,
    end: usize,
) -> Seen {
    let mut seen = Seen::default();
    loop {
        let index = next.fetch_add(1, Ordering::Relaxed);
        let Some(&order) = orders[..end].get(index) else {
            return seen;
        };
        let start = Instant::now();
        let outcome = match workload {
            Workload::New => peer.place(OrderPlaced::example(order)).await,
            Workload::Existing => peer.add_line(order, Line::example()).await,
        };
        match outcome {
            Ok(()) => seen.took.push(start.elapsed()),
            Err(error) => {
                seen.failed += 1;
                seen.first_failure.get_or_insert_with(|| format!("{error:#}"));
            }
        }
    }
}
