//! `bench`: the benchmarks of the write side. Exit code 1 where a goal is not met or a benchmark failed.

use std::process::ExitCode;

use bench::suite::{Options, run};
use clap::Parser as _;

// As the command service has it: `append` runs its writer here.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

// One thread generates all load, and leaves the other cores to what is measured.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let interrupted = tokio::signal::ctrl_c();
    let outcome = tokio::select! {
        outcome = run(Options::parse()) => outcome,
        _ = interrupted => Err(anyhow::anyhow!("interrupted")),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
