//! `tailwater rebuild`: a model made again from the log while it is read, and switched to at one instant.
//!
//! The projector does the work. This begins a generation, waits until it has been filled, compares it with the one that is
//! read, and switches. All state is in the stores, so a run that was interrupted is resumed by the next one.

mod report;
mod run;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use eventlog::{LogReader, topics};
use read_model::Generations;
use read_model::postgres::PostgresGenerations;
use read_model::redis::RedisGenerations;

use crate::settings::Places;
use report::Outcome;
use run::Rebuild;

const TIMEOUT: Duration = Duration::from_secs(10);
const NAME: &str = "tailwater-rebuild";

/// Which model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Which {
    /// The tables.
    Postgres,
    /// The keys.
    Redis,
    /// Both, at the same time.
    All,
}

/// What is asked for.
#[derive(Args, Clone, Copy, Debug)]
pub struct RebuildArgs {
    /// Which model.
    #[arg(long)]
    model: Which,
    #[command(flatten)]
    action: Action,
    /// Switch even though the new one differs from the old one: a rebuild is also how one repairs.
    #[arg(long, conflicts_with_all = ["back", "drop", "status"])]
    accept_differences: bool,
}

#[derive(Args, Clone, Copy, Debug)]
#[group(multiple = false)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
struct Action {
    /// Go back to the generation that was kept.
    #[arg(long)]
    back: bool,
    /// Discard every generation that is not read.
    #[arg(long)]
    drop: bool,
    /// Show which generations there are, and how far each is.
    #[arg(long)]
    status: bool,
}

/// Runs it; exit code 1 where something differs, or cannot be done as things are.
pub async fn run(places: &Places, args: RebuildArgs, json: bool) -> anyhow::Result<ExitCode> {
    let partitions = topics::partition_count(&places.log, TIMEOUT)?;
    let postgres = PostgresGenerations::new(places.database.url.expose(), NAME)?;
    let redis = RedisGenerations::new(places.redis.url.expose(), &places.redis.prefix, partitions)?;
    let rebuild = Rebuild {
        log: Arc::new(LogReader::new(&places.log, NAME)?),
        partitions,
        accept_differences: args.accept_differences,
        quiet: json,
    };
    let (of_postgres, of_redis) = tokio::join!(
        one(&rebuild, args, Which::Postgres, &postgres),
        one(&rebuild, args, Which::Redis, &redis)
    );
    let mut outcomes = Vec::new();
    for (name, outcome) in [("postgres", of_postgres), ("redis", of_redis)] {
        if let Some(outcome) = outcome {
            outcomes.push((
                name,
                outcome.unwrap_or_else(|error| Outcome::Failed(format!("{error:#}"))),
            ));
        }
    }
    report::print(&outcomes, json);
    let done = outcomes.iter().all(|(_, outcome)| outcome.is_good());
    Ok(if done {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What is to be done with one model; none where it is not meant.
async fn one<G: Generations>(
    rebuild: &Rebuild,
    args: RebuildArgs,
    which: Which,
    generations: &G,
) -> Option<anyhow::Result<Outcome>> {
    if args.model != which && args.model != Which::All {
        return None;
    }
    let action = args.action;
    Some(if action.status {
        rebuild.status(generations).await
    } else if action.back {
        rebuild.back(generations).await
    } else if action.drop {
        rebuild.discard(generations).await
    } else {
        rebuild.run(generations).await
    })
}
