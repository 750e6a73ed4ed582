//! What `cargo xtask bench` runs: the write side and the read side on real components, each measurement beside what it is compared with.
//!
//! Each benchmark has a private stack ([`rig`]), starts on nothing, and takes at most eight minutes. Where something is compared,
//! both sides take turns in the same run, so that a machine that others use too is as slow for the one as for the other. What is
//! reported is the ratio's median, minimum and maximum over the rounds, and everything that was measured ([`report`]).
//! Latencies are those of open loops and begin when a request is due; peaks are those of closed loops ([`drive`]).

pub mod ack;
pub mod append;
pub mod catch_up;
pub mod drive;
pub mod failover;
pub mod log;
pub mod outage;
pub mod overload;
pub mod producer;
pub mod read;
pub mod rebuild;
pub mod replay;
pub mod report;
pub mod requests;
pub mod rig;
pub mod rolling;
pub mod spent;
pub mod start;
pub mod streams;
pub mod visible;
pub mod write;

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use devstack::layout::workspace;

use crate::stolen;
use report::{Finding, Run, table};
use rig::{Pace, Rig};

/// How often what is compared takes turns.
const ROUNDS: usize = 5;

/// How long one benchmark may take.
const TIME_MAX: Duration = Duration::from_mins(8);

/// The benchmarks, in the order in which they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Name {
    /// The writer in process, beside Kafka's own performance tool
    Append,
    /// Notes over HTTP, beside a server that answers with a constant
    Write,
    /// Acknowledgement latency at half of the peak, beside a bare producer
    Ack,
    /// Three times the capacity for two minutes
    Overload,
    /// Fifty times kill -9 of a partition's owner
    Failover,
    /// Rolling restarts of three instances
    Rolling,
    /// Kafka killed for ten seconds
    Outage,
    /// Ready from the log, from a checkpoint, from another instance
    Start,
    /// Commands repeated on one busy SKU
    Replay,
    /// Reads from memory, Redis and Postgres, beside the least that could answer the same
    Read,
    /// From a write's acknowledgement to a read that shows it
    Visible,
    /// Five thousand open streams of events on one core
    Streams,
    /// Both models made again from a million events, beside a COPY of the same rows
    Rebuild,
    /// Postgres killed for thirty seconds
    CatchUp,
}

/// What the suite is told.
#[derive(Clone, Debug, clap::Parser)]
#[command(
    name = "bench",
    about = "The benchmarks of the write side and of the read side, each on a private stack"
)]
pub struct Options {
    /// Which to run; all of them unless any is named
    names: Vec<Name>,
    /// Tiny durations, to see whether everything works; the figures mean nothing
    #[arg(long)]
    quick: bool,
}

impl Name {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Append => "append",
            Self::Write => "write",
            Self::Ack => "ack",
            Self::Overload => "overload",
            Self::Failover => "failover",
            Self::Rolling => "rolling",
            Self::Outage => "outage",
            Self::Start => "start",
            Self::Replay => "replay",
            Self::Read => "read",
            Self::Visible => "visible",
            Self::Streams => "streams",
            Self::Rebuild => "rebuild",
            Self::CatchUp => "catch-up",
        }
    }

    async fn run(self, rig: &Rig) -> anyhow::Result<Finding> {
        match self {
            Self::Append => append::run(rig).await,
            Self::Write => write::run(rig).await,
            Self::Ack => ack::run(rig).await,
            Self::Overload => overload::run(rig).await,
            Self::Failover => failover::run(rig).await,
            Self::Rolling => rolling::run(rig).await,
            Self::Outage => outage::run(rig).await,
            Self::Start => start::run(rig).await,
            Self::Replay => replay::run(rig).await,
            Self::Read => read::run(rig).await,
            Self::Visible => visible::run(rig).await,
            Self::Streams => streams::run(rig).await,
            Self::Rebuild => rebuild::run(rig).await,
            Self::CatchUp => catch_up::run(rig).await,
        }
    }
}

/// Runs what is named, one after the other; false where a goal is not met. One that fails does not keep the others from
/// running.
pub async fn run(options: Options) -> anyhow::Result<bool> {
    let names: &[Name] = if options.names.is_empty() {
        clap::ValueEnum::value_variants()
    } else {
        &options.names
    };
    let run = Run::now(&workspace(), options.quick);
    let folder = workspace().join("bench/results");
    let (mut findings, mut failures) = (Vec::new(), Vec::new());
    for &name in names {
        match one(name, options.quick).await {
            Ok(finding) => {
                let file = run.save(&folder, name.as_str(), &finding)?;
                eprintln!("· {}: written to {}", name.as_str(), file.display());
                findings.push((name.as_str(), finding));
            }
            Err(error) => {
                let told = error
                    .downcast_ref::<devstack::Error>()
                    .map_or_else(|| format!("{error:#}"), devstack::Error::report);
                eprintln!("· {} FAILED: {told}", name.as_str());
                failures.push(name.as_str());
            }
        }
    }
    println!("\n{}", table(&findings));
    if !failures.is_empty() {
        bail!("failed: {}", failures.join(", "));
    }
    Ok(findings.iter().all(|(_, finding)| finding.met))
}

async fn one(name: Name, quick: bool) -> anyhow::Result<Finding> {
    eprintln!("· {}", name.as_str());
    let begin = Instant::now();
    let rig = Rig::start(Pace { quick })?;
    let ticks = stolen::Ticks::now();
    let ran = tokio::time::timeout(TIME_MAX, name.run(&rig)).await;
    let mut finding = ran.with_context(|| format!("it takes longer than {TIME_MAX:?}"))??;
    finding.stolen_percent = stolen::since(ticks);
    // On success only: what failed is looked at.
    rig.clear()?;
    eprintln!("· {} took {:?}", name.as_str(), begin.elapsed());
    Ok(finding)
}
