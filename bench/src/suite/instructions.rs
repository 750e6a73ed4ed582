//! `instructions`: how many instructions each step of a command takes, counted by callgrind. They are the same from run to run, and so
//! tell a loss of a few per cent on any machine.

use std::{collections::BTreeMap, process::Command};

use anyhow::{Context as _, ensure};
use clap::ValueEnum as _;
use devstack::{install::debian, pins::pins, step::Progress};
use serde_json::json;

use super::{
    drive::as_f64,
    report::{Figure, Finding, Goal},
};
use crate::instructions::Step;

/// Where a finding keeps the counts.
pub(super) const COUNTS: &str = "instructions";
/// Steps of the shorter one of two runs; the other one has twice as many, and what both have besides falls out.
const TIMES: u64 = 2_000;

/// Counts.
pub fn run() -> anyhow::Result<Finding> {
    let counted = count()?;
    let all: f64 = counted.values().sum();
    let figure = Figure::of("instructions of all steps together", "", &[all], Goal::None);
    Ok(Finding::new(figure, Vec::new(), json!({ COUNTS: counted })))
}

/// Instructions of each step.
pub(super) fn count() -> anyhow::Result<BTreeMap<String, f64>> {
    let packages: Vec<&str> = pins().packages.measure.iter().map(String::as_str).collect();
    debian::ensure(&packages, Progress::Stderr)?;
    let mut counted = BTreeMap::new();
    for step in Step::value_variants() {
        let name = step.to_possible_value().context("every step has a name")?;
        let name = name.get_name();
        let (once, twice) = (collected(name, TIMES)?, collected(name, 2 * TIMES)?);
        let each = as_f64(twice.saturating_sub(once) / TIMES);
        eprintln!("  {name}: {each:.0} instructions");
        counted.insert(name.to_owned(), each);
    }
    Ok(counted)
}

/// Instructions of a whole run.
fn collected(step: &str, times: u64) -> anyhow::Result<u64> {
    let own = std::env::current_exe()?;
    let program = own.with_file_name("instructions");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(&program)
        .args([step, &times.to_string()])
        .output()
        .context("cannot start valgrind")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{} failed: {said}", program.display());
    parse(&said).with_context(|| format!("callgrind said no count: {said}"))
}

/// The count of a line like `==7== Collected : 123456`.
fn parse(said: &str) -> Option<u64> {
    let mut counts = said.lines().filter_map(|line| line.split("Collected :").nth(1));
    counts.next_back()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_read() {
        let said = "==7== Callgrind\n==7== Events    : Ir\n==7== Collected : 123456\n==7== \n";
        assert_eq!(parse(said), Some(123_456));
        assert_eq!(parse("valgrind: no such file"), None);
    }
}
