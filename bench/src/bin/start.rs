//! `start`: how long a command service takes to be ready, three ways; or what it needs in memory for many aggregates.

use std::process::ExitCode;

use bench::start::{Options, run};
use clap::Parser as _;

// As the service has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("start: {error:#}");
            ExitCode::FAILURE
        }
    }
}
