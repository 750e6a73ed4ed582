//! The OpenAPI document: made from the handlers, and from what they share.

use serde::Serialize;
use service_kit::openapi::{FieldErrorBody, ProblemBody};
use utoipa::{IntoParams, IntoResponses, OpenApi, ToSchema};
use uuid::Uuid;

use super::{orders, outcomes, stock};

/// The OpenAPI document of the command service.
pub fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Tailwater command service",
        description = "Writes. Each is decided once, recorded in the log, and answered when its record is effective."
    ),
    paths(
        orders::place,
        orders::pay,
        orders::ship,
        orders::cancel,
        orders::add_note,
        stock::receive,
        stock::adjust,
        outcomes::outcome
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

/// A SKU in a path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[allow(dead_code)]
pub(super) struct StockPath {
    /// 1 to 64 of `[A-Za-z0-9._~-]`, not `.` or `..`.
    #[param(min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9._~-]{1,64}$")]
    sku: String,
}

/// The id of a command in a path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[allow(dead_code)]
pub(super) struct CommandPath {
    /// The command's id, as its answer named it.
    command_id: Uuid,
}

/// What a look-up can be answered instead.
#[derive(IntoResponses)]
#[allow(dead_code)]
pub(super) enum Unknown {
    /// The id is no UUID.
    #[response(status = 400, content_type = "application/problem+json")]
    Malformed(#[to_schema] ProblemBody),
    /// No such command.
    #[response(status = 404, content_type = "application/problem+json")]
    NotFound(#[to_schema] ProblemBody),
    /// The Accept header excludes JSON.
    #[response(status = 406, content_type = "application/problem+json")]
    NotAcceptable(#[to_schema] ProblemBody),
    /// The caller has sent as many requests as it may.
    #[response(status = 429, content_type = "application/problem+json", headers(("Retry-After" = u32, description = "Seconds.")))]
    TooMany(#[to_schema] ProblemBody),
    /// Ask again after Retry-After.
    #[response(status = 503, content_type = "application/problem+json", headers(("Retry-After" = u32, description = "Seconds.")))]
    Unavailable(#[to_schema] ProblemBody),
}

/// The answer to a command that waits for its turn.
#[derive(Serialize, ToSchema)]
#[allow(dead_code)]
pub(super) struct Accepted {
    command_id: Uuid,
    /// `accepted`
    state: String,
}

/// The request headers of every command.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[allow(dead_code)]
pub(super) struct CommandHeaders {
    /// Names the command: the same key and body give the same answer, however often and on whichever instance.
    #[param(
        rename = "Idempotency-Key",
        min_length = 1,
        max_length = 255,
        pattern = "^[!-~]{1,255}$"
    )]
    idempotency_key: String,
    /// The sequence that the aggregate must have, in quotes.
    #[param(
        required = false,
        rename = "If-Match",
        pattern = r#"^(\*|(W/)?"[!#-~]*"(, *(W/)?"[!#-~]*")*)$"#,
        example = "\"3\""
    )]
    if_match: String,
    /// `respond-async`: answered 202 once the command is durable; `Location` tells where its outcome will be.
    #[param(required = false, rename = "Prefer")]
    prefer: String,
    /// What the caller has seen (tokens of earlier answers, with commas between them): recorded as the causes of the event.
    #[param(
        required = false,
        rename = "Consistency-Token",
        pattern = "^[A-Za-z0-9_-]{32,}( *, *[A-Za-z0-9_-]{32,})*$"
    )]
    consistency_token: String,
}

/// The answer to a command on an order.
#[derive(Serialize, ToSchema)]
#[allow(dead_code)]
pub(super) struct OrderAnswer {
    order_id: Uuid,
    /// The order's version after the command; `ETag` repeats it.
    sequence: u64,
    command_id: Uuid,
    /// The order's status after the command.
    status: String,
}

/// The answer to a note on an order.
#[derive(Serialize, ToSchema)]
#[allow(dead_code)]
pub(super) struct NoteAnswer {
    order_id: Uuid,
    /// The order's version after the command; `ETag` repeats it.
    sequence: u64,
    command_id: Uuid,
    /// The order's status after the command.
    status: String,
    note_id: Uuid,
}

/// The answer to a command on stock.
#[derive(Serialize, ToSchema)]
#[allow(dead_code)]
pub(super) struct StockAnswer {
    sku: String,
    /// The stock's version after the command; `ETag` repeats it.
    sequence: u64,
    command_id: Uuid,
}

/// What every command can be answered instead.
#[derive(IntoResponses)]
#[allow(dead_code)]
pub(super) enum Refusals {
    /// The command is durable and waits for its turn; only with `Prefer: respond-async`.
    #[response(status = 202, headers(
        ("Location" = String, description = "Where its outcome will be, on this service."),
        ("Consistency-Token" = String),
        ("Preference-Applied" = String),
        ("Trace-Id" = String)
    ))]
    Accepted(#[to_schema] Accepted),
    /// Not JSON, or a malformed path, header or token.
    #[response(status = 400, content_type = "application/problem+json")]
    Malformed(#[to_schema] ProblemBody),
    /// No such aggregate.
    #[response(status = 404, content_type = "application/problem+json")]
    NotFound(#[to_schema] ProblemBody),
    /// The Accept header excludes JSON.
    #[response(status = 406, content_type = "application/problem+json")]
    NotAcceptable(#[to_schema] ProblemBody),
    /// The domain refuses it.
    #[response(status = 409, content_type = "application/problem+json")]
    Conflict(#[to_schema] ProblemBody),
    /// If-Match names another sequence.
    #[response(status = 412, content_type = "application/problem+json")]
    PreconditionFailed(#[to_schema] ProblemBody),
    /// Over 256 KiB.
    #[response(status = 413, content_type = "application/problem+json")]
    TooLarge(#[to_schema] ProblemBody),
    /// Not declared as JSON.
    #[response(status = 415, content_type = "application/problem+json")]
    UnsupportedMediaType(#[to_schema] ProblemBody),
    /// JSON that is not the request's schema, or a key used with another body.
    #[response(status = 422, content_type = "application/problem+json")]
    Invalid(#[to_schema] ProblemBody),
    /// The caller has sent as many requests as it may.
    #[response(status = 429, content_type = "application/problem+json", headers(("Retry-After" = u32, description = "Seconds.")))]
    TooMany(#[to_schema] ProblemBody),
    /// Send the same request again after Retry-After.
    #[response(status = 503, content_type = "application/problem+json", headers(("Retry-After" = u32, description = "Seconds.")))]
    Unavailable(#[to_schema] ProblemBody),
}
