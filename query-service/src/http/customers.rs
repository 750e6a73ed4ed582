//! `GET /v1/customers/{id}/orders`: newest first, in keyset pages.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use domain::OrderStatus;
use http::{HeaderMap, HeaderName, Uri};
use read_model::postgres::{Filter, Page};
use read_model::view::time;
use schemas::Timestamp;
use service_kit::path::{self, Params};
use service_kit::{Problem, json};

use super::App;
use super::answer;
use super::openapi::{CustomerOrders, CustomerPath, CustomerQuery, ReadHeaders, ReadProblems};
use super::request::{ReadRequest, parameters};
use crate::cursor;
use crate::models::{Body, Model, Query};

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
     headers(("Consistency-Token" = String), ("Served-From" = String))),
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
    let request = ReadRequest::parse(&app, &headers)?;
    if request.need.only == Some(Model::Redis) {
        let name = HeaderName::from_static("tailwater-model");
        return Err(Problem::malformed_header(name.as_str(), "lists are not in redis"));
    }
    // One more than the page, to know whether there is another.
    let query = Query::Customer {
        id: customer_id,
        filter: &filter,
        after,
        limit: limit + 1,
    };
    match app
        .reads
        .read(&query, &request.need, request.identity.partitions)
        .await
    {
        Ok((model, found)) => {
            let mut page = match found.body {
                Body::Page(page) => page,
                Body::Document(_) => Page::default(),
            };
            let next = cut(&mut page, limit as usize, customer_id, &filter);
            let mut seen = found.positions;
            for order in &page.orders {
                seen.merge(&order.causes);
            }
            let response = json::respond_bytes(200, body(&page, next.as_deref()));
            Ok(answer::with_token(response, &request, Some(model), &seen))
        }
        Err(problem) => Ok(answer::problem(problem, &request)),
    }
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

/// Cuts what is beyond the page, and says where the next one begins.
fn cut(page: &mut Page, limit: usize, customer_id: &str, filter: &Filter) -> Option<String> {
    let more = page.orders.len() > limit;
    page.orders.truncate(limit);
    page.orders
        .last()
        .filter(|_| more)
        .map(|last| cursor::write(last.after, customer_id, filter))
}

/// The documents as they are stored, in a list.
fn body(page: &Page, next: Option<&str>) -> Bytes {
    let size: usize = page.orders.iter().map(|order| order.doc.len() + 1).sum();
    let mut json = String::with_capacity(size + 100);
    json.push_str("{\"orders\":[");
    for (index, order) in page.orders.iter().enumerate() {
        if index > 0 {
            json.push(',');
        }
        json.push_str(&order.doc);
    }
    json.push_str("],\"next_cursor\":");
    match next {
        // A cursor is base64url, so nothing in it needs escaping.
        Some(cursor) => json.extend(["\"", cursor, "\""]),
        None => json.push_str("null"),
    }
    json.push('}');
    json.into()
}

#[cfg(test)]
mod tests {
    use eventlog::Positions;
    use read_model::postgres::{After, OrderRow};
    use uuid::Uuid;

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

    #[test]
    fn a_page_says_where_the_next_one_begins_if_there_is_one() {
        let order = |n: u128| OrderRow {
            after: After {
                placed_at: Timestamp(5),
                order_id: Uuid::from_u128(n),
            },
            causes: Positions::new(),
            doc: format!("{{\"n\":{n}}}"),
        };
        let all = Filter {
            status: None,
            from: None,
            to: None,
        };
        let mut page = Page {
            positions: Positions::new(),
            orders: vec![order(3), order(2), order(1)],
        };
        let next = cut(&mut page, 2, "c", &all).unwrap();
        assert_eq!(cursor::read(&next, "c", &all).unwrap(), order(2).after);
        let json: serde_json::Value = serde_json::from_slice(&body(&page, Some(&next))).unwrap();
        assert_eq!(
            json,
            serde_json::json!({"orders": [{"n": 3}, {"n": 2}], "next_cursor": next})
        );
        assert_eq!(cut(&mut page, 2, "c", &all), None);
        assert_eq!(
            &body(&Page::default(), None)[..],
            br#"{"orders":[],"next_cursor":null}"#
        );
    }
}
