//! What came of a benchmark: figures with goals, raw figures, a file and a table.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use comfy_table::{CellAlignment, Table, presets::UTF8_FULL_CONDENSED};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// What a figure must be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// This or more.
    AtLeast(f64),
    /// This or less.
    AtMost(f64),
    /// Only told.
    None,
}

impl Goal {
    fn met_by(self, figure: f64) -> bool {
        match self {
            Self::AtLeast(least) => figure >= least,
            Self::AtMost(most) => figure <= most,
            Self::None => true,
        }
    }
}

/// The same as it is stored, beside the figure that it is a bound of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// The goal or more.
    AtLeast,
    /// The goal or less.
    AtMost,
    /// There is no goal.
    None,
}

/// A figure over some rounds, and whether its median is what it must be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// What it is, for people.
    pub what: String,
    /// `x` for ratios, else `ms`, `s`, …
    pub unit: Cow<'static, str>,
    /// The median over the rounds; of an even number of them, the lower one of the two in the middle.
    pub median: f64,
    /// The least of the rounds.
    pub min: f64,
    /// The largest of the rounds.
    pub max: f64,
    /// On which side of the goal it must be.
    pub bound: Bound,
    /// What it must be.
    pub goal: Option<f64>,
    /// Whether the median is.
    pub met: bool,
}

impl Figure {
    /// The figure of these rounds. Without any, and where one is not a number, no goal is met.
    pub fn of(what: impl Into<String>, unit: &'static str, rounds: &[f64], goal: Goal) -> Self {
        let mut sorted = rounds.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
        let median = at(sorted.len().saturating_sub(1) / 2);
        let (bound, limit) = match goal {
            Goal::AtLeast(limit) => (Bound::AtLeast, Some(limit)),
            Goal::AtMost(limit) => (Bound::AtMost, Some(limit)),
            Goal::None => (Bound::None, None),
        };
        Self {
            what: what.into(),
            unit: unit.into(),
            median,
            min: at(0),
            max: at(sorted.len().saturating_sub(1)),
            bound,
            goal: limit,
            met: goal.met_by(median) && sorted.iter().all(|figure| figure.is_finite()),
        }
    }

    /// What it must be, for people; empty where there is no goal.
    pub fn goal_shown(&self) -> String {
        let sign = match self.bound {
            Bound::AtLeast => ">=",
            Bound::AtMost => "<=",
            Bound::None => return String::new(),
        };
        self.goal
            .map(|goal| format!("{sign} {}", self.shown(goal)))
            .unwrap_or_default()
    }

    /// A figure in its unit, for people.
    pub fn shown(&self, figure: f64) -> String {
        let digits = if figure.fract() == 0.0 { 0 } else { 2 };
        format!("{figure:.digits$} {}", self.unit).trim_end().to_owned()
    }

    /// A ratio of two figures of the same round, over all rounds.
    pub fn ratio(what: impl Into<String>, ours: &[f64], theirs: &[f64], goal: Goal) -> Self {
        let rounds: Vec<f64> = ours
            .iter()
            .zip(theirs)
            .map(|(ours, theirs)| ours / theirs)
            .collect();
        Self::of(what, "x", &rounds, goal)
    }
}

/// What one benchmark found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Finding {
    /// The figure that it is about.
    pub ratio: Figure,
    /// Further figures with goals.
    pub also: Vec<Figure>,
    /// Whether all goals are met.
    pub met: bool,
    /// Per cent of all processors' time that the host gave to others meanwhile, where the system says.
    pub stolen_percent: Option<u64>,
    /// Everything that was measured.
    pub raw: Map<String, Value>,
}

impl Finding {
    /// A finding; `raw` is an object.
    pub fn new(ratio: Figure, also: Vec<Figure>, raw: Value) -> Self {
        Self {
            met: ratio.met && also.iter().all(|figure| figure.met),
            ratio,
            also,
            stolen_percent: None,
            raw: match raw {
                Value::Object(raw) => raw,
                other => Map::from_iter([("raw".to_owned(), other)]),
            },
        }
    }
}

/// Under what a run was made.
#[derive(Clone, Debug)]
pub struct Run {
    /// The day, `YYYY-MM-DD` in UTC.
    pub date: String,
    /// The short id of the commit that was built, or `unknown`.
    pub commit: String,
    /// Whether it was only tried for function.
    pub quick: bool,
}

impl Run {
    /// This run, in the repository at `workspace`.
    pub fn now(workspace: &Path, quick: bool) -> Self {
        let said = std::process::Command::new("git")
            .args(["rev-parse", "--short", "HEAD"])
            .current_dir(workspace)
            .output();
        let commit = said.ok().filter(|said| said.status.success());
        let commit = commit.and_then(|said| String::from_utf8(said.stdout).ok());
        Self {
            date: jiff::Timestamp::now().strftime("%Y-%m-%d").to_string(),
            commit: commit.map_or_else(|| "unknown".to_owned(), |commit| commit.trim().to_owned()),
            quick,
        }
    }

    /// Where its results go, below `folder`.
    pub fn file(&self, folder: &Path) -> PathBuf {
        let quick = if self.quick { "-quick" } else { "" };
        folder.join(format!("{}-{}{quick}.json", self.date, self.commit))
    }

