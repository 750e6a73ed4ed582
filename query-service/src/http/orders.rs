//! `GET /v1/orders/{id}`

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, Uri};
use service_kit::Problem;
use service_kit::path::{self, Params};

use super::App;
use super::answer::{self, ORDER_NOT_FOUND};
use super::openapi::{OrderPath, ReadHeaders, ReadProblems};
use super::request::{ReadRequest, parameters};
use crate::models::{Body, Query};

/// An order: status, lines with their reservation, totals, notes, times.
#[utoipa::path(get, path = "/v1/orders/{id}", tag = "orders", params(OrderPath, ReadHeaders), responses(
    (status = 200, description = "The order.", body = read_model::view::OrderDocument,
     headers(("ETag" = String, description = "The sequence, in quotes."), ("Consistency-Token" = String), ("Served-From" = String))),
    (status = 304, description = "The order is as If-None-Match says."),
    (status = 404, description = "There is no such order.", content_type = "application/problem+json"),
    ReadProblems,
))]
pub(super) async fn order(
    State(app): State<Arc<App>>,
    Params(id): Params<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let order_id = path::uuid("order id", &id)?;
    parameters(&uri, &[])?;
    let request = ReadRequest::parse(&app, &headers)?;
    match app
        .reads
        .read(
            &Query::Order(order_id),
            &request.need,
            request.identity.partitions,
        )
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
                &ORDER_NOT_FOUND,
            ))
        }
        Err(problem) => Ok(answer::problem(problem, &request)),
    }
}
