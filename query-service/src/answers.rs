//! From what a model said to an answer as it goes out, with all that is needed to know later whether it is still true.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use eventlog::{Positions, TokenKey, TopicPartition};
use http::HeaderValue;
use read_model::Document;
use read_model::postgres::{Filter, OrderRow, Page};
use service_kit::headers::etag;

use crate::cache::entry::{Entry, Part, Version};
use crate::cache::tags::{Slot, Tag, Tags};
use crate::cursor;
use crate::models::{Body, Found, Query, order_partition};

/// Makes the answer to a query. `generation` was loaded before the model was asked.
pub(crate) fn answer(
    query: &Query,
    found: Found,
    generation: u64,
    tags: &Tags,
    key: &TokenKey,
    count: i32,
) -> Arc<Entry> {
    let Found { positions, body } = found;
    let mut depends_on = Positions::new();
    let mut entry = Entry {
        kind: query.kind(),
        generation,
        parts: Box::default(),
        seen: Positions::new(),
        token: HeaderValue::from_static(""),
        version: None,
        json: None,
        filled_at: Instant::now(),
    };
    match (body, query) {
        (Body::Document(document), _) => {
            let slots = tag_of(query).map(|tag| tags.slot(&tag)).into_iter().collect();
            entry.parts = parts(query, &positions, count, |_| Box::clone(&slots));
            if let Some(Document {
                sequence,
                causes,
                json,
            }) = document
            {
                depends_on = causes;
                entry.version = Some(Version {
                    sequence,
                    etag: etag(sequence),
                });
                entry.json = Some(Bytes::from(json));
            }
        }
        (
            Body::Page(mut page),
            Query::Customer {
                id, filter, limit, ..
            },
        ) => {
            let next = cut(&mut page, *limit as usize, id, filter);
            let listed: Vec<(TopicPartition, Slot)> = page
                .orders
                .iter()
                .map(|order| {
                    let id = order.after.order_id;
                    (order_partition(id, count), tags.slot(&Tag::Order(id)))
                })
                .collect();
            let customer = tags.slot(&Tag::Customer(id));
            entry.parts = parts(query, &positions, count, |partition| {
                let of_it = listed.iter().filter(|(of, _)| *of == partition);
                std::iter::once(customer)
                    .chain(of_it.map(|(_, slot)| *slot))
                    .collect()
            });
            for order in &page.orders {
                depends_on.merge(&order.causes);
            }
            entry.json = Some(list(&page.orders, next.as_deref()));
        }
        (Body::Json(json), _) => {
            let slot = match query {
                Query::Sales { .. } | Query::Top(_) => tags.slot(&Tag::Sales),
                // Any record moves them.
                _ => Slot::NONE,
            };
            entry.parts = parts(query, &positions, count, |_| [slot].into());
            entry.json = Some(Bytes::from(json));
        }
        // A model answers what it was asked.
        (Body::Page(_), _) => {}
    }
    let mut seen = positions;
    seen.merge(&depends_on);
    if let Ok(token) = HeaderValue::try_from(key.seal(&seen)) {
        entry.token = token;
    }
    entry.seen = seen;
    Arc::new(entry)
}

/// The tag of what is one aggregate.
fn tag_of(query: &Query) -> Option<Tag<'_>> {
    match query {
        Query::Order(id) | Query::History(id) | Query::OrderAt(id, _) => Some(Tag::Order(*id)),
        Query::Stock(sku) => Some(Tag::Sku(sku)),
        Query::Customer { .. } | Query::Positions(_) | Query::Sales { .. } | Query::Top(_) => None,
    }
}

/// Every partition that the query depends on, at the position that it was read at.
fn parts(
    query: &Query,
    positions: &Positions,
    count: i32,
    slots: impl Fn(TopicPartition) -> Box<[Slot]>,
) -> Box<[Part]> {
    let depends = query.partitions(count);
    let part = |partition: TopicPartition| Part {
        partition,
        at: positions.get(partition).unwrap_or(0),
        slots: slots(partition),
    };
    depends.into_iter().map(part).collect()
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
fn list(orders: &[OrderRow], next: Option<&str>) -> Bytes {
    let size: usize = orders.iter().map(|order| order.doc.len() + 1).sum();
    let mut json = String::with_capacity(size + 100);
    json.push_str("{\"orders\":[");
    for (index, order) in orders.iter().enumerate() {
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
    use read_model::postgres::After;
    use schemas::Timestamp;
    use uuid::Uuid;

    use super::*;

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
        let all = Filter::default();
        let mut page = Page {
            positions: Positions::new(),
            orders: vec![order(3), order(2), order(1)],
        };
        let next = cut(&mut page, 2, "c", &all).unwrap();
        assert_eq!(cursor::read(&next, "c", &all).unwrap(), order(2).after);
        let json: serde_json::Value = serde_json::from_slice(&list(&page.orders, Some(&next))).unwrap();
        assert_eq!(
            json,
            serde_json::json!({"orders": [{"n": 3}, {"n": 2}], "next_cursor": next})
        );
        assert_eq!(cut(&mut page, 2, "c", &all), None);
        assert_eq!(&list(&[], None)[..], br#"{"orders":[],"next_cursor":null}"#);
    }
}
