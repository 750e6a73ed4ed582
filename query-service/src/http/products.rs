//! `GET /v1/products/{sku}/sales` and `GET /v1/products/top`: the seller's statistics.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, Uri};
use read_model::view::{Day, Period};
use service_kit::Problem;
use service_kit::path::{self, Params};

use super::answer;
use super::openapi::{ReadHeaders, ReadProblems, SalesQuery, StockPath, TopQuery};
use super::request::{ReadRequest, parameters};
use super::{App, fetch};
use crate::cache::key::KeyRef;
use crate::documents::{SalesDocument, TopDocument};
use crate::models::Query;

/// What was sold of a SKU, by the UTC day on which the orders were placed. A SKU that was never sold has no days.
#[utoipa::path(get, path = "/v1/products/{sku}/sales", tag = "products", params(StockPath, SalesQuery, ReadHeaders), responses(
    (status = 200, description = "The days with sales.", body = SalesDocument,
     headers(("Consistency-Token" = String), ("Served-From" = String))),
    ReadProblems,
))]
pub(super) async fn sales(
    State(app): State<Arc<App>>,
    Params(sku): Params<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let sku = path::name("SKU", &sku)?;
    let parameters = parameters(&uri, &["from", "to"])?;
    let (from, to) = days(&parameters)?;
    let mut request = ReadRequest::parse(&app, &headers)?;
    request.not_of_redis()?;
    let query = Query::Sales {
        sku: sku.into(),
        from,
        to,
    };
    Ok(match fetch(&app, &mut request, None, || query.clone()).await {
        Ok(served) => answer::many(&request, &served),
        Err(problem) => answer::problem(problem, &request),
    })
}

/// The best sellers of a day or a month.
#[utoipa::path(get, path = "/v1/products/top", tag = "products", params(TopQuery, ReadHeaders), responses(
    (status = 200, description = "The best sellers.", body = TopDocument,
     headers(("Consistency-Token" = String), ("Served-From" = String))),
    ReadProblems,
))]
pub(super) async fn top(
    State(app): State<Arc<App>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let period = period(&parameters(&uri, &["period"])?)?;
    let mut request = ReadRequest::parse(&app, &headers)?;
    request.not_of_redis()?;
    let key = KeyRef::Top(period);
    Ok(
        match fetch(&app, &mut request, Some(key), || Query::Top(period)).await {
            Ok(served) => answer::many(&request, &served),
            Err(problem) => answer::problem(problem, &request),
        },
    )
}

/// The first day and the last, where they are given.
fn days(parameters: &BTreeMap<String, String>) -> Result<(Option<Day>, Option<Day>), Problem> {
    let (from, to) = (day(parameters, "from")?, day(parameters, "to")?);
    match (from, to) {
        (Some(first), Some(last)) if last < first => Err(Problem::malformed_query("to", "is before from")),
        _ => Ok((from, to)),
    }
}

fn day(parameters: &BTreeMap<String, String>, name: &str) -> Result<Option<Day>, Problem> {
    let read = |text: &String| {
        text.parse()
            .map_err(|_| Problem::malformed_query(name, "is not a day, YYYY-MM-DD"))
    };
    parameters.get(name).map(read).transpose()
}

fn period(parameters: &BTreeMap<String, String>) -> Result<Period, Problem> {
    let text = parameters.get("period").map_or("", String::as_str);
    text.parse()
        .map_err(|_| Problem::malformed_query("period", "is neither YYYY-MM-DD nor YYYY-MM"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn days_are_in_order() {
        let of = |pairs: &[(&str, &str)]| days(&given(pairs)).map_err(|problem| problem.status().as_u16());
        assert_eq!(of(&[]), Ok((None, None)));
        assert_eq!(
            of(&[("from", "1970-01-02"), ("to", "1970-01-02")]),
            Ok((Some(Day(1)), Some(Day(1))))
        );
        assert_eq!(of(&[("from", "1970-01-02"), ("to", "1970-01-01")]), Err(400));
        for bad in ["", "1970-01", "1970-02-30", "now", "1970-01-02T00:00:00Z"] {
            assert_eq!(of(&[("from", bad)]), Err(400), "{bad}");
            assert_eq!(of(&[("to", bad)]), Err(400), "{bad}");
        }
    }

    #[test]
    fn a_period_must_be_there() {
        assert!(period(&given(&[("period", "2026-11")])).is_ok());
        assert!(period(&given(&[("period", "2026-11-22")])).is_ok());
        for bad in [
            &[][..],
            &[("period", "")],
            &[("period", "2026")],
            &[("period", "2026-13")],
        ] {
            assert_eq!(
                period(&given(bad)).map_err(|problem| problem.status().as_u16()),
                Err(400)
            );
        }
    }
}
