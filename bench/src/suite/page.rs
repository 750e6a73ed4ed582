//! `docs/performance.md` and its plots, made of a file of results. No figure on it is typed by hand.

mod bars;

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};
use serde_json::Value;

use super::report::{Bound, Figure, Finding, Results};
use bars::{Bar, Bars};

/// How the raw figures that are shown as plots of processor time begin.
const PROCESSOR_TIME: &str = "processor_us_per_";
/// Of the peers, a figure for each round.
const PEERS: &str = "peers";
const COMMANDS_PER_SECOND: &str = "commands_per_second";
/// Nothing is drawn as more than so many times what it should be.
const GOAL_TIMES_MAX: f64 = 2.0;
/// What does not depend on figures.
const DURABILITY: &str = include_str!("page/durability.md");

/// Makes the page and its plots below `docs`.
pub fn write(results: &Path, docs: &Path) -> anyhow::Result<()> {
    let results_of = read(results)?;
    ensure!(
        !results_of.quick,
        "{} is of a trial: its figures mean nothing",
        results.display()
    );
    let plots = docs.join("performance");
    if plots.exists() {
        fs::remove_dir_all(&plots)?;
    }
    fs::create_dir_all(&plots)?;
    let name = results.file_name().unwrap_or_default().to_string_lossy();
    let page = Page {
        results: &results_of,
        plots: BTreeMap::new(),
    };
    let (text, drawn) = page.made_of(&name)?;
    for (plot, svg) in drawn {
        fs::write(plots.join(plot), svg)?;
    }
    let file = docs.join("performance.md");
    fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    eprintln!("· made {} and {}", file.display(), plots.display());
    Ok(())
}

struct Page<'a> {
    results: &'a Results,
    /// By file name.
    plots: BTreeMap<String, String>,
}

impl Page<'_> {
    fn made_of(mut self, file: &str) -> anyhow::Result<(String, BTreeMap<String, String>)> {
        let results = self.results;
        let mut text = format!(
            "<!-- Made by `cargo xtask bench --page bench/results/{file}`. Change the program, not this page. -->\n\
             # Performance\n\n\
             Measured on {} at commit `{}`, on {} processors that everything shares: the load generator, the services, the broker and the \
             databases. Both sides of a ratio are measured in turns in the same run. The figures are those of \
             [`bench/results/{file}`](../bench/results/{file}); `cargo xtask bench NAME` measures one again.\n\n\
             ## Goals\n\n",
            results.date, results.commit, results.processors
        );
        let goals = self.goals();
        text += &self.plot("goals", "Each figure beside its goal", &goals);
        text += "Rows that begin with *floor* tell what the parts take: what would be measured if nothing of ours took any time, or the same \
             work with nothing of ours in it. They have no goal; how far a goal is from its floor is what could be gained at most.\n\n";
        text += &figures_table(results.benchmarks.iter());
        text += "\n";
        text += DURABILITY;
        if let Some(finding) = results.benchmarks.get(PEERS) {
            text += "\n## Beside others\n\n";
            text += &self.peers(finding)?;
        }
        text += "\n## What an operation costs\n\n\
             Microseconds of processor time by process, the median of the rounds. `load` is the load generator.\n\n";
        for (name, finding) in &results.benchmarks {
            for (key, value) in &finding.raw {
                let Some(operation) = key.strip_prefix(PROCESSOR_TIME) else {
                    continue;
                };
                let title = format!("{name}: {}", operation.replace('_', " "));
                let bars = processes(value).with_context(|| format!("{name}: {key}"))?;
                text += &self.plot(&format!("{name}-{operation}").replace('_', "-"), &title, &bars);
            }
        }
        text += "## Everything that was measured\n\n\
             A figure for each round.\n\n";
        for (name, finding) in &results.benchmarks {
            text += &raw(name, finding);
        }
        let text = text.trim_end().to_owned() + "\n";
        Ok((text, self.plots))
    }

    /// Draws a plot; the line that shows it.
    fn plot(&mut self, name: &str, title: &str, bars: &Bars) -> String {
        let file = format!("{name}.svg");
        let line = format!("![{title}](performance/{file})\n\n");
        self.plots.insert(file, bars.svg(title));
        line
    }

    /// How much of each goal is reached.
    fn goals(&self) -> Bars {
        let figures = self.results.benchmarks.iter().flat_map(|(name, finding)| {
            let all = std::iter::once(&finding.ratio).chain(&finding.also);
            all.map(move |figure| (name, figure))
        });
        let bars = figures.filter_map(|(name, figure)| {
            let goal = figure.goal.filter(|goal| *goal > 0.0)?;
            let reached = |figure_value: f64| match figure.bound {
                Bound::AtMost => goal / figure_value.max(goal / GOAL_TIMES_MAX),
                Bound::AtLeast | Bound::None => (figure_value / goal).min(GOAL_TIMES_MAX),
            };
            Some(Bar {
                label: format!("{name}: {}", figure.what),
                value: reached(figure.median),
                range: Some((reached(figure.min), reached(figure.max))),
                told: figure.shown(figure.median),
                is_good: figure.met,
            })
        });
        Bars {
            bars: bars.collect(),
            mark: Some(1.0),
        }
    }

    fn peers(&mut self, finding: &Finding) -> anyhow::Result<String> {
        let rounds = finding.raw.get(COMMANDS_PER_SECOND).and_then(Value::as_array);
        let rounds = rounds.context("the peers have no rounds")?;
        let mut all: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        for (key, value) in rounds.iter().filter_map(Value::as_object).flatten() {
            all.entry(key)
                .or_default()
                .push(value.as_f64().context("no figure")?);
        }
        let mut text = String::from(
            "Commands a second, 64 clients, no HTTP on either side; `bench/peers/README.md` says what each of them does. `fsync`: every \
             acknowledged command survives a loss of power; `page-cache`: all but the last moments do.\n\n",
        );
        for workload in ["new", "existing"] {
            let title = format!("Commands a second, {workload} stream");
            let mut bars: Vec<Bar> = Vec::new();
            for (key, rounds) in &all {
                let words: Vec<&str> = key.split(' ').collect();
                let &[who, what, durability] = words.as_slice() else {
                    continue;
                };
                if what == workload {
                    let name = if who == "ours" { "Tailwater" } else { who };
                    let median = median(rounds);
                    bars.push(Bar {
                        label: format!("{name}, {durability}"),
                        value: median,
                        range: None,
                        told: format!("{median:.0}"),
                        is_good: who == "ours",
                    });
                }
            }
            bars.sort_by(|one, other| other.value.total_cmp(&one.value));
            let bars = Bars { bars, mark: None };
            text += &self.plot(&format!("peers-{workload}"), &title, &bars);
        }
        Ok(text)
    }
}

