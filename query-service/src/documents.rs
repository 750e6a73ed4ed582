//! What goes out of histories, positions and statistics: JSON, made from what a model said.

use eventlog::{Checkpoint, Positions, Topic};
use read_model::view::{EventView, Period, SalesDay, TopProduct};
use read_model::{Document, HistoryEvent, StoreError};
use serde::Serialize;
use utoipa::ToSchema;

/// An order's history.
#[derive(Serialize, ToSchema)]
pub(crate) struct HistoryDocument {
    /// Oldest first. What was refused is not among them.
    events: Vec<EventView>,
}

/// Where each partition of a topic stands.
#[derive(Serialize, ToSchema)]
pub(crate) struct PositionsDocument {
    /// The topic's name.
    topic: String,
    /// Every partition, by number.
    partitions: Vec<PositionView>,
}

/// Where a subscriber can start in a partition.
#[derive(Serialize, ToSchema)]
pub(crate) struct PositionView {
    /// The partition's number.
    partition: i32,
    /// The first offset to read.
    offset: i64,
    /// The link of the last effective record before it, in hex; zeros where there is none.
    #[schema(pattern = "^[0-9a-f]{32}$")]
    link: String,
}

/// What was sold of a SKU.
#[derive(Serialize, ToSchema)]
pub(crate) struct SalesDocument {
    /// The SKU.
    sku: String,
    /// Oldest first, then by currency. Days without sales are left out.
    days: Vec<SalesDay>,
}

/// The best sellers of a period.
#[derive(Serialize, ToSchema)]
pub(crate) struct TopDocument {
    /// The day or month, as it was asked for.
    period: String,
    /// Best first: by quantity, then revenue, then SKU; at most 100.
    products: Vec<TopProduct>,
}

/// A history, by its order's version; none where there is no such order. `prefix` is what the topics' names begin with.
pub(crate) fn history(events: &[HistoryEvent], prefix: &str) -> Result<Option<Document>, StoreError> {
    let Some(last) = events.last() else {
        return Ok(None);
    };
    let mut causes = Positions::new();
    for event in events {
        causes.merge(&event.causes);
    }
    let events = events
        .iter()
        .map(|event| event.view(prefix))
        .collect::<Result<_, _>>()?;
    Ok(Some(Document {
        sequence: last.sequence,
        causes,
        json: json(&HistoryDocument { events })?,
    }))
}

/// Where a topic's partitions stand; those that were not begun, at their beginning.
pub(crate) fn positions(
    topic: Topic,
    prefix: &str,
    found: &[(i32, Checkpoint)],
    count: i32,
) -> Result<String, StoreError> {
    let view = |partition: i32| {
        let place = found.iter().find(|(of, _)| *of == partition);
        let place = place.map_or(Checkpoint::BEGINNING, |(_, place)| *place);
        PositionView {
            partition,
            offset: place.next_offset,
            link: place.link.to_string(),
        }
    };
    json(&PositionsDocument {
        topic: topic.name(prefix),
        partitions: (0..count).map(view).collect(),
    })
}

/// A SKU's sales.
pub(crate) fn sales(sku: &str, days: Vec<SalesDay>) -> Result<String, StoreError> {
    json(&SalesDocument {
        sku: sku.to_owned(),
        days,
    })
}

/// A period's best sellers.
pub(crate) fn top(period: Period, products: Vec<TopProduct>) -> Result<String, StoreError> {
    json(&TopDocument {
        period: period.to_string(),
        products,
    })
}

/// JSON of what cannot fail to be JSON; an error only where that is wrong.
pub(crate) fn json<T: Serialize>(view: &T) -> Result<String, StoreError> {
    serde_json::to_string(view).map_err(|error| StoreError::Corrupt(error.to_string()))
}

#[cfg(test)]
mod tests {
    use eventlog::Link;
    use read_model::view::Day;
    use serde_json::{Value, json};

    use super::*;

    fn read(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_partition_that_was_not_begun_is_at_its_beginning() {
        let place = Checkpoint {
            next_offset: 9,
            last_offset: 7,
            link: Link([0xab; 16]),
        };
        let text = positions(Topic::Stock, "shop", &[(1, place)], 2).unwrap();
        assert_eq!(
            read(&text),
            json!({"topic": "shop.stock.events", "partitions": [
                {"partition": 0, "offset": 0, "link": "0".repeat(32)},
                {"partition": 1, "offset": 9, "link": "ab".repeat(16)},
            ]})
        );
    }

    #[test]
    fn amounts_beyond_64_bits_are_whole_numbers() {
        let day = SalesDay {
            day: Day(0),
            quantity: i128::from(u64::MAX) + 1,
            revenue_minor: 5,
            currency: "GBP".to_owned(),
        };
        assert_eq!(
            sales("mug", vec![day]).unwrap(),
            r#"{"sku":"mug","days":[{"day":"1970-01-01","quantity":18446744073709551616,"revenue_minor":5,"currency":"GBP"}]}"#
        );
        assert_eq!(
            top("2026-11".parse().unwrap(), Vec::new()).unwrap(),
            r#"{"period":"2026-11","products":[]}"#
        );
    }

    #[test]
    fn an_order_without_events_is_none() {
        assert_eq!(history(&[], "shop").unwrap(), None);
    }
}
