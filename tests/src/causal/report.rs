//! What came of a run.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::model::{Breach, Rule, Why};

/// So many violations are kept; all are counted.
const KEPT: usize = 10;

/// A rule that an answer broke, and where to look.
#[derive(Clone, Debug)]
pub struct Violation {
    /// What is wrong.
    pub breach: Breach,
    /// The request, its level, who answered, and from where.
    pub request: String,
}

/// What came of a run.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The seed, to run it again.
    pub seed: u64,
    /// Operations that were answered, by their kind.
    pub operations: BTreeMap<&'static str, u64>,
    /// Reads that were answered, by the level that they asked for.
    pub levels: BTreeMap<&'static str, u64>,
    /// Reads that were answered, by `Served-From`.
    pub served_from: BTreeMap<String, u64>,
    /// What answers had to show, by the reason.
    pub required: BTreeMap<Why, u64>,
    /// Attempts that were answered 503, by the problem's type.
    pub refused: BTreeMap<String, u64>,
    /// Attempts that got no answer.
    pub broken: u64,
    /// What was done to the services meanwhile.
    pub weather: BTreeMap<&'static str, u64>,
    /// How many answers broke a rule.
    pub violations: u64,
    /// The same, by the rule.
    pub by_rule: BTreeMap<Rule, u64>,
    /// The first of them.
    pub first_violations: Vec<Violation>,
    /// How long it took.
    pub took: Duration,
}

impl Report {
    /// Notes that a rule was broken.
    pub(super) fn violated(&mut self, violation: Violation) {
        self.violations += 1;
        count(&mut self.by_rule, violation.breach.rule);
        if self.first_violations.len() < KEPT {
            self.first_violations.push(violation);
        }
    }

    /// How many operations were answered.
    pub fn answered(&self) -> u64 {
        self.operations.values().sum()
    }

    /// Adds what came of one client.
    pub(super) fn add(&mut self, other: Self) {
        add_up(&mut self.operations, other.operations);
        add_up(&mut self.levels, other.levels);
        add_up(&mut self.served_from, other.served_from);
        add_up(&mut self.required, other.required);
        add_up(&mut self.refused, other.refused);
        add_up(&mut self.weather, other.weather);
        add_up(&mut self.by_rule, other.by_rule);
        self.broken += other.broken;
        self.violations += other.violations;
        let room = KEPT.saturating_sub(self.first_violations.len());
        self.first_violations
            .extend(other.first_violations.into_iter().take(room));
    }
}

/// Counts one.
pub(super) fn count<K: Ord>(counts: &mut BTreeMap<K, u64>, what: K) {
    *counts.entry(what).or_default() += 1;
}

fn add_up<K: Ord>(all: &mut BTreeMap<K, u64>, more: BTreeMap<K, u64>) {
    for (what, number) in more {
        *all.entry(what).or_default() += number;
    }
}

fn line<K: fmt::Debug>(f: &mut fmt::Formatter<'_>, name: &str, counts: &BTreeMap<K, u64>) -> fmt::Result {
    write!(f, "  {name:<13}")?;
    if counts.is_empty() {
        write!(f, " none")?;
    }
    for (number, (what, count)) in counts.iter().enumerate() {
        let what = format!("{what:?}");
        let comma = if number > 0 { "," } else { "" };
        write!(f, "{comma} {count} {}", what.trim_matches('"'))?;
    }
    writeln!(f)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.took.as_secs_f64();
        writeln!(
            f,
            "seed {}: {} operations in {seconds:.1} s, {} violations",
            self.seed,
            self.answered(),
            self.violations
        )?;
        line(f, "operations", &self.operations)?;
        line(f, "reads", &self.levels)?;
        line(f, "served from", &self.served_from)?;
        line(f, "required", &self.required)?;
        line(f, "answered 503", &self.refused)?;
        writeln!(f, "  not answered  {}", self.broken)?;
        line(f, "weather", &self.weather)?;
        line(f, "violations", &self.by_rule)?;
        for violation in &self.first_violations {
            writeln!(
                f,
                "  VIOLATION {:?}: {}\n    {}",
                violation.breach.rule, violation.breach.what, violation.request
            )?;
        }
        Ok(())
    }
}