fn figures_table<'a>(findings: impl Iterator<Item = (&'a String, &'a Finding)>) -> String {
    let mut text =
        String::from("| | what | median | min | max | goal | met |\n|---|---|---:|---:|---:|---:|---|\n");
    for (name, finding) in findings {
        let mut row = |name: &str, figure: &Figure| {
            let _ = writeln!(
                text,
                "| {name} | {} | {} | {} | {} | {} | {} |",
                figure.what,
                figure.shown(figure.median),
                figure.shown(figure.min),
                figure.shown(figure.max),
                figure.goal_shown(),
                match (figure.bound, figure.met) {
                    (Bound::None, _) => "",
                    (_, true) => "yes",
                    (_, false) => "**no**",
                }
            );
        };
        row(name, &finding.ratio);
        for figure in &finding.also {
            row("", figure);
        }
    }
    text
}

/// The median of each process, largest first.
fn processes(raw: &Value) -> anyhow::Result<Bars> {
    let by_process: BTreeMap<String, Vec<f64>> = serde_json::from_value(raw.clone())?;
    let mut bars: Vec<Bar> = by_process
        .into_iter()
        .map(|(name, rounds)| {
            let median = median(&rounds);
            Bar {
                label: name,
                value: median,
                range: None,
                told: format!("{median:.1} us"),
                is_good: true,
            }
        })
        .collect();
    bars.sort_by(|one, other| other.value.total_cmp(&one.value));
    Ok(Bars { bars, mark: None })
}

