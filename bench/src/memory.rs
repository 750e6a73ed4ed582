//! What a command service needs in memory for many aggregates: the writer's own code in one process. Records are made, not read
//! from Kafka. As in the service, one thread folds all partitions and another one writes checkpoints.

mod writers;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Parser;

use writers::Writers;

/// Aggregates that are looked up afterwards.
const LOOK_UPS: u32 = 200_000;

/// What to measure.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "memory",
    about = "What the writers need in memory for many aggregates"
)]
pub struct Options {
    /// Aggregates in the log
    #[arg(long, default_value_t = 10_000_000)]
    aggregates: u64,
    /// Events of each; fewer than five leave work for the process manager
    #[arg(long, default_value_t = 5)]
    events_each: u64,
    /// Partitions that they are in
    #[arg(long, default_value_t = 12)]
    partitions: i32,
    /// Aggregates in memory
    #[arg(long, default_value_t = 1_000_000)]
    hot: usize,
    /// Where the checkpoints go
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// Runs it, and prints what came of it.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let folder = match &options.dir {
        Some(dir) => tempfile::tempdir_in(dir),
        None => tempfile::tempdir(),
    }
    .context("making a folder")?;
    let folder = folder.path();
    let mut writers = Writers::open(options.partitions, options.hot, folder)?;
    let mut history = writers.history(options.aggregates, options.events_each)?;
    let (begun, mut told) = (Instant::now(), Instant::now());
    for count in 1..=history.events() {
        let (partition, offset, record) = history.next_record()?;
        writers.record(partition, &record.at_offset(offset))?;
        if told.elapsed() >= Duration::from_secs(10) {
            told = Instant::now();
            println!("{count} events, {} aggregates hot, {}", writers.hot(), resident());
        }
    }
    writers.end();
    println!(
        "{} events folded in {:.1} s; {}",
        history.events(),
        begun.elapsed().as_secs_f64(),
        resident()
    );
    writers.finish()?;
    let (took, found) = writers.look_up_some(&history, options.aggregates, LOOK_UPS);
    println!(
        "{} aggregates hot of {}; a random one is read in {:.1} us on average ({found} of {LOOK_UPS} found); {}, at most {}; \
         on disk {:.0} MiB",
        writers.hot(),
        options.aggregates,
        (took / LOOK_UPS).as_secs_f64() * 1e6,
        resident(),
        peak(),
        mebibytes(size_of(folder)?)
    );
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn size_of(dir: &std::path::Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        bytes += if entry.file_type()?.is_dir() {
            size_of(&entry.path())?
        } else {
            entry.metadata()?.len()
        };
    }
    Ok(bytes)
}

fn status(line: &str) -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kilobytes = status.lines().find_map(|text| {
        text.strip_prefix(line)?
            .trim()
            .strip_suffix("kB")?
            .trim()
            .parse()
            .ok()
    });
    kilobytes.map_or_else(
        || "unknown".to_owned(),
        |kilobytes: u64| format!("{:.0} MiB", mebibytes(kilobytes * 1024)),
    )
}

/// Memory of the process.
fn resident() -> String {
    status("VmRSS:")
}

fn peak() -> String {
    status("VmHWM:")
}
