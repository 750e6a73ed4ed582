//! `cargo xtask cache`: the checker of the query service's cache, for longer than the tests run it.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use e2e::Setup;
use e2e::cache::{Options, run};

#[derive(Parser)]
#[command(
    name = "cache",
    about = "Reads that memory answers, each held against the log, while everything changes"
)]
struct Args {
    /// How many reads memory is to answer
    #[arg(long, default_value_t = 10_000_000)]
    reads: u64,
    /// Chooses what is read and written; a new one unless it is given
    #[arg(long)]
    seed: Option<u64>,
    /// How many connections read
    #[arg(long, default_value_t = 96)]
    readers: usize,
    /// How many clients write
    #[arg(long, default_value_t = 4)]
    writers: usize,
    /// Leaves the services alone meanwhile
    #[arg(long)]
    calm: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let setup = Setup::new("cache").env("TAILWATER_CACHE_MIB", "1");
    let pipeline = setup.counts(1, 1, 2).start().await;
    let options = Options {
        seed: args.seed.unwrap_or_else(|| fastrand::u64(..1_000_000)),
        reads: args.reads,
        readers: args.readers,
        writers: args.writers,
        pause_of_writers: Duration::from_secs(2),
        restart_every: (!args.calm).then_some(Duration::from_secs(10)),
        progress: true,
    };
    let report = run(&pipeline, options).await;
    print!("{report}");
    if report.violations > 0 {
        return ExitCode::FAILURE;
    }
    pipeline.verify();
    ExitCode::SUCCESS
}
