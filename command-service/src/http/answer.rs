//! What the writers say, as responses. An answer says all of it itself, so it is the same whenever and wherever it is given.

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use domain::OrderStatus;
use eventlog::Positions;
use http::header::{CONTENT_TYPE, ETAG, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::Serialize;
use service_kit::headers::{self, names};
use service_kit::problem::PROBLEM_JSON;
use uuid::Uuid;

use super::Api;
use crate::engine::Answered;
use crate::shop::{Answer, Created, Key};

/// The body of an answer to a command that was carried out.
#[derive(Serialize)]
struct Body<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    order_id: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sku: Option<&'a str>,
    sequence: u64,
    command_id: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note_id: Option<Uuid>,
}

/// An answer's status and body.
pub(super) struct Shape {
    pub status: StatusCode,
    pub body: Bytes,
    media_type: &'static str,
    sequence: Option<u64>,
    /// The order that was created, or got a note.
    created_in: Option<Uuid>,
}

/// Gives an answer its shape.
pub(super) fn shape(answer: &Answer, command_id: Uuid) -> Shape {
    match answer {
        Answer::Applied {
            subject,
            created,
            sequence,
            status,
        } => {
            let (order_id, sku) = match subject {
                Key::Order(id) => (Some(*id), None),
                Key::Stock(sku) => (None, Some(sku.as_ref())),
            };
            let note_id = match created {
                Created::Note(id) => Some(*id),
                Created::Nothing | Created::Order => None,
            };
            let body = Body {
                order_id,
                sku,
                sequence: *sequence,
                command_id,
                status: status.map(OrderStatus::as_str),
                note_id,
            };
            let creates = *created != Created::Nothing;
            Shape {
                status: if creates {
                    StatusCode::CREATED
                } else {
                    StatusCode::OK
                },
                body: serde_json::to_vec(&body).unwrap_or_default().into(),
                media_type: "application/json",
                sequence: Some(*sequence),
                created_in: order_id.filter(|_| creates),
            }
        }
        Answer::Refused {
            status,
            sequence,
            problem,
        } => Shape {
            status: StatusCode::from_u16(*status).unwrap_or(StatusCode::CONFLICT),
            body: Bytes::copy_from_slice(problem.as_bytes()),
            media_type: PROBLEM_JSON,
            sequence: *sequence,
            created_in: None,
        },
    }
}

/// The response to a command that was answered; `seen` came with the request.
pub(super) fn respond(api: &Api, answered: &Answered, command_id: Uuid, mut seen: Positions) -> Response {
    seen.observe(answered.partition, answered.next_offset);
    let shape = shape(&answered.answer, command_id);
    let mut response = (shape.status, shape.body).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(shape.media_type));
    put(headers, names::CONSISTENCY_TOKEN, api.tokens.seal(&seen));
    if let Some(sequence) = shape.sequence {
        headers.insert(ETAG, headers::etag(sequence));
    }
    if let Some(order_id) = shape.created_in {
        let mut digits = Uuid::encode_buffer();
        let order_id = order_id.hyphenated().encode_lower(&mut digits);
        put(
            headers,
            LOCATION,
            [&*api.query_url, "/v1/orders/", order_id].concat(),
        );
    }
    if answered.replayed {
        headers.insert(names::IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
    }
    response
}

/// The response to a command that is durable and waits for its turn.
pub(super) fn accepted(api: &Api, command_id: Uuid, seen: &Positions) -> Response {
    let body = serde_json::json!({ "command_id": command_id, "state": "accepted" });
    let mut response = (StatusCode::ACCEPTED, body.to_string()).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(
        HeaderName::from_static("preference-applied"),
        HeaderValue::from_static("respond-async"),
    );
    put(headers, LOCATION, format!("/v1/commands/{command_id}"));
    put(headers, names::CONSISTENCY_TOKEN, api.tokens.seal(seen));
    response
}

fn put(headers: &mut HeaderMap, name: HeaderName, value: String) {
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(name, value);
    }
}
