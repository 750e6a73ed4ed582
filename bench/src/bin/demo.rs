//! `demo`: real orders through the pipeline, then load, then a comparison. Exit code 1 where anything differs.

use std::process::ExitCode;

use bench::demo::{Options, run};
use clap::Parser as _;

// The generator measures and reports; one thread is enough, and leaves the other cores to what is measured.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Options::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("demo: {error:#}");
            eprintln!(
                "Is the pipeline up? `cargo xtask status` says what runs, `cargo xtask up` repairs it."
            );
            ExitCode::FAILURE
        }
    }
}