/// What is neither drawn nor too long to be read.
fn raw(name: &str, finding: &Finding) -> String {
    let mut text = format!("### {name}\n\n| | |\n|---|---|\n");
    for (key, value) in &finding.raw {
        let shown = match value {
            Value::Array(values) if values.iter().all(Value::is_number) && values.len() <= 10 => {
                let values = values.iter().filter_map(Value::as_f64);
                values.map(number).collect::<Vec<_>>().join(", ")
            }
            Value::Number(value) => value.as_f64().map(number).unwrap_or_default(),
            Value::Object(values) if values.values().all(Value::is_number) => {
                let each = values
                    .iter()
                    .filter_map(|(name, value)| Some((name, value.as_f64()?)));
                each.map(|(name, value)| format!("{name} {}", number(value)))
                    .collect::<Vec<_>>()
                    .join(", ")
            }
            Value::String(value) => value.clone(),
            _ => continue,
        };
        let _ = writeln!(text, "| {} | {shown} |", key.replace('_', " "));
    }
    text + "\n"
}

fn number(value: f64) -> String {
    match value {
        _ if value.fract() == 0.0 || value.abs() >= 1_000.0 => format!("{value:.0}"),
        _ => format!("{value:.2}"),
    }
}

/// Of an even number of figures, the lower one of the two in the middle.
fn median(rounds: &[f64]) -> f64 {
    let mut sorted = rounds.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
        .get(sorted.len().saturating_sub(1) / 2)
        .copied()
        .unwrap_or(f64::NAN)
}

/// The file of results that the page in this workspace is made of.
fn committed_file(workspace: &Path) -> anyhow::Result<PathBuf> {
    let page = workspace.join("docs/performance.md");
    let text = fs::read_to_string(&page).with_context(|| format!("cannot read {}", page.display()))?;
    let name = text.split("bench/results/").nth(1);
    let name = name.and_then(|rest| rest.split('`').next());
    let name = name.with_context(|| format!("{} names no results", page.display()))?;
    Ok(workspace.join("bench/results").join(name))
}

/// The results that the page in this workspace is made of.
pub(super) fn committed(workspace: &Path) -> anyhow::Result<Results> {
    read(&committed_file(workspace)?)
}

fn read(results: &Path) -> anyhow::Result<Results> {
    let text = fs::read(results).with_context(|| {
        format!(
            "cannot read {}: run `cargo xtask bench` first, or name another file",
            results.display()
        )
    })?;
    serde_json::from_slice(&text).with_context(|| format!("{} is no file of results", results.display()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::suite::report::Goal;

    #[test]
    fn the_page_is_the_one_that_its_results_make() {
        let results = committed_file(&devstack::layout::workspace()).unwrap();
        let docs = tempfile::tempdir().unwrap();
        write(&results, docs.path()).unwrap();
        let ours = devstack::layout::workspace().join("docs");
        let read = |folder: &Path, name: &str| fs::read_to_string(folder.join(name)).unwrap();
        assert_eq!(read(docs.path(), "performance.md"), read(&ours, "performance.md"));
        for plot in fs::read_dir(docs.path().join("performance")).unwrap() {
            let name = format!("performance/{}", plot.unwrap().file_name().display());
            assert_eq!(read(docs.path(), &name), read(&ours, &name), "{name}");
        }
    }

    #[test]
    fn figures_goals_and_plots_are_on_it() {
        let figure = Figure::of("notes/s to <those>", "x", &[0.3, 0.4, 0.35], Goal::AtLeast(0.5));
        let raw = json!({
            "processor_us_per_note": {"kafka-1": [9.0, 8.0, 7.0]}, "write_per_second": [1234.5, 2.25], "long": ["a"]
        });
        let finding = Finding::new(figure, Vec::new(), raw);
        let results = Results {
            date: "2026-11-23".to_owned(),
            commit: "abc1234".to_owned(),
            quick: false,
            processors: 2,
            benchmarks: BTreeMap::from([("write".to_owned(), finding)]),
        };
        let page = Page {
            results: &results,
            plots: BTreeMap::new(),
        };
        let (text, plots) = page.made_of("r.json").unwrap();
        assert!(
            text.contains("| write | notes/s to <those> | 0.35 x | 0.30 x | 0.40 x | >= 0.50 x | **no** |")
        );
        assert!(text.contains("| write per second | 1234, 2.25 |"), "{text}");
        assert!(text.contains("(performance/write-note.svg)"));
        assert!(plots["write-note.svg"].contains("8.0 us"));
        assert!(plots["goals.svg"].contains("notes/s to &lt;those&gt;"));
    }
}
