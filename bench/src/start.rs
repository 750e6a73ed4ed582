//! How long a command service takes to be ready: from the log alone, from its checkpoints and the log's tail, from a peer's
//! checkpoints and the tail. And what it needs in memory, with `--memory`.
//!
//! The writer's own code in one process: records come from memory, not from Kafka, and a peer's stream does not cross a
//! network. As in the service, one thread folds all partitions and another one writes checkpoints.

pub(crate) mod history;
mod writers;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Parser;
use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};
use eventlog::LogRecord;

use history::History;
use writers::Writers;

/// What to measure.
#[derive(Clone, Debug, Parser)]
pub struct Options {
    /// Events in the log.
    #[arg(long, default_value_t = 1_000_000)]
    events: u64,
    /// Aggregates that they are about.
    #[arg(long, default_value_t = 100_000)]
    aggregates: u64,
    /// Partitions that they are in.
    #[arg(long, default_value_t = 12)]
    partitions: i32,
    /// Events behind the last checkpoint.
    #[arg(long, default_value_t = 10_000)]
    tail: u64,
    /// Aggregates in memory.
    #[arg(long, default_value_t = 1_000_000)]
    hot: usize,
    /// Measures the memory for as many aggregates with as many events, instead of times.
    #[arg(long)]
    memory: bool,
    /// Where the checkpoints go.
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
    if options.memory {
        memory(options, folder.path())
    } else {
        times(options, folder.path())
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}

fn times(options: &Options, folder: &std::path::Path) -> anyhow::Result<()> {
    let mut history = History::new(
        history::codec(),
        history::LOG,
        options.partitions,
        options.aggregates,
        options.events,
    );
    let mut logs: Vec<Vec<LogRecord>> = (0..options.partitions).map(|_| Vec::new()).collect();
    while let Some((partition, record)) = history.next_record() {
        logs[partition].push(record);
    }
    let count: usize = logs.iter().map(Vec::len).sum();
    let tail = usize::try_from(options.tail)? / logs.len();
    let heads: Vec<usize> = logs.iter().map(|log| log.len().saturating_sub(tail)).collect();
    println!(
        "{count} events about {} orders in {} partitions; the last {} are the tail",
        options.aggregates,
        logs.len(),
        tail * logs.len()
    );
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header([
        "start",
        "ready after",
        "of which opening",
        "resident",
    ]);

    let began = Instant::now();
    let mut writers = Writers::without_store(options.partitions, options.hot);
    writers.fold(&logs, &vec![0; logs.len()], None)?;
    table.add_row([
        "the log alone, no store",
        &seconds(began.elapsed()),
        "",
        &resident(),
    ]);
    drop(writers);

    let ours = folder.join("ours");
    let began = Instant::now();
    let mut writers = Writers::open(options.partitions, options.hot, &ours)?;
    let opened = began.elapsed();
    writers.fold(&logs, &vec![0; logs.len()], Some(&heads))?;
    let to_the_tail = began.elapsed();
    let folded_at = Instant::now();
    writers.finish()?;
    let written = folded_at.elapsed();
    table.add_row([
        "the log alone, checkpoints written meanwhile",
        &seconds(to_the_tail),
        &seconds(opened),
        &resident(),
    ]);

    let began = Instant::now();
    let theirs = folder.join("theirs");
    let bytes = writers.carry_over(&theirs)?;
    let carried = began.elapsed();
    drop(writers);

    for (name, dir, before) in [
        ("local checkpoint and tail", &ours, Duration::ZERO),
        ("peer's checkpoint and tail", &theirs, carried),
    ] {
        let began = Instant::now();
        let mut writers = Writers::open(options.partitions, options.hot, dir)?;
        let opened = before + began.elapsed();
        let from = writers.next_offsets();
        writers.fold(&logs, &from, None)?;
        table.add_row([
            name,
            &seconds(before + began.elapsed()),
            &seconds(opened),
            &resident(),
        ]);
        writers.check(&logs)?;
    }
    println!("{table}");
    println!(
        "the last checkpoints were on disk {} after the fold; a peer's stream has {:.0} MiB; on disk {:.0} MiB",
        seconds(written),
        mebibytes(bytes),
        mebibytes(size_of(&ours)?)
    );
    Ok(())
}

fn memory(options: &Options, folder: &std::path::Path) -> anyhow::Result<()> {
    let mut history = History::new(
        history::codec(),
        history::LOG,
        options.partitions,
        options.aggregates,
        options.events,
    );
    let mut writers = Writers::open(options.partitions, options.hot, folder)?;
    let began = Instant::now();
    let mut told = Instant::now();
    let mut count = 0_u64;
    while let Some((partition, record)) = history.next_record() {
        writers.record(partition, &record)?;
        count += 1;
        if told.elapsed() >= Duration::from_secs(10) {
            told = Instant::now();
            println!("{count} events, {} aggregates hot, {}", writers.hot(), resident());
        }
    }
    writers.end();
    println!(
        "{count} events folded in {}; {}",
        seconds(began.elapsed()),
        resident()
    );
    writers.finish()?;
    let (reads, found) = writers.look_up_some(&history, 200_000);
    println!(
        "{} aggregates hot of {}; a random one is read in {:.1} us on average ({found} found); {}, at most {}; on disk {:.0} MiB",
        writers.hot(),
        options.aggregates,
        reads.as_secs_f64() * 1e6 / 200_000.0,
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

/// Memory of the process, with its logs.
fn resident() -> String {
    status("VmRSS:")
}

fn peak() -> String {
    status("VmHWM:")
}
