//! `GET /v1/orders/{id}`

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, Uri};
use service_kit::Problem;
use service_kit::path::{self, Params};
use uuid::Uuid;

use super::answer::{self, ORDER_NOT_FOUND};
use super::openapi::{AggregateHeaders, OrderPath, OrderQuery, ReadHeaders, ReadProblems};
use super::request::{ReadRequest, parameters};
use super::{App, fetch, history};
use crate::cache::key::KeyRef;
use crate::models::Query;

/// An order, as it is or as it was: status, lines with their reservation, totals, notes, times.
#[utoipa::path(get, path = "/v1/orders/{id}", tag = "orders", params(OrderPath, OrderQuery, ReadHeaders, AggregateHeaders), responses(
    (status = 200, description = "The order.", body = read_model::view::OrderDocument,
     headers(("ETag" = String, description = "The sequence, in quotes."), ("Consistency-Token" = String), ("Served-From" = String), ("Cache-Control" = String), ("Trace-Id" = String))),
    (status = 304, description = "The order is as If-None-Match says."),
    (status = 404, description = "There is no such order, or there was none then.", content_type = "application/problem+json",
     body = service_kit::openapi::ProblemBody, headers(("Consistency-Token" = String), ("Served-From" = String))),
    ReadProblems,
))]
pub(super) async fn order(
    State(app): State<Arc<App>>,
    Params(id): Params<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let order_id = path::uuid("order id", &id)?;
    let parameters = parameters(&uri, &["at_sequence", "as_of"])?;
    if let Some(at) = history::moment(&parameters)? {
        return history::order_at(&app, order_id, at, &headers).await;
    }
    latest(&app, order_id, &headers).await
}

/// An order as it is.
pub(super) async fn latest(app: &App, order_id: Uuid, headers: &HeaderMap) -> Result<Response, Problem> {
    let mut request = ReadRequest::parse(app, headers)?;
    let key = KeyRef::Order(order_id);
    Ok(
        match fetch(app, &mut request, Some(key), || Query::Order(order_id)).await {
            Ok(served) => answer::one(&request, &served, &ORDER_NOT_FOUND),
            Err(problem) => answer::problem(problem, &request),
        },
    )
}
