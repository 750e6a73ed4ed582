//! What other services ask, outside the API: the bodies are in `eventlog::internal`, the bearer in `service_kit::auth`.
//!
//! Any instance takes any request, as with commands. What it does not do: limit rates; what waits is bounded by the writers.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::post;
use eventlog::TopicPartition;
use eventlog::internal::{self, AggregateQuestion};
use http::HeaderMap;
use service_kit::auth::{ServiceKey, services_only};
use service_kit::json::{self, StrictJson, Violations};
use service_kit::{Problem, headers};

use super::Api;
use super::command::RETRY_AFTER_S;
use crate::engine::NotAnswered;
use crate::shop::Key;

/// How long a question may take where nobody says.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The longest that a question may take.
const TIMEOUT_MAX: Duration = Duration::from_secs(30);

/// The paths for services.
pub fn routes(api: Arc<Api>, key: ServiceKey) -> Router {
    Router::new()
        .route(internal::PROOFS, post(prove))
        .route(internal::AGGREGATES, post(read))
        .route_layer(from_fn_with_state(key, services_only))
        .with_state(api)
}

/// Proves how far partitions' histories go.
async fn prove(
    State(api): State<Arc<Api>>,
    StrictJson { parts, value, .. }: StrictJson<Vec<TopicPartition>>,
) -> Result<Response, Problem> {
    let timeout = timeout(&parts.headers)?;
    let mut violations = Violations::new();
    violations.check(
        value.len() <= internal::PARTITIONS_MAX,
        String::new,
        "too many partitions",
    );
    for (index, partition) in value.iter().enumerate() {
        violations.check(
            (0..api.instance.partitions()).contains(&partition.partition),
            || format!("/{index}/partition"),
            "there is no such partition",
        );
    }
    violations.finish()?;
    let proven = api.instance.prove(&value, timeout).await.map_err(problem)?;
    Ok(json::respond(200, &proven))
}

/// Reads an aggregate as its writer has folded it.
async fn read(
    State(api): State<Arc<Api>>,
    StrictJson { parts, value, .. }: StrictJson<AggregateQuestion>,
) -> Result<Response, Problem> {
    let timeout = timeout(&parts.headers)?;
    let mut violations = Violations::new();
    violations.check(
        Key::of(value.topic, &value.key).is_some(),
        || "/key".to_owned(),
        "not the key of an aggregate of that topic",
    );
    violations.check(value.at_least >= 0, || "/at_least".to_owned(), "below 0");
    violations.finish()?;
    let answer = api.instance.read(&value, timeout).await.map_err(problem)?;
    Ok(json::respond_bytes(200, answer))
}

/// How long whoever asks waits.
fn timeout(headers: &HeaderMap) -> Result<Duration, Problem> {
    let name = http::HeaderName::from_static(internal::TIMEOUT_MS);
    let Some(text) = headers::single(headers, &name)? else {
        return Ok(TIMEOUT);
    };
    let asked = text.parse().map(Duration::from_millis);
    asked
        .map(|asked| asked.min(TIMEOUT_MAX))
        .map_err(|_| Problem::malformed_header(internal::TIMEOUT_MS, "not a number of milliseconds"))
}

fn problem(reason: NotAnswered) -> Problem {
    let detail = match reason {
        NotAnswered::Overloaded => "Too many questions are waiting.",
        NotAnswered::TimedOut => "No answer came in time.",
        NotAnswered::Unavailable | NotAnswered::Mismatch => "The writer cannot answer now.",
    };
    Problem::unavailable(detail, RETRY_AFTER_S)
}