    /// Puts one finding into what the file held before: other names stay.
    fn merged(&self, before: Option<Value>, name: &str, finding: &Finding) -> anyhow::Result<Value> {
        let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
        let processors = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
        let mut benchmarks = before
            .and_then(|mut before| before.get_mut("benchmarks").map(Value::take))
            .and_then(|benchmarks| match benchmarks {
                Value::Object(benchmarks) => Some(benchmarks),
                _ => None,
            })
            .unwrap_or_default();
        benchmarks.insert(name.to_owned(), serde_json::to_value(finding)?);
        Ok(json!({
            "date": self.date,
            "commit": self.commit,
            "quick": self.quick,
            "profile": profile,
            "processors": processors,
            "benchmarks": benchmarks,
        }))
    }

    /// Writes one finding into the run's file; says where that is.
    pub fn save(&self, folder: &Path, name: &str, finding: &Finding) -> anyhow::Result<PathBuf> {
        let file = self.file(folder);
        let before = fs::read(&file)
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok());
        let text = serde_json::to_string_pretty(&self.merged(before, name, finding)?)?;
        fs::create_dir_all(folder)?;
        fs::write(&file, text + "\n").with_context(|| format!("cannot write {}", file.display()))?;
        Ok(file)
    }
}

/// What a file of results holds.
#[derive(Clone, Debug, Deserialize)]
pub struct Results {
    /// The day, `YYYY-MM-DD` in UTC.
    pub date: String,
    /// The short id of the commit that was measured.
    pub commit: String,
    /// Whether it was only tried for function.
    pub quick: bool,
    /// How many processors the machine has.
    pub processors: usize,
    /// By name.
    pub benchmarks: BTreeMap<String, Finding>,
}

/// All findings as a table.
pub fn table(findings: &[(&'static str, Finding)]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table.set_header(["", "what", "median", "min", "max", "goal", "met"]);
    for (name, finding) in findings {
        let figures = std::iter::once(&finding.ratio).chain(&finding.also);
        for (row, figure) in figures.enumerate() {
            table.add_row([
                if row == 0 {
                    (*name).to_owned()
                } else {
                    String::new()
                },
                figure.what.clone(),
                figure.shown(figure.median),
                figure.shown(figure.min),
                figure.shown(figure.max),
                figure.goal_shown(),
                match (figure.bound, figure.met) {
                    (Bound::None, _) => "",
                    (_, true) => "yes",
                    (_, false) => "NO",
                }
                .to_owned(),
            ]);
        }
        if let Some(stolen) = finding.stolen_percent.filter(|stolen| *stolen > 0) {
            table.add_row([
                String::new(),
                "processor time stolen by the host".to_owned(),
                format!("{stolen} %"),
            ]);
        }
    }
    for column in 2..=5 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_of_figures_of_the_same_round() {
        let figure = Figure::ratio(
            "ours to theirs",
            &[70.0, 90.0, 60.0],
            &[100.0, 100.0, 120.0],
            Goal::AtLeast(0.7),
        );
        assert!((figure.median - 0.7).abs() < 1e-9);
        assert!((figure.min - 0.5).abs() < 1e-9 && (figure.max - 0.9).abs() < 1e-9);
        assert!(figure.met);
        assert!(!Figure::of("", "ms", &[1.0, 3.0, 2.0], Goal::AtMost(1.9)).met);
    }

    #[test]
    fn what_was_not_measured_meets_no_goal() {
        assert!(!Figure::of("", "x", &[], Goal::AtLeast(0.0)).met);
        assert!(!Figure::ratio("", &[1.0], &[0.0], Goal::AtLeast(0.5)).met);
    }

    #[test]
    fn one_name_replaces_itself_and_leaves_the_others() {
        let run = Run {
            date: "2026-11-21".to_owned(),
            commit: "abc1234".to_owned(),
            quick: false,
        };
        let finding = |median: f64| {
            let figure = Figure::of("", "x", &[median], Goal::AtLeast(0.5));
            Finding::new(figure, Vec::new(), json!({"per_second": [1.0]}))
        };
        let first = run.merged(None, "append", &finding(0.4)).unwrap();
        let second = run.merged(Some(first), "write", &finding(0.6)).unwrap();
        let third = run.merged(Some(second), "append", &finding(0.7)).unwrap();
        assert_eq!(third["commit"], "abc1234");
        assert_eq!(third["benchmarks"]["append"]["ratio"]["median"], 0.7);
        assert_eq!(third["benchmarks"]["append"]["ratio"]["goal"], 0.5);
        assert_eq!(third["benchmarks"]["append"]["ratio"]["met"], true);
        assert_eq!(third["benchmarks"]["write"]["raw"]["per_second"][0], 1.0);
        assert!(run.file(Path::new("r")).ends_with("2026-11-21-abc1234.json"));
    }

    #[test]
    fn all_goals_must_be_met() {
        let good = Figure::of("", "x", &[1.0], Goal::AtLeast(0.5));
        let bad = Figure::of("", "ms", &[9.0], Goal::AtMost(1.0));
        assert!(!Finding::new(good.clone(), vec![bad], json!({})).met);
        assert!(Finding::new(good, Vec::new(), json!({})).met);
    }
}
