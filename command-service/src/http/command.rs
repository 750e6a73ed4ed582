//! From a request's headers to a command's frame, from the frame to a writer, from its answer to a response.

use std::sync::Arc;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use domain::Command;
use eventlog::Positions;
use http::header::{CONTENT_TYPE, ETAG, LOCATION};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use schemas::ids;
use serde::Serialize;
use service_kit::headers::{self, EntityTags, names};
use service_kit::problem::PROBLEM_JSON;
use service_kit::{Problem, TraceContext};
use uuid::Uuid;

use super::Api;
use crate::clock::now;
use crate::engine::{Answered, NotAnswered};
use crate::shop::Answer;
use crate::writer::{Expected, Request};

/// How long a caller waits for its answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// What a client should wait before it asks again, in seconds.
const RETRY_AFTER_S: u32 = 1;

/// A command's frame: everything about it but what it wants.
pub(super) struct Frame {
    pub id: Uuid,
    fingerprint: [u8; 16],
    expected: Expected,
    /// What came with the request, and so what the command depends on.
    causes: Positions,
    traceparent: Arc<str>,
}

/// What a command's answer names beside the sequence.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Subject {
    OrderId(Uuid),
    Sku(String),
}

/// A body as the contract has it.
#[derive(Serialize)]
struct Body {
    #[serde(flatten)]
    subject: Subject,
    sequence: u64,
    command_id: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note_id: Option<Uuid>,
}

/// How a command's answer becomes a response.
pub(super) struct Shape {
    pub subject: Subject,
    pub note_id: Option<Uuid>,
    pub success: StatusCode,
    pub location: Option<String>,
}

impl Frame {
    /// Reads a request's headers. The path is the request's own, byte for byte: it is part of the command's id.
    pub fn of(api: &Api, parts: &Parts, body: &Bytes) -> Result<Self, Problem> {
        let headers = &parts.headers;
        let key = headers::idempotency_key(headers)?;
        let caller = headers::caller(headers)?;
        headers::prefer(headers)?;
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
            causes: causes(api, headers)?,
            traceparent: trace.traceparent().into(),
        })
    }

    /// Has the command decided, and answers.
    pub async fn execute(self, api: &Api, command: Command, shape: Shape) -> Result<Response, Problem> {
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
        let answered = api
            .writers
            .submit(request, ANSWER_TIMEOUT)
            .await
            .map_err(problem)?;
        let mut seen = self.causes;
        seen.observe(answered.partition, answered.next_offset);
        Ok(respond(&answered, id, shape, &api.tokens.seal(&seen)))
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

/// The positions of the request's token. One that is ours, and beyond what the writers have folded, is not recorded.
fn causes(api: &Api, headers: &HeaderMap) -> Result<Positions, Problem> {
    let Some(token) = headers::consistency_token(headers)? else {
        return Ok(Positions::new());
    };
    let positions = api
        .tokens
        .open(token)
        .map_err(|error| Problem::malformed_token(error.to_string()))?;
    if api.writers.covers(&positions) {
        Ok(positions)
    } else {
        Err(Problem::future_token(RETRY_AFTER_S))
    }
}

fn problem(reason: NotAnswered) -> Problem {
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

fn respond(answered: &Answered, command_id: Uuid, shape: Shape, token: &str) -> Response {
    let (status, media_type, body, sequence) = match &answered.answer {
        Answer::Applied { sequence, status } => {
            let body = Body {
                subject: shape.subject,
                sequence: *sequence,
                command_id,
                status: status.map(domain::OrderStatus::as_str),
                note_id: shape.note_id,
            };
            let body = serde_json::to_vec(&body).unwrap_or_default();
            (
                shape.success,
                "application/json",
                Bytes::from(body),
                Some(*sequence),
            )
        }
        Answer::Refused {
            status,
            sequence,
            problem,
        } => {
            let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::CONFLICT);
            (
                status,
                PROBLEM_JSON,
                Bytes::copy_from_slice(problem.as_bytes()),
                *sequence,
            )
        }
    };
    let mut response = (status, body).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    put(headers, names::CONSISTENCY_TOKEN, token);
    if let Some(sequence) = sequence {
        headers.insert(ETAG, headers::etag(sequence));
    }
    if let Some(location) = shape.location.filter(|_| status == StatusCode::CREATED) {
        put(headers, LOCATION, &location);
    }
    if answered.replayed {
        headers.insert(names::IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
    }
    response
}

fn put(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
