//! The `OpenAPI` document: made from the handlers, and from what they share.

use read_model::OrderView;
use serde::Serialize;
use service_kit::openapi::{FieldErrorBody, ProblemBody};
use utoipa::{IntoParams, IntoResponses, OpenApi, ToSchema};
use uuid::Uuid;

use super::{customers, history, orders, positions, products, stock, streams};

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
    paths(
        orders::order,
        history::history,
        customers::orders,
        stock::stock,
        products::sales,
        products::top,
        positions::positions,
        streams::order_events,
        streams::feed
    ),
    components(schemas(ProblemBody, FieldErrorBody))
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

/// Which version of an order: at most one of the two; that of now by default.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code)]
pub(super) struct OrderQuery {
    /// After its event of this sequence. What it was then never changes.
    #[param(minimum = 0)]
    at_sequence: Option<u64>,
    /// After everything that happened up to this time, RFC 3339.
    #[param(format = DateTime)]
    as_of: Option<String>,
}

/// Which positions.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code)]
pub(super) struct PositionsQuery {
    /// The name of an event topic, as in `shop.orders.events`.
    topic: String,
    /// Only the latest are known.
    #[param(pattern = "^latest$", default = "latest")]
    at: Option<String>,
}

/// Which days of a SKU's sales; all by default.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code)]
pub(super) struct SalesQuery {
    /// The first UTC day, `YYYY-MM-DD`.
    #[param(format = Date)]
    from: Option<String>,
    /// The last UTC day, `YYYY-MM-DD`, not before the first.
    #[param(format = Date)]
    to: Option<String>,
}

/// Whose best sellers.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code)]
pub(super) struct TopQuery {
    /// A UTC day, `YYYY-MM-DD`, or a month, `YYYY-MM`.
    #[param(pattern = "^[0-9]{4}-(0[1-9]|1[0-2])(-(0[1-9]|[12][0-9]|3[01]))?$")]
    period: String,
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
    #[param(inline)]
    status: Option<Status>,
    /// Placed at this time or later, RFC 3339.
    #[param(format = DateTime)]
    from: Option<String>,
    /// Placed before this time, RFC 3339.
    #[param(format = DateTime)]
    to: Option<String>,
    /// Size of the page.
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<u32>,
    /// `next_cursor` of the page before, with the same customer and filters.
    #[param(pattern = "^[A-Za-z0-9_-]{44}$")]
    cursor: Option<String>,
}

/// The request headers of every read.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[allow(dead_code)]
pub(super) struct ReadHeaders {
    /// Of an earlier answer, or of several with commas between them: this read is never older than those.
    #[param(
        required = false,
        rename = "Consistency-Token",
        pattern = "^[A-Za-z0-9_-]{32,}( *, *[A-Za-z0-9_-]{32,})*$"
    )]
    consistency_token: String,
    /// `eventual` (the default without a token) does not wait; `causal` (the default where there is a token) waits until the answer
    /// is as far as the token; `strong` asks the writers first, so that it is as far as everything acknowledged before the read.
    #[param(required = false, rename = "Consistency", inline)]
    consistency: Level,
    /// `wait=<seconds>`: how long to wait, at most 30; 2 by default.
    #[param(required = false, rename = "Prefer")]
    prefer: String,
    /// W3C trace context; the answer's `Trace-Id` is its trace id.
    #[param(required = false)]
    traceparent: String,
}

/// The request headers of reads of one aggregate.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[allow(dead_code)]
pub(super) struct AggregateHeaders {
    /// Answers 304 where the aggregate is still at that sequence.
    #[param(
        required = false,
        rename = "If-None-Match",
        pattern = r#"^(\*|(W/)?"[!#-~]*"(, *(W/)?"[!#-~]*")*)$"#,
        example = "\"3\""
    )]
    if_none_match: String,
    /// Diagnostic: `redis` or `postgres` restricts the read to that model.
    #[param(required = false, rename = "Tailwater-Model", inline)]
    tailwater_model: ModelName,
}

/// The statuses of an order.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[allow(dead_code)]
pub(super) enum Status {
    Pending,
    Confirmed,
    Rejected,
    Paid,
    Shipped,
    Cancelled,
    Expired,
}

/// How fresh a read must be.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[allow(dead_code)]
pub(super) enum Level {
    Eventual,
    Causal,
    Strong,
}

/// The models that a read can be restricted to.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[allow(dead_code)]
pub(super) enum ModelName {
    Redis,
    Postgres,
}

/// The request headers of a stream.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[allow(dead_code)]
pub(super) struct StreamHeaders {
    /// The id of the last event that came: the stream goes on right behind it.
    #[param(rename = "Last-Event-ID")]
    last_event_id: Option<String>,
    /// Without Last-Event-ID: the stream begins behind what this covers, in the partitions that it names.
    #[param(rename = "Consistency-Token")]
    consistency_token: Option<String>,
    /// W3C trace context; the answer's `Trace-Id` is its trace id.
    traceparent: Option<String>,
}

/// A server-sent event.
#[derive(ToSchema)]
#[allow(dead_code)]
pub(super) struct StreamEvent {
    /// A token: where the stream stands after it.
    id: String,
    /// The record's short name, or `dropped`.
    event: String,
    /// JSON: one element of the order's history with its `order_id`; of `dropped`, a problem.
    data: String,
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
    /// The caller has sent as many requests as it may.
    #[response(status = 429, content_type = "application/problem+json", headers(("Retry-After" = u32, description = "Seconds.")))]
    TooMany(#[to_schema] ProblemBody),
    /// No model is as far as the token within the wait, or none answers; Retry-After says when to ask again.
    #[response(status = 503, content_type = "application/problem+json", headers(("Retry-After" = u32, description = "Seconds.")))]
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
