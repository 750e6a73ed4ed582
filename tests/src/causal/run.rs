//! Clients, model and weather together.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use eventlog::{TokenKey, topics};
use futures::future::join_all;

use super::client::{Session, client};
use super::model::Model;
use super::report::{Report, count};
use super::weather::Forecast;
use uuid::Uuid;

use crate::client::Client;
use crate::pipeline::Pipeline;

/// SKUs that everybody orders and receives. Few, so that clients meet.
pub(super) const SKUS: u32 = 6;
/// Orders that clients look at. Few, so that clients meet; the model remembers no more.
pub(super) const ORDERS: u32 = 64;

/// How to run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Chooses what the clients do. Which of them is faster it does not choose.
    pub seed: u64,
    /// How many requests are to be answered.
    pub operations: u64,
    /// How many clients there are.
    pub clients: usize,
    /// Whether projectors are paused and killed, query services killed and Redis emptied meanwhile.
    pub weather: bool,
    /// Whether to end with the first violation.
    pub until_violated: bool,
    /// Whether to say every ten seconds how far it is.
    pub progress: bool,
}

/// What all clients share.
pub(super) struct Shared {
    pub(super) options: Options,
    pub(super) model: Mutex<Model>,
    /// Where each client leaves its session for others now and then.
    pub(super) board: Mutex<Vec<Option<Session>>>,
    /// The order that got the last note.
    pub(super) news: Mutex<Option<(u32, Uuid)>>,
    pub(super) tokens: TokenKey,
    /// Each of the services once: writes go to any, and reads too.
    pub(super) commands: Vec<Client>,
    pub(super) queries: Vec<Client>,
    answered: AtomicU64,
    stopped: AtomicBool,
}

impl Shared {
    /// Whether there is one more operation to do.
    pub(super) fn take(&self) -> bool {
        !self.is_stopped() && self.answered.load(Ordering::Relaxed) < self.options.operations
    }

    /// Notes that a request was answered.
    pub(super) fn answered(&self) {
        self.answered.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether nobody wants to know any more.
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Notes that a rule was broken.
    pub(super) fn violated(&self) {
        if self.options.until_violated {
            self.stopped.store(true, Ordering::Relaxed);
        }
    }
}

/// Runs clients against all services of a pipeline, and says what came of it.
pub async fn run(pipeline: &Pipeline, options: Options) -> Report {
    let begun = Instant::now();
    let shared = Arc::new(Shared {
        options,
        model: Mutex::new(Model::new(SKUS, ORDERS as usize)),
        board: Mutex::new(vec![None; options.clients]),
        news: Mutex::new(None),
        tokens: key(pipeline),
        commands: clients(&pipeline.services.command_urls()),
        queries: clients(&pipeline.services.query_urls()),
        answered: AtomicU64::new(0),
        stopped: AtomicBool::new(false),
    });
    let tasks = (0..options.clients).map(|number| tokio::spawn(client(number, Arc::clone(&shared))));
    let ran = join_all(tasks);
    tokio::pin!(ran);
    let mut rng = fastrand::Rng::with_seed(options.seed ^ 0x5eed);
    let mut forecast = Forecast::default();
    let (mut report, mut told) = (Report::default(), Instant::now());
    let outcomes = loop {
        let pause = if options.weather {
            Duration::from_millis(rng.u64(500..3_000))
        } else {
            Duration::from_secs(1)
        };
        tokio::select! {
            outcomes = &mut ran => break outcomes,
            () = tokio::time::sleep(pause) => {}
        }
        if options.weather {
            // What is done to the services is undone before the next thing is, and before the end.
            let weather = forecast.next(&mut rng);
            count(&mut report.weather, weather.name());
            weather.happen(pipeline, &mut rng).await;
        }
        if options.progress && told.elapsed() > Duration::from_secs(10) {
            told = Instant::now();
            let done = shared.answered.load(Ordering::Relaxed);
            eprintln!("· {done} operations after {:.0} s", begun.elapsed().as_secs_f64());
        }
    };
    for outcome in outcomes {
        report.add(outcome.expect("no client fails"));
    }
    report.seed = options.seed;
    report.took = begun.elapsed();
    report
}

/// One for each service, whichever kind it is.
fn clients(urls: &[String]) -> Vec<Client> {
    urls.iter().map(|url| Client::new(url, url)).collect()
}

/// What seals this pipeline's tokens.
fn key(pipeline: &Pipeline) -> TokenKey {
    let secret = &pipeline.services.env()["TAILWATER_TOKEN_KEY"];
    let log = topics::log_id(&pipeline.log(), Duration::from_secs(10)).expect("Kafka says which log it is");
    TokenKey::new(secret.as_bytes(), log)
}
