//! What every answer carries: the token that says how far it has seen, and where it came from.

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use service_kit::headers::names;
use service_kit::{Problem, ProblemKind, json};

use super::request::ReadRequest;
use crate::bugs::Bug;
use crate::cache::entry::Entry;
use crate::cache::policy::{Kind, LASTING, NO_STORE, SHARED, VALIDATE};
use crate::reads::Served;
use crate::watcher::covers;

/// There is no such order.
pub(super) const ORDER_NOT_FOUND: ProblemKind = ProblemKind {
    slug: "order-not-found",
    status: 404,
    title: "No such order",
    about: "No order has this id, or none was there at the time or sequence that was asked for, as of the answer's Consistency-Token. Send the token of the answer that created it to read what you wrote.",
};

/// Nobody has heard of the SKU.
pub(super) const STOCK_NOT_FOUND: ProblemKind = ProblemKind {
    slug: "stock-not-found",
    status: 404,
    title: "No such stock",
    about: "Nothing was ever received of this SKU, as of the answer's Consistency-Token.",
};

/// One aggregate: 200, 304, or 404.
pub(super) fn one(request: &ReadRequest<'_>, served: &Served, missing: &ProblemKind) -> Response {
    let entry = &served.entry;
    let (Some(version), Some(body)) = (&entry.version, &entry.json) else {
        let detail = match entry.kind {
            Kind::Past | Kind::Version => {
                "The read model has no such order, or none that had come so far by then."
            }
            _ => "The read model has none of this name.",
        };
        let problem = Problem::of(missing, detail).into_response();
        return finish(problem, request, served, NO_STORE);
    };
    let unchanged = request
        .if_none_match
        .as_ref()
        .is_some_and(|tags| tags.matches_weak(version.sequence));
    let mut response = if unchanged {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        json::respond_bytes(200, body.clone())
    };
    response.headers_mut().insert(header::ETAG, version.etag.clone());
    let caching = entry.kind.policy().cache_control;
    finish(response, request, served, caching)
}

/// A list or a statistic: always 200.
pub(super) fn many(request: &ReadRequest<'_>, served: &Served) -> Response {
    let body = served.entry.json.clone().unwrap_or_default();
    let response = json::respond_bytes(200, body);
    let caching = served.entry.kind.policy().cache_control;
    finish(response, request, served, caching)
}

/// A problem of a read: its token is the request's, as nothing else was seen.
pub(super) fn problem(problem: Problem, request: &ReadRequest<'_>) -> Response {
    let mut response = problem.into_response();
    let headers = response.headers_mut();
    let token = request.known.identity.key.seal(&request.token);
    if let Ok(token) = HeaderValue::from_str(&token) {
        headers.insert(names::CONSISTENCY_TOKEN, token);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(NO_STORE));
    response
}

/// Adds what every answer carries.
fn finish(
    mut response: Response,
    request: &ReadRequest<'_>,
    served: &Served,
    caching: &'static str,
) -> Response {
    let headers = response.headers_mut();
    put_token(headers, request, &served.entry);
    headers.insert(names::SERVED_FROM, HeaderValue::from_static(served.source.name()));
    let mut caching = caching;
    if caching == SHARED || caching == LASTING {
        // What one caller waited for is not what another one asks for.
        let vary = HeaderValue::from_static("consistency-token, consistency");
        headers.insert(header::VARY, vary);
        if request.token_text.is_some() || request.strong {
            caching = VALIDATE;
        }
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(caching));
    response
}

/// The token of what the caller had seen and what he sees now. It is sealed only where neither of the two has the other in it.
fn put_token(headers: &mut HeaderMap, request: &ReadRequest<'_>, entry: &Entry) {
    let token = match request.token_text {
        Some(text) if text.as_bytes() != entry.token.as_bytes() && !Bug::TokenNotMerged.is_in() => {
            if covers(&entry.seen, &request.token) {
                Ok(entry.token.clone())
            // Several tokens are not one, though they may be sent as one.
            } else if covers(&request.token, &entry.seen) && !text.contains(',') {
                HeaderValue::from_str(text)
            } else {
                let mut all = request.token.clone();
                all.merge(&entry.seen);
                HeaderValue::from_str(&request.known.identity.key.seal(&all))
            }
        }
        _ => Ok(entry.token.clone()),
    };
    if let Ok(token) = token {
        headers.insert(names::CONSISTENCY_TOKEN, token);
    }
}
