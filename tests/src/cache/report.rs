//! What came of a run.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// So many violations are kept; all are counted.
const KEPT: usize = 10;

/// What came of a run.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The seed, to run it again.
    pub seed: u64,
    /// Reads that were answered and judged, by what was read.
    pub reads: BTreeMap<&'static str, u64>,
    /// The same, by `Served-From`.
    pub served_from: BTreeMap<String, u64>,
    /// The same, by how they were judged.
    pub judged: BTreeMap<&'static str, u64>,
    /// Answers 503.
    pub refused: u64,
    /// Connections that broke.
    pub broken: u64,
    /// Writes meanwhile.
    pub writes: u64,
    /// How often a query service was killed.
    pub restarts: u64,
    /// Entries that were evicted, as the services that were still there at the end counted.
    pub evictions: u64,
    /// How many answers were wrong.
    pub violations: u64,
    /// The first of them.
    pub first_violations: Vec<String>,
    /// How long it took.
    pub took: Duration,
}

impl Report {
    pub(super) fn violated(&mut self, what: String) {
        self.violations += 1;
        if self.first_violations.len() < KEPT {
            self.first_violations.push(what);
        }
    }

    /// How many reads memory answered.
    pub fn from_memory(&self) -> u64 {
        self.served_from.get("memory").copied().unwrap_or_default()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (reads, seconds) = (self.reads.values().sum::<u64>(), self.took.as_secs_f64());
        writeln!(
            f,
            "seed {}: {reads} reads in {seconds:.1} s, {} of them from memory, {} violations",
            self.seed,
            self.from_memory(),
            self.violations
        )?;
        writeln!(f, "  reads         {:?}", self.reads)?;
        writeln!(f, "  served from   {:?}", self.served_from)?;
        writeln!(f, "  judged        {:?}", self.judged)?;
        writeln!(
            f,
            "  meanwhile     {} writes, {} restarts, {} evictions; {} answered 503, {} connections broke",
            self.writes, self.restarts, self.evictions, self.refused, self.broken
        )?;
        for violation in &self.first_violations {
            writeln!(f, "  VIOLATION {violation}")?;
        }
        Ok(())
    }
}
