//! `instructions STEP TIMES`: does one step of a command so many times, to be run by what counts instructions.

use std::process::ExitCode;

use bench::instructions::{Step, repeat};
use clap::Parser;

#[derive(Debug, Parser)]
#[command(name = "instructions", about = "One step of a command, many times")]
struct Options {
    /// Which
    step: Step,
    /// How many times
    times: u64,
}

fn main() -> ExitCode {
    let options = Options::parse();
    match repeat(options.step, options.times) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("instructions: {error:#}");
            ExitCode::FAILURE
        }
    }
}
