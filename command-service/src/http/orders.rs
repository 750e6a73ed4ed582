//! Writes to orders.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use domain::OrderCommand;
use schemas::ids;
use schemas::orders::PlacedLine;
use serde::Deserialize;
use service_kit::Problem;
use service_kit::json::{StrictJson, Violations};
use service_kit::path::{self, Params};
use utoipa::ToSchema;
use uuid::Uuid;

use super::Api;
use super::command::Frame;

const LINES_MAX: usize = 1_000;
const QUANTITY_MAX: i64 = 1_000_000;
const PRICE_MINOR_MAX: i64 = 1_000_000_000;
const TEXT_CHARS_MAX: usize = 4_000;

/// What a customer orders.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PlaceOrder {
    /// 1 to 64 of `[A-Za-z0-9._~-]`, not `.` or `..`.
    #[schema(min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9._~-]{1,64}$")]
    customer_id: String,
    /// ISO 4217.
    #[schema(pattern = "^[A-Z]{3}$")]
    currency: String,
    #[schema(min_items = 1, max_items = 1000)]
    lines: Vec<OrderLine>,
}

/// One line of an order.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OrderLine {
    /// 1 to 64 of `[A-Za-z0-9._~-]`, not `.` or `..`.
    #[schema(min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9._~-]{1,64}$")]
    sku: String,
    #[schema(minimum = 1, maximum = 1_000_000)]
    quantity: i64,
    /// In minor units of the order's currency.
    #[schema(minimum = 0, maximum = 1_000_000_000)]
    unit_price_minor: i64,
}

/// A payment in full.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PayOrder {
    /// The order's total.
    #[schema(minimum = 0)]
    amount_minor: i64,
    #[schema(min_length = 1, max_length = 4000)]
    reference: String,
}

/// How an order left.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ShipOrder {
    #[schema(min_length = 1, max_length = 4000)]
    carrier: String,
    #[schema(min_length = 1, max_length = 4000)]
    tracking_code: String,
}

/// Why an order is cancelled.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CancelOrder {
    #[schema(min_length = 1, max_length = 4000)]
    reason: String,
}

/// A note on an order.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AddNote {
    #[schema(min_length = 1, max_length = 4000)]
    author: String,
    #[schema(min_length = 1, max_length = 4000)]
    text: String,
    /// The note that this one answers.
    #[serde(default)]
    reply_to: Option<Uuid>,
}

/// Notes that a text is not 1 to 4,000 characters.
pub(super) fn check_text(violations: &mut Violations, pointer: &str, text: &str) {
    let chars = text.chars().take(TEXT_CHARS_MAX + 1).count();
    let detail = "must have 1 to 4000 characters";
    violations.check(
        (1..=TEXT_CHARS_MAX).contains(&chars),
        || pointer.to_owned(),
        detail,
    );
}

impl PlaceOrder {
    fn check(&self) -> Result<(), Problem> {
        let mut violations = Violations::new();
        let names = "must be 1 to 64 of A-Z a-z 0-9 . _ ~ - (and not . or ..)";
        violations.check(
            path::is_name(&self.customer_id),
            || "/customer_id".to_owned(),
            names,
        );
        let iso = self.currency.len() == 3 && self.currency.bytes().all(|byte| byte.is_ascii_uppercase());
        violations.check(
            iso,
            || "/currency".to_owned(),
            "must be an ISO 4217 code: three capital letters",
        );
        let count = (1..=LINES_MAX).contains(&self.lines.len());
        violations.check(count, || "/lines".to_owned(), "must have 1 to 1000 lines");
        for (n, line) in self.lines.iter().enumerate().take(LINES_MAX) {
            violations.check(path::is_name(&line.sku), || format!("/lines/{n}/sku"), names);
            violations.check(
                (1..=QUANTITY_MAX).contains(&line.quantity),
                || format!("/lines/{n}/quantity"),
                "must be 1 to 1000000",
            );
            violations.check(
                (0..=PRICE_MINOR_MAX).contains(&line.unit_price_minor),
                || format!("/lines/{n}/unit_price_minor"),
                "must be 0 to 1000000000",
            );
        }
        violations.finish()?;
        let total = self.lines.iter().try_fold(0_i64, |sum, line| {
            sum.checked_add(line.quantity.checked_mul(line.unit_price_minor)?)
        });
        let mut violations = Violations::new();
        violations.check(
            total.is_some(),
            || "/lines".to_owned(),
            "the total must fit 64 bits",
        );
        violations.finish()
    }
}

/// Places an order. It is `pending` until each line's stock is reserved.
#[utoipa::path(post, path = "/v1/orders", tag = "orders", request_body = PlaceOrder,
    params(super::openapi::CommandHeaders),
    responses((status = 201, body = super::openapi::OrderAnswer, headers(
        ("ETag" = String, description = "The sequence, in quotes."),
        ("Location" = String, description = "The order, on the query service."),
        ("Consistency-Token" = String, description = "Send it with reads that must show this."),
        ("Trace-Id" = String))), super::openapi::Refusals))]
