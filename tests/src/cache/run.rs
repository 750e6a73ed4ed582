//! Readers, writers, restarts and the verifier together.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use eventlog::{TokenKey, topics};
use futures::future::join_all;

use super::report::Report;
use super::writer::{Things, prepare};
use super::{reader, verifier, writer};
use crate::log::codec;
use crate::pipeline::Pipeline;

/// How to run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Chooses what is read and written. Which of them is faster it does not choose.
    pub seed: u64,
    /// How many reads memory is to answer.
    pub reads: u64,
    /// How many connections read.
    pub readers: usize,
    /// How many clients write.
    pub writers: usize,
    /// How long each of them pauses after a burst of writes.
    pub pause_of_writers: Duration,
    /// How often a query service is killed and started again.
    pub restart_every: Option<Duration>,
    /// Whether to say every ten seconds how far it is.
    pub progress: bool,
}

/// What all tasks share.
pub(super) struct Shared {
    pub(super) options: Options,
    pub(super) things: Mutex<Things>,
    pub(super) tokens: TokenKey,
    pub(super) query_urls: Vec<String>,
    answered: AtomicU64,
}

impl Shared {
    /// Whether memory has answered often enough.
    pub(super) fn is_done(&self) -> bool {
        self.answered.load(Ordering::Relaxed) >= self.options.reads
    }

    /// Memory has answered.
    pub(super) fn answered(&self) {
        self.answered.fetch_add(1, Ordering::Relaxed);
    }
}

/// What seals a pipeline's tokens.
pub(super) fn key(pipeline: &Pipeline) -> TokenKey {
    let secret = &pipeline.services.env()["TAILWATER_TOKEN_KEY"];
    let log = topics::log_id(&pipeline.log(), Duration::from_secs(10)).expect("Kafka says which log it is");
    TokenKey::new(secret.as_bytes(), log)
}

/// Runs readers and writers against the services of a pipeline, and says what came of it.
pub async fn run(pipeline: &Pipeline, options: Options) -> Report {
    let begun = Instant::now();
    let shared = Arc::new(Shared {
        options,
        things: Mutex::default(),
        tokens: key(pipeline),
        query_urls: pipeline.services.query_urls(),
        answered: AtomicU64::new(0),
    });
    let (log, codec) = (pipeline.log(), codec(&pipeline.log()).await);
    let partitions = topics::partition_count(&log, Duration::from_secs(10)).expect("Kafka answers");
    let (answers, answered) = mpsc::channel();
    let verifier = std::thread::spawn(move || verifier::verify(&log, &codec, partitions, &answered));
    prepare(&pipeline.client(), &shared.things).await;
    let clients = pipeline.clients();
    let writes = (0..options.writers).map(|number| {
        let client = clients[number % clients.len()].clone();
        tokio::spawn(writer::write(
            client,
            Arc::clone(&shared),
            options.seed ^ number as u64,
        ))
    });
    let writes: Vec<_> = writes.collect();
    let reads = (0..options.readers)
        .map(|number| tokio::spawn(reader::read(number, Arc::clone(&shared), answers.clone())));
    let reads: Vec<_> = reads.collect();
    drop(answers);
    let restarts = meanwhile(pipeline, &shared, begun).await;
    let outcomes = join_all(reads).await;
    let mut report = tokio::task::block_in_place(|| verifier.join().expect("the verifier does not fail"));
    for outcome in outcomes {
        let outcome = outcome.expect("no reader fails");
        report.refused += outcome.refused;
        report.broken += outcome.broken;
        for violation in outcome.first_violations {
            report.violated(violation);
        }
    }
    for written in join_all(writes).await {
        report.writes += written.expect("no writer fails");
    }
    for service in pipeline.services.names() {
        if service.starts_with("query-service-") {
            let evictions = pipeline
                .metric(&service, "tailwater_cache_evictions_total", "")
                .await;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "it is a count"
            )]
            let evictions = evictions as u64;
            report.evictions += evictions;
        }
    }
    report.restarts = restarts;
    report.seed = options.seed;
    report.took = begun.elapsed();
    report
}

/// Kills query services in turn and starts them again, until the readers are done.
async fn meanwhile(pipeline: &Pipeline, shared: &Shared, begun: Instant) -> u64 {
    let (mut restarts, mut told, mut restarted) = (0, Instant::now(), Instant::now());
    let services = pipeline.services.names();
    let services: Vec<_> = services
        .iter()
        .filter(|name| name.starts_with("query-service-"))
        .collect();
    let mut turn = tokio::time::interval(Duration::from_millis(100));
    while !shared.is_done() {
        turn.tick().await;
        if shared
            .options
            .restart_every
            .is_some_and(|every| restarted.elapsed() > every)
        {
            let service = services[usize::try_from(restarts).unwrap_or_default() % services.len()];
            tokio::task::block_in_place(|| {
                pipeline.kill(service);
                pipeline
                    .services
                    .restart(service)
                    .expect("the service starts again");
            });
            restarts += 1;
            restarted = Instant::now();
        }
        if shared.options.progress && told.elapsed() > Duration::from_secs(10) {
            told = Instant::now();
            let done = shared.answered.load(Ordering::Relaxed);
            eprintln!(
                "· {done} reads from memory after {:.0} s",
                begun.elapsed().as_secs_f64()
            );
        }
    }
    restarts
}
