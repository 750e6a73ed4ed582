//! `GET /v1/customers/{id}/orders`: newest first, in keyset pages.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use domain::OrderStatus;
use http::{HeaderMap, Uri};
use read_model::postgres::Filter;
use read_model::view::time;
use schemas::Timestamp;
use service_kit::Problem;
use service_kit::path::{self, Params};

use super::answer;
use super::openapi::{CustomerOrders, CustomerPath, CustomerQuery, ReadHeaders, ReadProblems};
use super::request::{ReadRequest, parameters};
use super::{App, fetch};
use crate::cache::key::Key;
use crate::cursor;
use crate::models::Query;

const LIMIT_DEFAULT: u32 = 50;
const LIMIT_MAX: u32 = 200;
const STATUSES: [OrderStatus; 7] = [
    OrderStatus::Pending,
    OrderStatus::Confirmed,
    OrderStatus::Rejected,
    OrderStatus::Paid,
    OrderStatus::Shipped,
    OrderStatus::Cancelled,
    OrderStatus::Expired,
];

/// A customer's orders, without their notes. A customer never heard of has none.
#[utoipa::path(get, path = "/v1/customers/{id}/orders", tag = "customers", params(CustomerPath, CustomerQuery, ReadHeaders), responses(
    (status = 200, description = "A page of the orders.", body = CustomerOrders,
     headers(("Consistency-Token" = String), ("Served-From" = String), ("Cache-Control" = String), ("Trace-Id" = String))),
    ReadProblems,
))]
pub(super) async fn orders(
    State(app): State<Arc<App>>,
    Params(id): Params<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let customer_id = path::name("customer id", &id)?;
    let parameters = parameters(&uri, &["status", "from", "to", "limit", "cursor"])?;
    let filter = filter(&parameters)?;
    let limit = limit(&parameters)?;
    let after = parameters
        .get("cursor")
        .map(|text| cursor::read(text, customer_id, &filter))
        .transpose()?;
    let mut request = ReadRequest::parse(&app, &headers)?;
    request.not_of_redis()?;
    let query = Query::Customer {
        id: customer_id.into(),
        filter,
        after,
        limit,
    };
    let key = query.key();
    let key = key.as_ref().map(Key::as_ref);
    Ok(match fetch(&app, &mut request, key, || query.clone()).await {
        Ok(served) => answer::many(&request, &served),
        Err(problem) => answer::problem(problem, &request),
    })
}

fn filter(parameters: &BTreeMap<String, String>) -> Result<Filter, Problem> {
    let status = match parameters.get("status") {
        None => None,
        Some(text) => {
            let found = STATUSES.into_iter().find(|status| status.as_str() == text);
            Some(found.ok_or_else(|| Problem::malformed_query("status", "is no status of an order"))?)
        }
    };
    Ok(Filter {
        status,
        from: instant(parameters, "from")?,
        to: instant(parameters, "to")?,
    })
}

fn instant(parameters: &BTreeMap<String, String>, name: &str) -> Result<Option<Timestamp>, Problem> {
    let Some(text) = parameters.get(name) else {
        return Ok(None);
    };
    let at = time::parse(text).ok_or_else(|| {
        Problem::malformed_query(name, "is not a time in RFC 3339 (write %2B for a plus sign)")
    })?;
    Ok(Some(at))
}

fn limit(parameters: &BTreeMap<String, String>) -> Result<u32, Problem> {
    let Some(text) = parameters.get("limit") else {
        return Ok(LIMIT_DEFAULT);
    };
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse::<u32>() {
        Ok(limit) if digits && (1..=LIMIT_MAX).contains(&limit) => Ok(limit),
        _ => Err(Problem::malformed_query("limit", "is not a number from 1 to 200")),
    }
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
    fn limits_are_from_1_to_200() {
        assert_eq!(limit(&given(&[])).unwrap(), 50);
        assert_eq!(limit(&given(&[("limit", "200")])).unwrap(), 200);
        for bad in ["0", "201", "-1", "+5", "", "x", "1.0", "99999999999"] {
            assert_eq!(
                limit(&given(&[("limit", bad)])).unwrap_err().status(),
                400,
                "{bad}"
            );
        }
    }

    #[test]
    fn filters_are_checked() {
        let found = filter(&given(&[("status", "paid"), ("from", "1970-01-01T00:00:01Z")])).unwrap();
        assert_eq!(
            found,
            Filter {
                status: Some(OrderStatus::Paid),
                from: Some(Timestamp(1_000_000)),
                to: None
            }
        );
        for bad in [
            ("status", "Paid"),
            ("status", ""),
            ("from", "yesterday"),
            ("to", "1970-01-01"),
        ] {
            assert_eq!(filter(&given(&[bad])).unwrap_err().status(), 400, "{bad:?}");
        }
    }
}
