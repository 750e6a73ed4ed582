//! What was found, for people or for programs.

use std::collections::BTreeMap;

use serde_json::json;

use super::fold::Folded;

/// Differences that are named; the rest is counted.
const NAMED_MAX: usize = 20;

/// What was found about one model.
#[derive(Debug, Default)]
pub struct ModelReport {
    /// Orders compared.
    pub orders: usize,
    /// SKUs compared.
    pub skus: usize,
    /// Kept events compared; none where the model keeps none.
    pub events: Option<usize>,
    /// Rows of the sales compared; none where the model has none.
    pub sales: Option<usize>,
    /// Records that the model had not examined when time was up.
    pub behind: i64,
    /// All differences.
    pub differences: usize,
    /// The first of them.
    pub named: Vec<String>,
}

impl ModelReport {
    /// Notes a difference.
    pub fn differ(&mut self, difference: String) {
        self.differences += 1;
        if self.named.len() < NAMED_MAX {
            self.named.push(difference);
        }
    }
}

/// What was found about the log.
#[derive(Debug)]
pub struct LogReport {
    orders: usize,
    statuses: BTreeMap<&'static str, usize>,
    skus: usize,
    events: u64,
    refusals: u64,
    void: u64,
    doubled: u64,
    unsettled: usize,
    leaks: Vec<String>,
}

impl From<Folded> for LogReport {
    fn from(folded: Folded) -> Self {
        Self {
            orders: folded.orders.len(),
            statuses: folded.statuses(),
            skus: folded.stock.len(),
            events: folded.events,
            refusals: folded.refusals,
            void: folded.void,
            doubled: folded.doubled,
            unsettled: folded.unsettled(),
            leaks: if folded.unsettled() == 0 {
                folded.leaks()
            } else {
                Vec::new()
            },
        }
    }
}

/// Everything.
#[derive(Debug, Default)]
pub struct Report {
    /// The log as it was folded for the last model.
    pub log: Option<LogReport>,
    /// By name.
    pub models: Vec<(&'static str, ModelReport)>,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.log
            .as_ref()
            .is_none_or(|log| log.doubled == 0 && log.leaks.is_empty())
            && self
                .models
                .iter()
                .all(|(_, model)| model.differences == 0 && model.behind == 0)
    }

    /// Prints it.
    pub fn print(&self, json: bool) -> anyhow::Result<()> {
        if json {
            println!("{}", serde_json::to_string(&self.to_json())?);
            return Ok(());
        }
        if let Some(log) = &self.log {
            println!(
                "log: {} orders, {} SKUs, {} events, {} refusals, {} void records, {} orders with open steps",
                log.orders, log.skus, log.events, log.refusals, log.void, log.unsettled
            );
            if log.doubled > 0 {
                println!(
                    "log: {} commands have more than one effective record",
                    log.doubled
                );
            }
            for leak in &log.leaks {
                println!("log: {leak}");
            }
        }
        for (name, model) in &self.models {
            let kept = match (model.events, model.sales) {
                (Some(events), Some(sales)) => format!(", {events} events and {sales} sales"),
                _ => String::new(),
            };
            println!(
                "{name}: {} orders and {} SKUs{kept} compared, {} differences, {} records behind",
                model.orders, model.skus, model.differences, model.behind
            );
            for difference in &model.named {
                println!("  {difference}");
            }
        }
        Ok(())
    }

    fn to_json(&self) -> serde_json::Value {
        let log = self.log.as_ref().map(|log| {
            json!({
                "orders": log.orders, "orders_by_status": log.statuses, "skus": log.skus, "events": log.events,
                "refusals": log.refusals, "void": log.void, "doubled": log.doubled,
                "orders_with_open_steps": log.unsettled, "leaks": log.leaks,
            })
        });
        let models: serde_json::Map<String, serde_json::Value> = self
            .models
            .iter()
            .map(|(name, model)| {
                let report = json!({
                    "orders": model.orders, "skus": model.skus, "events": model.events, "sales": model.sales,
                    "behind": model.behind,
                    "differences": model.differences, "named": model.named,
                });
                ((*name).to_owned(), report)
            })
            .collect();
        json!({ "clean": self.is_clean(), "log": log, "models": models })
    }
}
