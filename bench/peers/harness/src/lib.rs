//! What the Rust peers share: the command line, the data of the two commands, the clients, the clock and the answer.
//! A peer is an implementation of [`Peer`] and `fn main() -> ExitCode { harness::main::<It>() }`.

mod args;
mod clients;
mod order;

use std::future::Future;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use uuid::Uuid;

pub use args::{Args, Workload};
pub use order::{LINES_AT_MOST, Line, LineAdded, OrderPlaced, Refused};

/// Commands before the timed part; a stream that `existing` adds to has [`EVENTS_BEFORE`] events.
const WARM_UP: usize = 200;
pub const EVENTS_BEFORE: usize = 5;

/// A store and the way its library handles a command. Failures are counted, never retried.
pub trait Peer: Sized + Send + Sync + 'static {
    const NAME: &'static str;
    const VERSION: &'static str;

    /// Connects, and creates what is missing in the store.
    fn connect(args: &Args) -> impl Future<Output = Result<Self>> + Send;
    /// Places an order in a new stream.
    fn place(&self, order: OrderPlaced) -> impl Future<Output = Result<()>> + Send;
    /// Loads the order, decides, and adds a line if nobody else wrote meanwhile.
    fn add_line(&self, order: Uuid, line: Line) -> impl Future<Output = Result<()>> + Send;
    /// Makes these streams, each with one `OrderPlaced` and four `LineAdded`. Not timed.
    fn fill(&self, orders: &[Uuid]) -> impl Future<Output = Result<()>> + Send;
    /// Events in the store.
    fn count(&self) -> impl Future<Output = Result<u64>> + Send;
}

/// The whole program: one line of JSON on stdout, or one line on stderr and exit code 1.
pub fn main<P: Peer>() -> ExitCode {
    let outcome = Args::parse(std::env::args().skip(1)).and_then(|args| {
        let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
        runtime.block_on(run::<P>(&args))
    });
    match outcome {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{}: {}", P::NAME, format!("{error:#}").replace('\n', " "));
            ExitCode::FAILURE
        }
    }
}

async fn run<P: Peer>(args: &Args) -> Result<String> {
    let peer = P::connect(args).await.with_context(|| {
        format!(
            "cannot use {}; start the store there, and let that user create tables",
            args.shown_url()
        )
    })?;
    let peer = Arc::new(peer);
    let before = peer.count().await.context("cannot count the events")?;
    let orders: Arc<[Uuid]> = (0..WARM_UP + args.commands).map(|_| Uuid::new_v4()).collect();
    let mut expected = before;
    if args.workload == Workload::Existing {
        peer.fill(&orders)
            .await
            .context("cannot make the streams to add to")?;
        expected += (orders.len() * EVENTS_BEFORE) as u64;
    }

    let warm_up = clients::run(&peer, args, &orders, 0..WARM_UP).await?;
    let timed = clients::run(&peer, args, &orders, WARM_UP..orders.len()).await?;

    expected += (warm_up.succeeded() + timed.succeeded()) as u64;
    let found = peer.count().await.context("cannot count the events")?;
    ensure!(
        found == expected,
        "the store has {found} events, not {expected}; run it in a store of its own"
    );
    Ok(timed.json(P::NAME, P::VERSION, args))
}
