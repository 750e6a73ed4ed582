//! Whether a service can do its work, by what it depends on.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::response::{IntoResponse, Response};

use crate::{Problem, json, problem::kinds};

/// The part that is down until a service has started.
pub const START: &str = "start";

/// Shared by everything that can make a service unready. Ready once it has started, while nothing that it was told of is down.
#[derive(Clone, Debug)]
pub struct Health {
    parts: Arc<Mutex<BTreeMap<&'static str, Option<String>>>>,
}

impl Health {
    /// Of a service that starts: unready until somebody says that [`START`] is up, so that nobody is told that it is ready in the
    /// moment before it knows what it has to wait for.
    pub fn starting() -> Self {
        let health = Self {
            parts: Arc::default(),
        };
        health.down(START, "it is starting");
        health
    }

    /// A part that the service needs is there.
    pub fn up(&self, part: &'static str) {
        self.set(part, None);
    }

    /// A part that the service needs is not there.
    pub fn down(&self, part: &'static str, reason: impl Into<String>) {
        self.set(part, Some(reason.into()));
    }

    fn set(&self, part: &'static str, reason: Option<String>) {
        self.parts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(part, reason);
    }

    /// What is down, and why.
    pub fn reasons(&self) -> Vec<String> {
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts
            .iter()
            .filter_map(|(part, reason)| Some(format!("{part}: {}", reason.as_ref()?)))
            .collect()
    }

    /// Whether nothing is down.
    pub fn is_ready(&self) -> bool {
        self.parts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .all(Option::is_none)
    }

    /// The answer of `/health/ready`.
    pub(crate) fn respond(&self) -> Response {
        let reasons = self.reasons();
        if reasons.is_empty() {
            json::respond(200, &serde_json::json!({"status": "ready"}))
        } else {
            Problem::of(&kinds::NOT_READY, reasons.join("; "))
                .with_retry_after(1)
                .into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_once_it_has_started_while_nothing_is_down() {
        let health = Health::starting();
        assert_eq!(health.reasons(), ["start: it is starting"]);
        assert_eq!(health.respond().status(), 503);
        health.up(START);
        assert!(health.is_ready());
        health.down("kafka", "no broker answers");
        health.up("postgres");
        assert!(!health.is_ready());
        assert_eq!(health.reasons(), ["kafka: no broker answers"]);
        assert_eq!(health.respond().status(), 503);
        health.up("kafka");
        assert_eq!(health.respond().status(), 200);
    }
}
