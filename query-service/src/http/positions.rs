//! `GET /v1/positions`: where a subscriber of the topics can start.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, Uri};
use service_kit::Problem;

use super::answer;
use super::openapi::{PositionsQuery, ReadHeaders, ReadProblems};
use super::request::{ReadRequest, parameters};
use super::{App, fetch};
use crate::documents::PositionsDocument;
use crate::models::Query;

/// For each partition of a topic an offset to read from, and the link that the chain has there: as far as a model has come.
#[utoipa::path(get, path = "/v1/positions", tag = "subscribers", params(PositionsQuery, ReadHeaders), responses(
    (status = 200, description = "Every partition of the topic.", body = PositionsDocument,
     headers(("Consistency-Token" = String), ("Served-From" = String))),
    ReadProblems,
))]
pub(super) async fn positions(
    State(app): State<Arc<App>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let parameters = parameters(&uri, &["topic", "at"])?;
    let topic = parameters.get("topic").and_then(|name| app.reads.topic(name));
    let topic =
        topic.ok_or_else(|| Problem::malformed_query("topic", "is not the name of an event topic"))?;
    if parameters.get("at").is_some_and(|at| at != "latest") {
        return Err(Problem::malformed_query("at", "is not latest"));
    }
    let mut request = ReadRequest::parse(&app, &headers)?;
    Ok(
        match fetch(&app, &mut request, None, || Query::Positions(topic)).await {
            Ok(served) => answer::many(&request, &served),
            Err(problem) => answer::problem(problem, &request),
        },
    )
}
