//! What every answer carries: the token that says how far it has seen, and where it came from.

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use eventlog::Positions;
use http::{HeaderValue, StatusCode, header};
use read_model::Document;
use service_kit::headers::{etag, names};
use service_kit::{Problem, ProblemKind, json, problem::PROBLEM_JSON};

use super::request::ReadRequest;
use crate::models::Model;

/// There is no such order.
pub(super) const ORDER_NOT_FOUND: ProblemKind = ProblemKind {
    slug: "order-not-found",
    status: 404,
    title: "No such order",
    about: "No order has this id, as of the answer's Consistency-Token. Send the token of the answer that created it to read what you wrote.",
};

/// Nobody has heard of the SKU.
pub(super) const STOCK_NOT_FOUND: ProblemKind = ProblemKind {
    slug: "stock-not-found",
    status: 404,
    title: "No such stock",
    about: "Nothing was ever received of this SKU, as of the answer's Consistency-Token.",
};

/// One aggregate: 200, 304, or 404.
pub(super) fn one(
    request: &ReadRequest<'_>,
    model: Model,
    mut seen: Positions,
    document: Option<Document>,
    missing: &ProblemKind,
) -> Response {
    let Some(Document {
        sequence,
        causes,
        json,
    }) = document
    else {
        let problem = Problem::of(missing, "The read model has none of this name.").into_response();
        return with_token(problem, request, Some(model), &seen);
    };
    seen.merge(&causes);
    let unchanged = request
        .if_none_match
        .as_ref()
        .is_some_and(|tags| tags.matches_weak(sequence));
    let mut response = if unchanged {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        json::respond_bytes(200, Bytes::from(json))
    };
    response.headers_mut().insert(header::ETAG, etag(sequence));
    with_token(response, request, Some(model), &seen)
}

/// A problem of a read: its token is the request's, as nothing else was seen.
pub(super) fn problem(problem: Problem, request: &ReadRequest<'_>) -> Response {
    with_token(problem.into_response(), request, None, &Positions::new())
}

/// Adds what every answer carries.
pub(super) fn with_token(
    mut response: Response,
    request: &ReadRequest<'_>,
    model: Option<Model>,
    seen: &Positions,
) -> Response {
    let mut all = request.token.clone();
    all.merge(seen);
    let is_problem = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|media| media == PROBLEM_JSON);
    let headers = response.headers_mut();
    if let Ok(token) = HeaderValue::from_str(&request.identity.key.seal(&all)) {
        headers.insert(names::CONSISTENCY_TOKEN, token);
    }
    if let Some(model) = model {
        headers.insert(names::SERVED_FROM, HeaderValue::from_static(model.name()));
    }
    let caching = if is_problem {
        "no-store"
    } else {
        "private, no-cache"
    };
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(caching));
    response
}
