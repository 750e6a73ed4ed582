//! The `OpenAPI` document: made from the handlers, and from what they share.

use read_model::OrderView;
use serde::Serialize;
use service_kit::openapi::ProblemBody;
use utoipa::{IntoParams, IntoResponses, OpenApi, ToSchema};
use uuid::Uuid;

use super::{customers, orders, stock};

/// The `OpenAPI` document of the query service.
pub fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Tailwater query service",
        description = "Reads. A read that carries the Consistency-Token of an earlier answer is never older than that answer."
    ),
    paths(orders::order, customers::orders, stock::stock)
)]
struct Document;

/// The id of an order in a path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[allow(dead_code)]
pub(super) struct OrderPath {
    /// The order's id.
    id: Uuid,
}

/// A SKU in a path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[allow(dead_code)]
pub(super) struct StockPath {
    /// 1 to 64 of `[A-Za-z0-9._~-]`, not `.` or `..`.
    #[param(min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9._~-]{1,64}$")]
    sku: String,
}

/// A customer in a path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[allow(dead_code)]
pub(super) struct CustomerPath {
    /// 1 to 64 of `[A-Za-z0-9._~-]`, not `.` or `..`.
    #[param(min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9._~-]{1,64}$")]
    id: String,
}

/// Which of a customer's orders.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code)]
pub(super) struct CustomerQuery {
    /// Only orders of this status.
    status: Option<String>,
    /// Placed at this time or later, RFC 3339.
    from: Option<String>,
    /// Placed before this time, RFC 3339.
    to: Option<String>,
    /// Size of the page.
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<u32>,
    /// `next_cursor` of the page before, with the same customer and filters.
    cursor: Option<String>,
}

/// The request headers of every read.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[allow(dead_code)]
pub(super) struct ReadHeaders {
    /// Of an earlier answer: this read is never older than that.
    #[param(rename = "Consistency-Token")]
    consistency_token: Option<String>,
    /// `eventual` does not wait; `causal` (the default where there is a token) waits until a model is as far as the token.
    #[param(rename = "Consistency")]
    consistency: Option<String>,
    /// `wait=<seconds>`: how long to wait, at most 30; 2 by default.
    #[param(rename = "Prefer")]
    prefer: Option<String>,
    /// Answers 304 where the aggregate is still at that sequence.
    #[param(rename = "If-None-Match")]
    if_none_match: Option<String>,
    /// W3C trace context; the answer's `Trace-Id` is its trace id.
    traceparent: Option<String>,
    /// Diagnostic: `redis` or `postgres` restricts the read to that model.
    #[param(rename = "Tailwater-Model")]
    tailwater_model: Option<String>,
}

/// How any read can be refused.
#[derive(IntoResponses)]
#[allow(dead_code)]
pub(super) enum ReadProblems {
    /// A path id, header, query parameter, cursor or token is malformed.
    #[response(status = 400, content_type = "application/problem+json")]
    Malformed(#[to_schema] ProblemBody),
    /// The Accept header excludes JSON.
    #[response(status = 406, content_type = "application/problem+json")]
    NotAcceptable(#[to_schema] ProblemBody),
    /// No model is as far as the token within the wait, or none answers; Retry-After says when to ask again.
    #[response(status = 503, content_type = "application/problem+json")]
    Unavailable(#[to_schema] ProblemBody),
}

/// A page of a customer's orders.
#[derive(Serialize, ToSchema)]
#[allow(dead_code)]
pub(super) struct CustomerOrders {
    /// Newest first, without notes.
    orders: Vec<OrderView>,
    /// Where the next page begins; null on the last.
    next_cursor: Option<String>,
}
