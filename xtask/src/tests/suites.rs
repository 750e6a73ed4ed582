//! Runs cargo's test runner with its output unchanged, and adds up what its closing lines say.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use crate::build;

/// What ran, what it counted, and what did not run.
#[derive(Debug, Default)]
pub(crate) struct Report {
    lines: Vec<String>,
    passed: u64,
    failed: u64,
}

impl Report {
    /// Runs tests by cargo. A run that fails without a failed test (it did not compile, say) counts as one failure.
    pub(crate) fn suite(&mut self, name: &str, command: &mut Command) {
        println!("\n=== {name}: {}", build::said(command));
        let counts = run(command);
        let failed = if counts.succeeded {
            counts.failed
        } else {
            counts.failed.max(1)
        };
        self.passed += counts.passed;
        self.failed += failed;
        let ignored = if counts.ignored > 0 {
            format!(", {} ignored", counts.ignored)
        } else {
            String::new()
        };
        self.lines.push(format!(
            "{name}: {} passed, {failed} failed{ignored}",
            counts.passed
        ));
    }

    /// Runs something that holds or does not.
    pub(crate) fn check(&mut self, name: &str, command: &mut Command) {
        println!("\n=== {name}: {}", build::said(command));
        let holds = command
            .stdin(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        *(if holds { &mut self.passed } else { &mut self.failed }) += 1;
        self.lines
            .push(format!("{name}: {}", if holds { "clean" } else { "FAILED" }));
    }

    /// Says what was not asked for.
    pub(crate) fn left_out(&mut self, name: &str, why: &str) {
        self.lines.push(format!("{name}: did not run: {why}"));
    }

    /// What was asked for and could not be had is a failure.
    pub(crate) fn impossible(&mut self, name: &str, why: &str) {
        eprintln!("error: {name}: {why}");
        self.failed += 1;
        self.lines.push(format!("{name}: FAILED, could not run: {why}"));
    }

    pub(crate) fn failed(&self) -> bool {
        self.failed > 0 || self.passed == 0
    }

    /// Prints all of it, the sums last.
    pub(crate) fn print(&self) {
        for line in &self.lines {
            println!("  {line}");
        }
        println!("{} passed, {} failed", self.passed, self.failed);
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    passed: u64,
    failed: u64,
    ignored: u64,
    succeeded: bool,
}

fn run(command: &mut Command) -> Counts {
    let mut counts = Counts::default();
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => {
            eprintln!("error: cannot start {}: {error}", build::said(command));
            return counts;
        }
    };
    if let Some(output) = child.stdout.take() {
        let mut lines = BufReader::new(output);
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
            let _ = std::io::stdout().write_all(&line);
            counts.add(&String::from_utf8_lossy(&line));
            line.clear();
        }
    }
    counts.succeeded = child.wait().is_ok_and(|status| status.success());
    counts
}

impl Counts {
    /// Adds a closing line: `test result: ok. 3 passed; 0 failed; 1 ignored; …`.
    fn add(&mut self, line: &str) {
        let Some(rest) = line.strip_prefix("test result: ") else {
            return;
        };
        let count = |what: &str| {
            rest.split([';', '.'])
                .find_map(|part| part.trim().strip_suffix(what)?.trim().parse().ok())
                .unwrap_or(0)
        };
        self.passed += count("passed");
        self.failed += count("failed");
        self.ignored += count("ignored");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_are_added_up() {
        let mut counts = Counts::default();
        counts.add(
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s\n",
        );
        counts.add(
            "test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 7 filtered out; finished in 1s",
        );
        counts.add("test a_test_that_prints_5 passed ... ok");
        assert_eq!(
            counts,
            Counts {
                passed: 5,
                failed: 1,
                ignored: 1,
                succeeded: false
            }
        );
    }
}
