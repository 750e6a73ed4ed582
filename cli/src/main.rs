//! `tailwater`: deploy, verify, rebuild and look into a running pipeline.
//!
//! Configured like the services: by the environment, or by the file that `TAILWATER_CONFIG` names.
//! Exit codes: 0 done, 1 found something wrong, 2 usage or configuration.

mod deploy;
mod rebuild;
mod settings;
mod verify;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "tailwater",
    version,
    about = "Deploys, verifies and looks into a Tailwater pipeline."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Print JSON instead of text.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Make and check topics, register schemas, migrate Postgres. Changes nothing that is there already.
    Deploy(DeployArgs),
    /// Fold the log and compare it with Postgres and Redis, order by order and SKU by SKU.
    Verify(VerifyArgs),
    /// Make a model again from the log while it is read, compare, and switch at one instant. Resumes what was interrupted.
    Rebuild(rebuild::RebuildArgs),
}

#[derive(Args)]
struct DeployArgs {
    /// Partitions of each event topic, where they are not there yet. Never changes afterwards.
    #[arg(long, env = "TAILWATER_PARTITIONS", default_value_t = 4)]
    partitions: i32,
    /// Replicas of each topic; with three, two of them must be in sync.
    #[arg(long, env = "TAILWATER_REPLICATION", default_value_t = 1)]
    replication: i32,
}

#[derive(Args)]
struct VerifyArgs {
    /// How long the models may take to reach the end of the log, in seconds.
    #[arg(long, default_value_t = 30)]
    wait: u64,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let settings = match settings::load() {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("tailwater: {error}");
            return ExitCode::from(2);
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("tailwater: no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(async {
        match cli.command {
            Command::Deploy(args) => {
                deploy::run(&settings, args.partitions, args.replication, cli.json).await
            }
            Command::Verify(args) => verify::run(&settings, args.wait, cli.json).await,
            Command::Rebuild(args) => rebuild::run(&settings, args, cli.json).await,
        }
    });
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("tailwater: {error:#}");
            ExitCode::FAILURE
        }
    }
}
