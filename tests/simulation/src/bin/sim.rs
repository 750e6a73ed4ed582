//! `cargo xtask sim`: more seeds than the tests run, one seed with its shortest trace, or the table of bugs.

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use eventlog::bugs::Bug;
use simulation::{
    Violation, find,
    model::{self, Small, walk},
    run,
    shrink::shrink,
    world::Seen,
};

#[derive(Parser)]
#[command(
    name = "sim",
    about = "The writer's state machine under every fault, from seeds"
)]
struct Args {
    /// How many seeds to run
    #[arg(long, default_value_t = 100_000)]
    seeds: u64,
    /// The first of them
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Walks every interleaving of small configurations, also of those that are too large for the tests
    #[arg(long)]
    exhaustive: bool,
    /// Puts each known mistake into the writer and says which seed finds it
    #[arg(long)]
    bugs: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    // An assertion that fails is a result here, not a crash.
    std::panic::set_hook(Box::new(|_| {}));
    let clean = if args.exhaustive {
        walk_all(&model::TESTED) && walk_all(&model::LARGE)
    } else if args.bugs {
        table(args.seeds.min(1_000))
    } else {
        search(args.from, args.seeds)
    };
    if clean {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn search(from: u64, seeds: u64) -> bool {
    let begun = Instant::now();
    let mut seen = Seen::default();
    for seed in from..from + seeds {
        let run = run(seed, None);
        seen += run.seen;
        if let Some(violation) = run.violation {
            report(seed, run.tape, violation);
            return false;
        }
    }
    println!(
        "{seeds} seeds in {:.1} s, nothing violated: {seen:?}",
        begun.elapsed().as_secs_f64()
    );
    true
}

fn walk_all(configurations: &[Small]) -> bool {
    let mut clean = true;
    for small in configurations {
        let begun = Instant::now();
        let walked = walk(*small);
        println!(
            "{} states in {:.1} s of {small:?}",
            walked.states,
            begun.elapsed().as_secs_f64()
        );
        for failure in walked.failures {
            clean = false;
            println!("  fails: {failure}");
        }
    }
    clean
}

fn report(seed: u64, tape: Vec<u32>, violation: Violation) {
    println!("seed {seed} violates: {}", violation.property());
    let short = shrink(tape, None, violation);
    println!("its shortest trace, {} steps:", short.trace.len());
    for line in short.trace {
        println!("  {line}");
    }
}

fn table(seeds: u64) -> bool {
    let mut all = true;
    println!("{:<76} {:>5}  {:<10}  property", "bug", "seed", "exhaustive");
    for bug in Bug::ALL {
        // Whether the walk through the small configurations meets it as well: not all are small enough to show there.
        let walked = if model::shows(bug) { "yes" } else { "no" };
        if let Some((seed, violation)) = find(bug, seeds) {
            println!(
                "{:<76} {seed:>5}  {walked:<10}  {}",
                bug.what(),
                violation.property()
            );
        } else {
            all = false;
            println!(
                "{:<76} {:>5}  {walked:<10}  NOT FOUND within {seeds} seeds",
                bug.what(),
                "-"
            );
        }
    }
    all
}
