//! Writes to stock.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use domain::StockCommand;
use serde::Deserialize;
use service_kit::Problem;
use service_kit::json::{StrictJson, Violations};
use service_kit::path::{self, Params};
use utoipa::ToSchema;
use utoipa::openapi::schema::{AnyOfBuilder, ObjectBuilder, Schema, Type};

use super::Api;
use super::command::Frame;
use super::orders::check_text;

const QUANTITY_MAX: i64 = 1_000_000_000;

/// Stock that came in.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReceiveStock {
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    quantity: i64,
}

/// A number that is not 0: JSON Schema says so by two ranges.
fn signed() -> Schema {
    let range = |from: i64, to: i64| {
        ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(from))
            .maximum(Some(to))
    };
    AnyOfBuilder::new()
        .item(range(-QUANTITY_MAX, -1))
        .item(range(1, QUANTITY_MAX))
        .into()
}

/// A correction of what is on hand.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AdjustStock {
    /// Signed; not 0.
    #[schema(schema_with = signed)]
    quantity: i64,
    #[schema(min_length = 1, max_length = 4000)]
    reason: String,
}

/// Receives stock; the first receipt of a SKU creates it.
#[utoipa::path(post, path = "/v1/stock/{sku}/receipts", tag = "stock", request_body = ReceiveStock,
    params(super::openapi::StockPath, super::openapi::CommandHeaders),
    responses((status = 200, body = super::openapi::StockAnswer, headers(
        ("ETag" = String, description = "The sequence, in quotes."),
        ("Consistency-Token" = String, description = "Send it with reads that must show this."),
        ("Trace-Id" = String))), super::openapi::Refusals))]
pub(super) async fn receive(
    State(api): State<Arc<Api>>,
    Params(sku): Params<String>,
    StrictJson { parts, value, raw }: StrictJson<ReceiveStock>,
) -> Result<Response, Problem> {
    let sku = path::name("SKU", &sku)?;
    let frame = Frame::of(&api, &parts, &raw).await?;
    let mut violations = Violations::new();
    let quantity = (1..=QUANTITY_MAX).contains(&value.quantity);
    violations.check(quantity, || "/quantity".to_owned(), "must be 1 to 1000000000");
    violations.finish()?;
    let command = StockCommand::Receive {
        sku: sku.to_owned(),
        quantity: value.quantity,
    };
    frame.execute(&api, command.into()).await
}

/// Corrects what is on hand; refused where it would make what is available negative.
#[utoipa::path(post, path = "/v1/stock/{sku}/adjustments", tag = "stock", request_body = AdjustStock,
    params(super::openapi::StockPath, super::openapi::CommandHeaders),
    responses((status = 200, body = super::openapi::StockAnswer, headers(
        ("ETag" = String, description = "The sequence, in quotes."),
        ("Consistency-Token" = String, description = "Send it with reads that must show this."),
        ("Trace-Id" = String))), super::openapi::Refusals))]
pub(super) async fn adjust(
    State(api): State<Arc<Api>>,
    Params(sku): Params<String>,
    StrictJson { parts, value, raw }: StrictJson<AdjustStock>,
) -> Result<Response, Problem> {
    let sku = path::name("SKU", &sku)?;
    let frame = Frame::of(&api, &parts, &raw).await?;
    let mut violations = Violations::new();
    let quantity = value.quantity != 0 && (-QUANTITY_MAX..=QUANTITY_MAX).contains(&value.quantity);
    violations.check(
        quantity,
        || "/quantity".to_owned(),
        "must be -1000000000 to 1000000000, and not 0",
    );
    check_text(&mut violations, "/reason", &value.reason);
    violations.finish()?;
    let command = StockCommand::Adjust {
        sku: sku.to_owned(),
        quantity: value.quantity,
        reason: value.reason,
    };
    frame.execute(&api, command.into()).await
}
