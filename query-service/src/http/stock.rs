//! `GET /v1/stock/{sku}`

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, Uri};
use service_kit::Problem;
use service_kit::path::{self, Params};

use super::App;
use super::answer::{self, STOCK_NOT_FOUND};
use super::openapi::{ReadHeaders, ReadProblems, StockPath};
use super::request::{ReadRequest, parameters};
use crate::models::{Body, Query};

/// What is on hand of a SKU, reserved for orders, and available.
#[utoipa::path(get, path = "/v1/stock/{sku}", tag = "stock", params(StockPath, ReadHeaders), responses(
    (status = 200, description = "The stock.", body = read_model::StockView,
     headers(("ETag" = String, description = "The sequence, in quotes."), ("Consistency-Token" = String), ("Served-From" = String))),
    (status = 304, description = "The stock is as If-None-Match says."),
    (status = 404, description = "Nothing was ever received of this SKU.", content_type = "application/problem+json"),
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
    let request = ReadRequest::parse(&app, &headers)?;
    match app
        .reads
        .read(&Query::Stock(sku), &request.need, request.identity.partitions)
        .await
    {
        Ok((model, found)) => {
            let document = match found.body {
                Body::Document(document) => document,
                Body::Page(_) => None,
            };
            Ok(answer::one(
                &request,
                model,
                found.positions,
                document,
                &STOCK_NOT_FOUND,
            ))
        }
        Err(problem) => Ok(answer::problem(problem, &request)),
    }
}
