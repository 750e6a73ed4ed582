//! `GET /v1/stock/{sku}`

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, Uri};
use service_kit::Problem;
use service_kit::path::{self, Params};

use super::answer::{self, STOCK_NOT_FOUND};
use super::openapi::{AggregateHeaders, ReadHeaders, ReadProblems, StockPath};
use super::request::{ReadRequest, parameters};
use super::{App, fetch};
use crate::cache::key::KeyRef;
use crate::models::Query;

/// What is on hand of a SKU, reserved for orders, and available.
#[utoipa::path(get, path = "/v1/stock/{sku}", tag = "stock", params(StockPath, ReadHeaders, AggregateHeaders), responses(
    (status = 200, description = "The stock.", body = read_model::StockView,
     headers(("ETag" = String, description = "The sequence, in quotes."), ("Consistency-Token" = String), ("Served-From" = String), ("Cache-Control" = String), ("Trace-Id" = String))),
    (status = 304, description = "The stock is as If-None-Match says."),
    (status = 404, description = "Nothing was ever received of this SKU.", content_type = "application/problem+json",
     body = service_kit::openapi::ProblemBody, headers(("Consistency-Token" = String), ("Served-From" = String))),
    ReadProblems,
))]
pub(super) async fn stock(
    State(app): State<Arc<App>>,
    Params(sku): Params<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let sku = path::name("SKU", &sku)?;
    parameters(&uri, &[])?;
    latest(&app, sku, &headers).await
}

/// The stock of what is a name.
pub(super) async fn latest(app: &App, sku: &str, headers: &HeaderMap) -> Result<Response, Problem> {
    let mut request = ReadRequest::parse(app, headers)?;
    let key = KeyRef::Stock(sku);
    Ok(
        match fetch(app, &mut request, Some(key), || Query::Stock(sku.into())).await {
            Ok(served) => answer::one(&request, &served, &STOCK_NOT_FOUND),
            Err(problem) => answer::problem(problem, &request),
        },
    )
}
