//! What came of it, for people or for programs.

use read_model::Generation;
use read_model::compare::Comparison;
use serde_json::{Value, json};

/// A generation that was filled, or gone back to.
#[derive(Debug, Default)]
pub struct Rebuilt {
    /// Its number.
    pub generation: i32,
    /// Whether an earlier run began it.
    pub resumed: bool,
    /// What was live before.
    pub previous: Option<i32>,
    /// Records that it was made from.
    pub records: i64,
    /// How long filling it took in this run, in seconds.
    pub filled_s: f64,
    /// How long everything took in this run, in seconds.
    pub took_s: f64,
    /// How it compares with what was live before.
    pub comparison: Comparison,
}

/// A generation as it stands.
#[derive(Debug)]
pub struct Standing {
    /// Which.
    pub generation: Generation,
    /// Records that it has examined.
    pub records: i64,
    /// Records that it has not.
    pub behind: i64,
}

/// What came of one model.
#[derive(Debug)]
pub enum Outcome {
    /// It is what is read now.
    Switched(Rebuilt),
    /// It differs from what is read, and waits.
    Differs(Rebuilt),
    /// All there are.
    Status(Vec<Standing>),
    /// What was discarded.
    Discarded(Vec<i32>),
    /// It could not be done.
    Failed(String),
}

impl Outcome {
    /// Whether nothing is wrong.
    pub const fn is_good(&self) -> bool {
        !matches!(self, Self::Differs(_) | Self::Failed(_))
    }

    fn lines(&self, model: &str) -> Vec<String> {
        match self {
            Self::Switched(rebuilt) => switched(model, rebuilt),
            Self::Differs(rebuilt) => {
                let mut lines = vec![format!(
                    "generation {} is filled ({} records) and differs from what is read, so nothing was switched:",
                    rebuilt.generation, rebuilt.records
                )];
                lines.extend(compared(&rebuilt.comparison));
                lines.push(format!(
                    "if the new one is right: tailwater rebuild --model {model} --accept-differences; if not: tailwater rebuild --model {model} --drop"
                ));
                lines
            }
            Self::Status(standings) => standings.iter().map(standing).collect(),
            Self::Discarded(numbers) if numbers.is_empty() => vec!["nothing to discard".to_owned()],
            Self::Discarded(numbers) => numbers
                .iter()
                .map(|number| format!("generation {number} is discarded"))
                .collect(),
            Self::Failed(why) => vec![why.clone()],
        }
    }

    fn to_json(&self) -> Value {
        let rebuilt = |rebuilt: &Rebuilt| {
            let comparison = &rebuilt.comparison;
            json!({
                "generation": rebuilt.generation, "previous": rebuilt.previous, "resumed": rebuilt.resumed,
                "records": rebuilt.records, "filled_s": rebuilt.filled_s, "took_s": rebuilt.took_s,
                "compared": comparison.compared, "differences": comparison.differences, "named": comparison.named,
                "moving": comparison.moving,
            })
        };
        match self {
            Self::Switched(one) => json!({"switched": true, "rebuilt": rebuilt(one)}),
            Self::Differs(one) => json!({"switched": false, "rebuilt": rebuilt(one)}),
            Self::Status(standings) => {
                let standing = |one: &Standing| {
                    json!({
                        "generation": one.generation.number, "model_version": one.generation.version,
                        "state": one.generation.state.as_str(), "records": one.records, "behind": one.behind,
                    })
                };
                json!({"generations": standings.iter().map(standing).collect::<Vec<_>>()})
            }
            Self::Discarded(numbers) => json!({"discarded": numbers}),
            Self::Failed(why) => json!({"error": why}),
        }
    }
}

fn switched(model: &str, rebuilt: &Rebuilt) -> Vec<String> {
    let number = rebuilt.generation;
    let mut lines = Vec::new();
    if rebuilt.took_s > 0.0 {
        lines.push(format!(
            "{} records in {:.1} s, all of it in {:.1} s",
            rebuilt.records, rebuilt.filled_s, rebuilt.took_s
        ));
        lines.extend(compared(&rebuilt.comparison));
    }
    lines.push(format!("generation {number} is what is read now"));
    if let Some(previous) = rebuilt.previous.filter(|previous| *previous != number) {
        lines.push(format!(
            "generation {previous} is kept and goes on. Back: tailwater rebuild --model {model} --back; discard it: tailwater rebuild --model {model} --drop"
        ));
    }
    lines
}

fn compared(comparison: &Comparison) -> Vec<String> {
    let mut lines = vec![format!(
        "{} compared, {} differences, {} changed too often to be compared",
        comparison.compared, comparison.differences, comparison.moving
    )];
    lines.extend(comparison.named.iter().map(|name| format!("  {name}")));
    lines
}

fn standing(one: &Standing) -> String {
    let Generation {
        number,
        version,
        state,
    } = one.generation;
    format!(
        "generation {number} (model version {version}) is {state}: {} records, {} behind",
        one.records, one.behind
    )
}

/// Prints it.
pub fn print(outcomes: &[(&'static str, Outcome)], json: bool) {
    if json {
        let models: serde_json::Map<String, Value> = outcomes
            .iter()
            .map(|(model, outcome)| ((*model).to_owned(), outcome.to_json()))
            .collect();
        println!("{}", json!({ "models": models }));
        return;
    }
    for (model, outcome) in outcomes {
        for line in outcome.lines(model) {
            if outcome.is_good() {
                println!("{model}: {line}");
            } else {
                eprintln!("{model}: {line}");
            }
        }
    }
}
