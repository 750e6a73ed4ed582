//! `cargo xtask causal`: the checker of causal consistency, for longer than the tests run it.

use std::process::ExitCode;

use clap::Parser;
use e2e::Setup;
use e2e::causal::{Options, run};
use query_service::bugs::Bug;

#[derive(Parser)]
#[command(
    name = "causal",
    about = "Many clients, random operations, every answer checked against what its caller must see"
)]
struct Args {
    /// How many requests are to be answered
    #[arg(long, default_value_t = 1_000_000)]
    operations: u64,
    /// Chooses what clients do; a new one unless it is given
    #[arg(long)]
    seed: Option<u64>,
    /// How many clients there are
    #[arg(long, default_value_t = 24)]
    clients: usize,
    /// Ends with the first violation
    #[arg(long)]
    until_violated: bool,
    /// Puts a mistake into the query services: token-ignored, wrong-partition, past-tag, token-not-merged
    #[arg(long)]
    bug: Option<String>,
    /// Leaves the services alone meanwhile
    #[arg(long)]
    calm: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let mut setup = Setup::new("causal").counts(2, 2, 2);
    if let Some(name) = args.bug {
        let Some(bug) = Bug::ALL.into_iter().find(|bug| bug.name() == name) else {
            eprintln!("error: there is no bug `{name}`");
            return ExitCode::from(2);
        };
        setup = setup.bug(bug);
    }
    let pipeline = setup.start().await;
    let options = Options {
        seed: args.seed.unwrap_or_else(|| fastrand::u64(..1_000_000)),
        operations: args.operations,
        clients: args.clients,
        weather: !args.calm,
        until_violated: args.until_violated,
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
