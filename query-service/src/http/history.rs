//! `GET /v1/orders/{id}/history`, and an order as it was.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, Uri};
use read_model::projection::At;
use read_model::view::time;
use service_kit::Problem;
use service_kit::path::{self, Params};
use uuid::Uuid;

use super::answer::{self, ORDER_NOT_FOUND};
use super::openapi::{OrderPath, ReadHeaders, ReadProblems};
use super::request::{ReadRequest, parameters};
use super::{App, fetch};
use crate::documents::HistoryDocument;
use crate::models::Query;

/// An order's events, oldest first.
#[utoipa::path(get, path = "/v1/orders/{id}/history", tag = "orders", params(OrderPath, ReadHeaders), responses(
    (status = 200, description = "The events.", body = HistoryDocument,
     headers(("ETag" = String, description = "The order's sequence, in quotes."), ("Consistency-Token" = String), ("Served-From" = String))),
    (status = 304, description = "The order is as If-None-Match says."),
    (status = 404, description = "There is no such order.", content_type = "application/problem+json"),
    ReadProblems,
))]
pub(super) async fn history(
    State(app): State<Arc<App>>,
    Params(id): Params<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let order_id = path::uuid("order id", &id)?;
    parameters(&uri, &[])?;
    let request = ReadRequest::parse(&app, &headers)?;
    read(&app, request, &Query::History(order_id)).await
}

/// An order as it was.
pub(super) async fn order_at(
    app: &App,
    order_id: Uuid,
    at: At,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let request = ReadRequest::parse(app, headers)?;
    read(app, request, &Query::OrderAt(order_id, at)).await
}

async fn read(app: &App, mut request: ReadRequest<'_>, query: &Query) -> Result<Response, Problem> {
    request.not_of_redis()?;
    Ok(match fetch(app, &mut request, None, || query.clone()).await {
        Ok(served) => answer::one(&request, &served, &ORDER_NOT_FOUND),
        Err(problem) => answer::problem(problem, &request),
    })
}

/// Which version of an order is asked for; none for the one of now.
pub(super) fn moment(parameters: &BTreeMap<String, String>) -> Result<Option<At>, Problem> {
    match (parameters.get("at_sequence"), parameters.get("as_of")) {
        (None, None) => Ok(None),
        (Some(text), None) => {
            if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(Problem::malformed_query("at_sequence", "is not a number"));
            }
            // More than 64 bits hold is beyond the last of any order.
            Ok(Some(At::Sequence(text.parse().unwrap_or(u64::MAX))))
        }
        (None, Some(text)) => {
            let at = time::parse(text).ok_or_else(|| {
                Problem::malformed_query("as_of", "is not a time in RFC 3339 (write %2B for a plus sign)")
            })?;
            Ok(Some(At::Time(at)))
        }
        (Some(_), Some(_)) => Err(Problem::malformed_query(
            "as_of",
            "cannot be there beside at_sequence",
        )),
    }
}

#[cfg(test)]
mod tests {
    use schemas::Timestamp;

    use super::*;

    #[test]
    fn a_moment_is_a_sequence_or_a_time() {
        let of = |pairs: &[(&str, &str)]| {
            let pairs = pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect();
            moment(&pairs).map_err(|problem| problem.status().as_u16())
        };
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&[("at_sequence", "3")]), Ok(Some(At::Sequence(3))));
        let beyond = "99999999999999999999999";
        assert_eq!(of(&[("at_sequence", beyond)]), Ok(Some(At::Sequence(u64::MAX))));
        assert_eq!(
            of(&[("as_of", "1970-01-01T00:00:01Z")]),
            Ok(Some(At::Time(Timestamp(1_000_000))))
        );
        for bad in ["", "-1", "+1", "1.0", "x", " 1"] {
            assert_eq!(of(&[("at_sequence", bad)]), Err(400), "{bad}");
        }
        for bad in ["", "yesterday", "1970-01-01", "1970-01-01T00:00:01", "5"] {
            assert_eq!(of(&[("as_of", bad)]), Err(400), "{bad}");
        }
        assert_eq!(
            of(&[("as_of", "1970-01-01T00:00:01Z"), ("at_sequence", "3")]),
            Err(400)
        );
    }
}
