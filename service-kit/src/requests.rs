//! How long requests took: counted by route, method and status in buckets of our own.
//!
//! The recorder's histograms keep every single value until somebody asks or a timer comes round, which costs a fast answer more than
//! it takes to make. Here a request costs two additions, and what is shown is the same.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use rustc_hash::FxHashMap;

use crate::telemetry::SECONDS;

/// Latency of HTTP requests, whose count is the number of requests.
const NAME: &str = "tailwater_http_request_seconds";

/// One combination of method and status of a route.
struct Handle {
    method: &'static str,
    status: u16,
    took: Took,
}

/// How many requests took how long.
#[derive(Default)]
struct Took {
    /// Up to each bound of [`SECONDS`] and above the one before, and those above all.
    buckets: [AtomicU64; SECONDS.len() + 1],
    sum_ns: AtomicU64,
}

impl Took {
    fn record(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = SECONDS.partition_point(|bound| *bound < seconds);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.sum_ns.fetch_add(ns, Ordering::Relaxed);
    }
}

/// All of them, by route. Looking one up takes a shared lock and a look at a short list.
#[derive(Default)]
pub(crate) struct Requests(RwLock<FxHashMap<String, Vec<Handle>>>);

impl std::fmt::Debug for Requests {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Requests")
    }
}

impl Requests {
    /// A request was answered.
    pub fn record(&self, route: &str, method: &'static str, status: u16, took: Duration) {
        let find = |handles: &Vec<Handle>| {
            let known = handles
                .iter()
                .find(|known| known.method == method && known.status == status)?;
            known.took.record(took);
            Some(())
        };
        if self
            .0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(route)
            .and_then(find)
            .is_some()
        {
            return;
        }
        let mut routes = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let handles = routes.entry(route.to_owned()).or_default();
        // Another one may have come in between.
        if find(handles).is_none() {
            let handle = Handle {
                method,
                status,
                took: Took::default(),
            };
            handle.took.record(took);
            handles.push(handle);
        }
    }

    /// In Prometheus' text format. Routes are ours, so nothing needs escaping.
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a text cannot fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        let routes = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if routes.is_empty() {
            return Ok(());
        }
        writeln!(text, "# HELP {NAME} HTTP requests by route, method and status.")?;
        writeln!(text, "# TYPE {NAME} histogram")?;
        for (route, handles) in &*routes {
            for Handle { method, status, took } in handles {
                let labels = format!(
                    "http_route=\"{route}\",http_request_method=\"{method}\",http_response_status_code=\"{status}\""
                );
                let mut count = 0;
                let bounds = SECONDS.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
                for (bucket, bound) in took.buckets.iter().zip(bounds) {
                    count += bucket.load(Ordering::Relaxed);
                    writeln!(text, "{NAME}_bucket{{{labels},le=\"{bound}\"}} {count}")?;
                }
                let sum = Duration::from_nanos(took.sum_ns.load(Ordering::Relaxed));
                writeln!(text, "{NAME}_sum{{{labels}}} {}", sum.as_secs_f64())?;
                writeln!(text, "{NAME}_count{{{labels}}} {count}")?;
            }
        }
        writeln!(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_shown_as_a_histogram() {
        let requests = Requests::default();
        assert_eq!(requests.render(), "");
        for ms in [0, 1, 2, 100_000] {
            requests.record("/v1/things/{id}", "GET", 200, Duration::from_millis(ms));
        }
        requests.record("/v1/things/{id}", "GET", 404, Duration::from_millis(1));
        let text = requests.render();
        let labels =
            "http_route=\"/v1/things/{id}\",http_request_method=\"GET\",http_response_status_code=\"200\"";
        for line in [
            format!("# TYPE {NAME} histogram"),
            format!("{NAME}_bucket{{{labels},le=\"0.0001\"}} 1"),
            format!("{NAME}_bucket{{{labels},le=\"0.001\"}} 2"),
            format!("{NAME}_bucket{{{labels},le=\"30\"}} 3"),
            format!("{NAME}_bucket{{{labels},le=\"+Inf\"}} 4"),
            format!("{NAME}_count{{{labels}}} 4"),
            format!("{NAME}_sum{{{labels}}} 100.003"),
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
