//! What the demonstration prints at its end.

use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets::UTF8_FULL_CONDENSED};
use domain::OrderStatus;

use super::follower::Follower;
use crate::{load::Latencies, orders::LeftOut};

/// Differences that are printed; the rest is only counted.
const DIFFERENCES_SHOWN: usize = 20;

/// What was measured and counted.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// Real orders that were sent.
    pub(super) real: usize,
    /// Single-line orders that were sent.
    pub(super) single: usize,
    /// Returns of stock that were sent.
    pub(super) returns: usize,
    /// Lines of the invoices that became neither.
    pub(super) left_out: LeftOut,
    /// Attempts that were made again.
    pub(super) retries: u64,
    /// Single-line orders acknowledged a second at full load.
    pub(super) per_second: f64,
    /// Their acknowledgements.
    pub(super) full_load: Latencies,
    /// How far the models were behind at the end of the full load.
    pub(super) behind_redis: Duration,
    /// The same for Postgres.
    pub(super) behind_postgres: Duration,
    /// How long reservations went on after the full load.
    pub(super) rest_after_load: Duration,
    /// Orders a second of the steady phase.
    pub(super) rate: u32,
    /// Acknowledgements in it.
    pub(super) steady: Latencies,
    /// Write to visible in Redis in it.
    pub(super) visible_redis: Latencies,
    /// Write to visible in Postgres in it.
    pub(super) visible_postgres: Latencies,
    /// Per cent of processor time that the host gave to others in the full load, where the system says.
    pub(super) stolen_full_load: Option<u64>,
    /// The same for the steady phase.
    pub(super) stolen_steady: Option<u64>,
    confirmed: usize,
    rejected: usize,
    events: u64,
    void: u64,
}

impl Report {
    /// Takes over what the log says.
    pub(super) fn count(&mut self, follower: &Follower) {
        self.confirmed = follower.folded.count(OrderStatus::Confirmed);
        self.rejected = follower.folded.count(OrderStatus::Rejected);
        self.events = follower.folded.events;
        self.void = follower.void;
    }

    /// Prints the table and what differs.
    pub(super) fn print(&self, differences: &[String]) {
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED);
        for (name, value) in self.rows(differences.len()) {
            table.add_row([name, value]);
        }
        if let Some(column) = table.column_mut(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        println!("\n{table}");
        for difference in differences.iter().take(DIFFERENCES_SHOWN) {
            println!("DIFFERENCE: {difference}");
        }
        if differences.len() > DIFFERENCES_SHOWN {
            println!("and {} more", differences.len() - DIFFERENCES_SHOWN);
        }
    }

    fn rows(&self, differences: usize) -> Vec<(String, String)> {
        let rate = self.rate;
        let left_out = self.left_out.not_a_product + self.left_out.not_a_sale;
        let row = |name: &str, value: String| (name.to_owned(), value);
        let placed = format!(
            "{} ({} real, {} single-line)",
            thousands(self.real + self.single),
            self.real,
            self.single
        );
        let mut rows = vec![
            row("orders placed", placed),
            row("confirmed", thousands(self.confirmed)),
            row("rejected", thousands(self.rejected)),
            row("returns of stock", thousands(self.returns)),
            row(
                "invoice lines left out (charges, corrections)",
                thousands(left_out),
            ),
            row(
                "events",
                thousands(usize::try_from(self.events).unwrap_or(usize::MAX)),
            ),
            row("void records", self.void.to_string()),
            row("attempts repeated with the same key", self.retries.to_string()),
            row(
                "full load: commands (orders acknowledged) per second",
                format!("{:.0}", self.per_second),
            ),
            row("full load: acknowledgement p50 / p99", self.full_load.summary()),
            row(
                "full load: until every line was reserved",
                millis(self.rest_after_load),
            ),
            row("full load: Redis / Postgres behind at its end", {
                format!("{} / {}", millis(self.behind_redis), millis(self.behind_postgres))
            }),
            (
                format!("{rate} orders/s: acknowledgement p50 / p99"),
                self.steady.summary(),
            ),
            (
                format!("{rate} orders/s: write to visible in Redis p50 / p99"),
                self.visible_redis.summary(),
            ),
            (
                format!("{rate} orders/s: write to visible in Postgres p50 / p99"),
                self.visible_postgres.summary(),
            ),
        ];
        if let (Some(full_load), Some(steady)) = (self.stolen_full_load, self.stolen_steady) {
            rows.push(row(
                "processor time stolen by the host, full load / steady",
                format!("{full_load} % / {steady} %"),
            ));
        }
        rows.push(row(
            "differences between what was sent, log, Postgres and Redis",
            differences.to_string(),
        ));
        rows
    }
}

fn millis(duration: Duration) -> String {
    format!("{:.0} ms", duration.as_secs_f64() * 1e3)
}

/// With a comma before each three digits.
fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .filter_map(|group| str::from_utf8(group).ok())
        .collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stolen_time_is_printed_where_the_system_says_it() {
        let shown = |report: &Report| {
            let rows = report.rows(0);
            let stolen = rows.into_iter().find(|(name, _)| name.contains("stolen"));
            stolen.map(|(_, value)| value)
        };
        let mut report = Report::default();
        assert_eq!(shown(&report), None);
        report.stolen_full_load = Some(3);
        report.stolen_steady = Some(1);
        assert_eq!(shown(&report).as_deref(), Some("3 % / 1 %"));
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(thousands(7), "7");
        assert_eq!(thousands(1_000), "1,000");
        assert_eq!(thousands(1_234_567), "1,234,567");
    }
}