pub(super) async fn place(
    State(api): State<Arc<Api>>,
    StrictJson { parts, value, raw }: StrictJson<PlaceOrder>,
) -> Result<Response, Problem> {
    let frame = Frame::of(&api, &parts, &raw).await?;
    value.check()?;
    let order_id = ids::created_id(frame.id, "order");
    let lines = value
        .lines
        .into_iter()
        .map(|line| PlacedLine {
            sku: line.sku,
            quantity: line.quantity,
            unit_price_minor: line.unit_price_minor,
        })
        .collect();
    let command = OrderCommand::Place {
        order_id,
        customer_id: value.customer_id,
        currency: value.currency,
        lines,
    };
    frame.execute(&api, command.into()).await
}

/// Pays a confirmed order in full.
#[utoipa::path(post, path = "/v1/orders/{id}/payments", tag = "orders", request_body = PayOrder,
    params(super::openapi::OrderPath, super::openapi::CommandHeaders),
    responses((status = 200, body = super::openapi::OrderAnswer, headers(
        ("ETag" = String, description = "The sequence, in quotes."),
        ("Consistency-Token" = String, description = "Send it with reads that must show this."),
        ("Trace-Id" = String))), super::openapi::Refusals))]
pub(super) async fn pay(
    State(api): State<Arc<Api>>,
    Params(id): Params<String>,
    StrictJson { parts, value, raw }: StrictJson<PayOrder>,
) -> Result<Response, Problem> {
    let order_id = path::uuid("order id", &id)?;
    let frame = Frame::of(&api, &parts, &raw).await?;
    let mut violations = Violations::new();
    violations.check(
        value.amount_minor >= 0,
        || "/amount_minor".to_owned(),
        "must not be negative",
    );
    check_text(&mut violations, "/reference", &value.reference);
    violations.finish()?;
    let command = OrderCommand::Pay {
        order_id,
        amount_minor: value.amount_minor,
        reference: value.reference,
    };
    frame.execute(&api, command.into()).await
}

/// Ships a paid order.
#[utoipa::path(post, path = "/v1/orders/{id}/shipments", tag = "orders", request_body = ShipOrder,
    params(super::openapi::OrderPath, super::openapi::CommandHeaders),
    responses((status = 200, body = super::openapi::OrderAnswer, headers(
        ("ETag" = String, description = "The sequence, in quotes."),
        ("Consistency-Token" = String, description = "Send it with reads that must show this."),
        ("Trace-Id" = String))), super::openapi::Refusals))]
pub(super) async fn ship(
    State(api): State<Arc<Api>>,
    Params(id): Params<String>,
    StrictJson { parts, value, raw }: StrictJson<ShipOrder>,
) -> Result<Response, Problem> {
    let order_id = path::uuid("order id", &id)?;
    let frame = Frame::of(&api, &parts, &raw).await?;
    let mut violations = Violations::new();
    check_text(&mut violations, "/carrier", &value.carrier);
    check_text(&mut violations, "/tracking_code", &value.tracking_code);
    violations.finish()?;
    let command = OrderCommand::Ship {
        order_id,
        carrier: value.carrier,
        tracking_code: value.tracking_code,
    };
    frame.execute(&api, command.into()).await
}

/// Cancels an order that is not shipped.
#[utoipa::path(post, path = "/v1/orders/{id}/cancellations", tag = "orders", request_body = CancelOrder,
    params(super::openapi::OrderPath, super::openapi::CommandHeaders),
    responses((status = 200, body = super::openapi::OrderAnswer, headers(
        ("ETag" = String, description = "The sequence, in quotes."),
        ("Consistency-Token" = String, description = "Send it with reads that must show this."),
        ("Trace-Id" = String))), super::openapi::Refusals))]
pub(super) async fn cancel(
    State(api): State<Arc<Api>>,
    Params(id): Params<String>,
    StrictJson { parts, value, raw }: StrictJson<CancelOrder>,
) -> Result<Response, Problem> {
    let order_id = path::uuid("order id", &id)?;
    let frame = Frame::of(&api, &parts, &raw).await?;
    let mut violations = Violations::new();
    check_text(&mut violations, "/reason", &value.reason);
    violations.finish()?;
    let command = OrderCommand::Cancel {
        order_id,
        reason: value.reason,
    };
    frame.execute(&api, command.into()).await
}

/// Puts a note on an order.
#[utoipa::path(post, path = "/v1/orders/{id}/notes", tag = "orders", request_body = AddNote,
    params(super::openapi::OrderPath, super::openapi::CommandHeaders),
    responses((status = 201, body = super::openapi::NoteAnswer, headers(
        ("ETag" = String, description = "The sequence, in quotes."),
        ("Location" = String, description = "The order, on the query service."),
        ("Consistency-Token" = String, description = "Send it with reads that must show this."),
        ("Trace-Id" = String))), super::openapi::Refusals))]
pub(super) async fn add_note(
    State(api): State<Arc<Api>>,
    Params(id): Params<String>,
    StrictJson { parts, value, raw }: StrictJson<AddNote>,
) -> Result<Response, Problem> {
    let order_id = path::uuid("order id", &id)?;
    let frame = Frame::of(&api, &parts, &raw).await?;
    let mut violations = Violations::new();
    check_text(&mut violations, "/author", &value.author);
    check_text(&mut violations, "/text", &value.text);
    violations.finish()?;
    let note_id = ids::created_id(frame.id, "note");
    let command = OrderCommand::AddNote {
        order_id,
        note_id,
        author: value.author,
        text: value.text,
        reply_to: value.reply_to,
    };
    frame.execute(&api, command.into()).await
}
