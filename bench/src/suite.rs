//! What `cargo xtask bench` runs: the pipeline and its parts on real components, each measurement beside what it is compared with.
//!
//! Each benchmark has a private stack ([`rig`]), starts on nothing, and takes at most eight minutes. Where something is compared,
//! both sides take turns in the same run, so that a machine that others use too is as slow for the one as for the other. What is
//! reported is the ratio's median, minimum and maximum over the rounds, and everything that was measured ([`report`]).
//! Latencies are those of open loops and begin when a request is due; peaks are those of closed loops ([`drive`]).

pub mod ack;
pub mod append;
pub mod catch_up;
pub mod consumer;
pub mod cpu;
pub mod drive;
pub mod failover;
pub mod guard;
pub mod instructions;
pub mod log;
pub mod models;
pub mod orders;
pub mod outage;
pub mod overload;
pub mod page;
pub mod peers;
pub mod pipeline;
pub mod producer;
pub mod read;
pub mod rebuild;
pub mod replay;
pub mod report;
pub mod requests;
pub mod rig;
pub mod rolling;
pub mod scale;
pub mod spent;
pub mod start;
pub mod streams;
pub mod three;
pub mod visible;
pub mod write;

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use devstack::layout::workspace;

use crate::stolen;
use report::{Finding, Run, table};
use rig::{Pace, Rig};

/// How often what is compared takes turns.
const ROUNDS: usize = 5;

/// How long one benchmark may take; all peers together take longer.
const TIME_MAX: Duration = Duration::from_mins(8);
const TIME_MAX_PEERS: Duration = Duration::from_mins(20);

/// The benchmarks, in the order in which they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Name {
    /// The writer in process, beside Kafka's own performance tool
    Append,
    /// Notes over HTTP, beside a server that answers with a constant
    Write,
    /// Single-line orders with everything running, beside a server that answers with a constant
    Pipeline,
    /// Processor time of our processes for each projected command
    Cpu,
    /// The real orders, as fast as they go, beside the writer in process
    Orders,
    /// Acknowledgement latency at half of the peak, beside a bare producer
    Ack,
    /// `append`, `write` and `ack` on three brokers
    Three,
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
    /// Commands a second and memory, from ten thousand to ten million aggregates
    Scale,
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
    /// Instructions of each step of a command
    Instructions,
    /// Other event stores and libraries on the same work; only when it is named
    Peers,
    /// Whether anything became slower than the committed results; only when it is named
    Guard,
}

/// What the suite is told.
#[derive(Clone, Debug, clap::Parser)]
#[command(
    name = "bench",
    about = "The benchmarks of the pipeline and of its parts, each on a private stack"
)]
pub struct Options {
    /// Which to run; all of them unless any is named
    names: Vec<Name>,
    /// Tiny durations, to see whether everything works; the figures mean nothing
    #[arg(long)]
    quick: bool,
    /// Watch the pipeline for five minutes, not one
    #[arg(long)]
    long: bool,
    /// Measure nothing: make docs/performance.md of a file of results
    #[arg(long, value_name = "FILE", conflicts_with = "names")]
    page: Option<PathBuf>,
}

impl Name {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Append => "append",
            Self::Write => "write",
            Self::Pipeline => "pipeline",
            Self::Cpu => "cpu",
            Self::Orders => "orders",
            Self::Ack => "ack",
            Self::Three => "three",
            Self::Overload => "overload",
            Self::Failover => "failover",
            Self::Rolling => "rolling",
            Self::Outage => "outage",
            Self::Start => "start",
            Self::Scale => "scale",
            Self::Replay => "replay",
            Self::Read => "read",
            Self::Visible => "visible",
            Self::Streams => "streams",
            Self::Rebuild => "rebuild",
            Self::CatchUp => "catch-up",
            Self::Instructions => "instructions",
            Self::Peers => "peers",
            Self::Guard => "guard",
        }
    }

    async fn run(self, pace: Pace) -> anyhow::Result<Finding> {
        match self {
            Self::Append => on_stack(pace, 1, append::run).await,
            Self::Write => on_stack(pace, 1, write::run).await,
            Self::Pipeline => on_stack(pace, 1, pipeline::run).await,
            Self::Cpu => on_stack(pace, 1, cpu::run).await,
            Self::Orders => on_stack(pace, 1, orders::run).await,
            Self::Ack => on_stack(pace, 1, ack::run).await,
            Self::Three => three::run(pace).await,
            Self::Overload => on_stack(pace, 1, overload::run).await,
            Self::Failover => on_stack(pace, 1, failover::run).await,
            Self::Rolling => on_stack(pace, 1, rolling::run).await,
            Self::Outage => on_stack(pace, 1, outage::run).await,
            Self::Start => on_stack(pace, 1, start::run).await,
            Self::Scale => on_stack(pace, 1, scale::run).await,
            Self::Replay => on_stack(pace, 1, replay::run).await,
            Self::Read => on_stack(pace, 1, read::run).await,
            Self::Visible => on_stack(pace, 1, visible::run).await,
            Self::Streams => on_stack(pace, 1, streams::run).await,
            Self::Rebuild => on_stack(pace, 1, rebuild::run).await,
            Self::CatchUp => on_stack(pace, 1, catch_up::run).await,
            Self::Instructions => instructions::run(),
            Self::Peers => on_stack(pace, 1, peers::run).await,
            Self::Guard => guard::run(pace, &workspace()).await,
        }
    }
}

/// Runs what is named, one after the other; false where a goal is not met. One that fails does not keep the others from
/// running.
pub async fn run(options: Options) -> anyhow::Result<bool> {
    if let Some(results) = &options.page {
        page::write(results, &workspace().join("docs"))?;
        return Ok(true);
    }
    let mut names = options.names.clone();
    if names.is_empty() {
        let all: &[Name] = clap::ValueEnum::value_variants();
        names.extend(
            all.iter()
                .filter(|name| !matches!(name, Name::Peers | Name::Guard)),
        );
    }
    let run = Run::now(&workspace(), options.quick);
    let folder = workspace().join("bench/results");
    let (mut findings, mut failures) = (Vec::new(), Vec::new());
    for name in names {
        match one(name, &options).await {
            Ok(finding) => {
                // It is no result of its own.
                if name != Name::Guard {
                    let file = run.save(&folder, name.as_str(), &finding)?;
                    eprintln!("· {}: written to {}", name.as_str(), file.display());
                }
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

async fn one(name: Name, options: &Options) -> anyhow::Result<Finding> {
    eprintln!("· {}", name.as_str());
    let begin = Instant::now();
    let pace = Pace {
        quick: options.quick,
        long: options.long,
        times_max: usize::MAX,
    };
    let mut time_max = TIME_MAX;
    if name == Name::Peers {
        peers::build()?;
        time_max = TIME_MAX_PEERS;
    }
    let ran = tokio::time::timeout(time_max, name.run(pace)).await;
    let finding = ran.with_context(|| format!("it takes longer than {time_max:?}"))??;
    eprintln!("· {} took {:?}", name.as_str(), begin.elapsed());
    Ok(finding)
}

/// Runs something on a new stack with so many brokers.
async fn on_stack(
    pace: Pace,
    brokers: usize,
    run: impl AsyncFnOnce(&Rig) -> anyhow::Result<Finding>,
) -> anyhow::Result<Finding> {
    let rig = Rig::start(pace, brokers)?;
    let ticks = stolen::Ticks::now();
    let mut finding = run(&rig).await?;
    finding.stolen_percent = stolen::since(ticks);
    // On success only: what failed is looked at.
    rig.clear()?;
    Ok(finding)
}
