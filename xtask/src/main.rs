//! Set-up and developer commands: `cargo xtask up`, `down`, `status`, `logs`, `reset`, `demo`, `bench`, `test`,
//! `sim`, `causal`, `cache`, `images`.
//!
//! Thin: what starts and stops components is in `devstack`. It must build with a C compiler and nothing else, so that
//! the first command on a fresh machine can install the rest.

mod build;
mod commands;
mod tests;
mod up;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use devstack::services::Counts;

use build::Beside;

/// Set-up and developer commands of Tailwater.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Install what is missing, build, and start everything; also the repair of what was killed.
    Up(UpArgs),
    /// Stop everything; data is kept.
    Down,
    /// Say what runs, and where.
    Status,
    /// Print a process's log.
    Logs {
        /// The process: kafka-1, command-service-1, postgres …
        name: String,
        /// Go on printing what is appended.
        #[arg(short, long)]
        follow: bool,
    },
    /// Stop everything and delete all data.
    Reset,
    /// Start everything, place real orders, measure, and compare all models.
    Demo {
        /// Passed on to the demonstration: --orders N, --file F, …
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Measure, on private components and with release builds; every benchmark unless some are named.
    Bench {
        /// Passed on to the suite, whose --help has the names: append, write, pipeline, …, --quick
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Run every test there is.
    Test,
    /// Run the writer under faults: many seeds, every interleaving of small configurations, or each known mistake.
    Sim {
        /// Passed on to the simulation: --seeds N, --from SEED, --exhaustive, --bugs
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Check causal consistency on a pipeline of its own: many clients, and the models paused, killed and emptied meanwhile.
    Causal {
        /// Passed on to the checker: --operations N, --seed S, --clients N, --calm, --until-violated
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Check the query service's cache on a pipeline of its own: each answer against the log, while everything changes.
    Cache {
        /// Passed on to the checker: --reads N, --seed S, --readers N, --writers N, --calm
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Build the container images of the components from Debian's packages.
    Images,
}

#[derive(Debug, Clone, Copy, Args)]
struct UpArgs {
    /// Number of command services.
    #[arg(long, default_value_t = 1)]
    command_services: usize,
    /// Number of projectors.
    #[arg(long, default_value_t = 1)]
    projectors: usize,
    /// Number of query services.
    #[arg(long, default_value_t = 1)]
    query_services: usize,
    /// Number of brokers, 1 or 3; fixed once there is data.
    #[arg(long)]
    brokers: Option<usize>,
    /// Start the binaries as they are.
    #[arg(long)]
    no_build: bool,
}

impl UpArgs {
    fn counts(self) -> Counts {
        Counts {
            command_services: self.command_services,
            projectors: self.projectors,
            query_services: self.query_services,
        }
    }
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Up(args) => up::up(
            args.counts(),
            args.brokers,
            (!args.no_build).then_some(Beside::Nothing),
        )
        .map(|_| ExitCode::SUCCESS),
        Command::Down => commands::down(),
        Command::Status => Ok(commands::status()),
        Command::Logs { name, follow } => commands::logs(&name, follow),
        Command::Reset => commands::reset(),
        Command::Demo { args } => up::demo(&args),
        Command::Bench { args } => up::bench(&args),
        Command::Test => tests::test(),
        Command::Sim { args } => commands::sim(&args),
        Command::Causal { args } => tests::checker("causal", &args),
        Command::Cache { args } => tests::checker("cache", &args),
        Command::Images => commands::images(),
    };
    outcome.unwrap_or_else(|error| {
        match error.downcast_ref::<devstack::Error>() {
            Some(failure) => eprintln!("error: {}", failure.report()),
            None => eprintln!("error: {error:#}"),
        }
        ExitCode::FAILURE
    })
}
