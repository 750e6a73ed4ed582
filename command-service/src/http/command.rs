//! From a request's headers to a command's frame, and from the frame to a writer.

use std::sync::Arc;
use std::time::Duration;

use axum::response::Response;
use bytes::Bytes;
use domain::Command;
use eventlog::Positions;
use http::HeaderMap;
use http::request::Parts;
use schemas::ids;
use service_kit::headers::{self, EntityTags};
use service_kit::{Problem, TraceContext};
use uuid::Uuid;

use super::{Api, answer};
use crate::clock::now;
use crate::engine::{NotAnswered, Standing, Submission};
use crate::writer::{Expected, Request};

/// How long a caller waits for its answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// What a client should wait before it asks again, in seconds.
pub(super) const RETRY_AFTER_S: u32 = 1;

/// A command's frame: everything about it but what it wants.
pub(super) struct Frame {
    pub id: Uuid,
    fingerprint: [u8; 16],
    expected: Expected,
    /// What came with the request, and so what the command depends on.
    causes: Positions,
    traceparent: Arc<str>,
    /// `Prefer: respond-async`
    respond_async: bool,
}

impl Frame {
    /// Reads a request's headers. The path is the request's own, byte for byte: it is part of the command's id.
    pub async fn of(api: &Api, parts: &Parts, body: &Bytes) -> Result<Self, Problem> {
        let headers = &parts.headers;
        let key = headers::idempotency_key(headers)?;
        let caller = headers::caller(headers)?;
        let respond_async = headers::prefer(headers)?.respond_async;
        headers::consistency(headers)?;
        let (method, path) = (parts.method.as_str(), parts.uri.path());
        let trace = parts
            .extensions
            .get::<TraceContext>()
            .copied()
            .unwrap_or_else(|| TraceContext::of(headers));
        Ok(Self {
            id: ids::command_id(caller, method, path, key),
            fingerprint: ids::fingerprint(method, path, body),
            expected: headers::if_match(headers)?.map_or(Expected::Any, |tags| expected(&tags)),
            causes: causes(api, headers).await?,
            traceparent: trace.traceparent().into(),
            respond_async,
        })
    }

    /// Has the command decided, and answers; or has it kept durably, where the caller does not want to wait.
    pub async fn execute(self, api: &Api, command: Command) -> Result<Response, Problem> {
        let id = self.id;
        let request = Request {
            id,
            fingerprint: self.fingerprint,
            at: now(),
            expected: self.expected,
            causes: self.causes.encode(api.tokens.log()).into(),
            traceparent: Some(self.traceparent),
            source: None,
            command,
        };
        let submission = Submission {
            request: Box::new(request),
            respond_async: self.respond_async,
            is_step: false,
        };
        let decision = api.instance.submit(submission, ANSWER_TIMEOUT).await;
        match decision.map_err(problem)? {
            Standing::Accepted(_) => Ok(answer::accepted(api, id, &self.causes)),
            Standing::Answered(answered) => Ok(answer::respond(api, &answered, id, self.causes)),
        }
    }
}

fn expected(tags: &EntityTags) -> Expected {
    match tags {
        EntityTags::Any => Expected::Existing,
        EntityTags::List(tags) => Expected::OneOf(
            tags.iter()
                // `"07"` is not the tag that we gave out for 7.
                .filter(|tag| !tag.weak)
                .filter_map(|tag| {
                    tag.value
                        .parse::<u64>()
                        .ok()
                        .filter(|n| n.to_string() == tag.value)
                })
                .collect(),
        ),
    }
}

/// The positions of the request's token. One that is ours, and beyond the log's end, is not recorded.
async fn causes(api: &Api, headers: &HeaderMap) -> Result<Positions, Problem> {
    let Some(token) = headers::consistency_token(headers)? else {
        return Ok(Positions::new());
    };
    let positions = api
        .tokens
        .open(token)
        .map_err(|error| Problem::malformed_token(error.to_string()))?;
    if api.instance.covers(&positions).await.map_err(problem)? {
        Ok(positions)
    } else {
        Err(Problem::future_token(RETRY_AFTER_S))
    }
}

pub(super) fn problem(reason: NotAnswered) -> Problem {
    let detail = match reason {
        NotAnswered::Mismatch => return Problem::key_reused(),
        NotAnswered::Overloaded => "Too many commands are waiting; nothing was done.",
        NotAnswered::Unavailable => "The writer cannot take the command now.",
        NotAnswered::TimedOut => {
            "No answer came in time. The same request with the same Idempotency-Key tells what became of it."
        }
    };
    Problem::unavailable(detail, RETRY_AFTER_S)
}
