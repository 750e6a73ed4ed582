//! The model in Redis: keys, scripts, and the two ways to them.
//!
//! A partition's watermark and documents share a hash slot, `{<prefix>:<version>:<topic>:<partition>}`, so that one script
//! changes them together, one call reads them together, and they are lost together: no watermark, no model. Beside them is
//! which generation is live, so that it is read in the same call.

mod batch;
mod compare;
mod generations;
mod keys;
mod read;
mod write;

use std::time::Duration;

use ::redis::aio::{ConnectionManager, ConnectionManagerConfig};
use ::redis::io::tcp::TcpSettings;
use ::redis::{Client, IntoConnectionInfo};
use eventlog::{Checkpoint, Link};

pub use generations::RedisGenerations;
pub(crate) use keys::Keys;
pub use read::RedisReader;
pub use write::RedisStore;

use crate::reading::{Document, from_json, to_json, with_notes};
use crate::store::StoreError;
use crate::view::{Notes, Order, OrderView, Stock, StockView};

pub(crate) fn client(url: &str) -> Result<Client, StoreError> {
    let info = url.into_connection_info()?;
    // Off by default, and every request here waits for its answer.
    Ok(Client::open(
        info.set_tcp_settings(TcpSettings::default().set_nodelay(true)),
    )?)
}

/// A connection that comes back by itself; none is made before it is used.
pub(crate) fn connection(url: &str, timeout: Duration) -> Result<ConnectionManager, StoreError> {
    let config = ConnectionManagerConfig::new()
        .set_connection_timeout(Some(Duration::from_secs(1)))
        .set_response_timeout(Some(timeout))
        .set_number_of_retries(1)
        .set_min_delay(Duration::from_millis(20))
        .set_max_delay(Duration::from_millis(200));
    Ok(ConnectionManager::new_lazy_with_config(client(url)?, config)?)
}

/// A watermark as it is stored: `<next offset>:<last offset>:<link>`.
fn watermark(checkpoint: Checkpoint) -> String {
    format!(
        "{}:{}:{}",
        checkpoint.next_offset, checkpoint.last_offset, checkpoint.link
    )
}

pub(crate) fn parse_watermark(text: &str) -> Result<Checkpoint, StoreError> {
    let parse = || {
        let mut parts = text.split(':');
        let next_offset = parts.next()?.parse().ok()?;
        let last_offset = parts.next()?.parse().ok()?;
        let link: Link = parts.next()?.parse().ok()?;
        parts.next().is_none().then_some(Checkpoint {
            next_offset,
            last_offset,
            link,
        })
    };
    parse().ok_or_else(|| StoreError::Corrupt(format!("the watermark {text:?}")))
}

/// An order as it is stored: `<sequence> <causes>`, the document, the notes, on a line each. JSON has no raw line breaks.
fn write_order(order: &Order) -> Result<String, StoreError> {
    Ok(format!(
        "{} {}\n{}\n{}",
        order.view.sequence,
        to_json(&order.causes)?,
        to_json(&order.view)?,
        order.notes.as_json()
    ))
}

/// Stock as it is stored: `<sequence> <causes>`, the document.
fn write_stock(stock: &Stock) -> Result<String, StoreError> {
    Ok(format!(
        "{} {}\n{}",
        stock.view.sequence,
        to_json(&stock.causes)?,
        to_json(&stock.view)?
    ))
}

/// What is before the first of an ASCII character, and what is behind it. A document's lines are long.
fn split(text: &str, at: u8) -> Option<(&str, &str)> {
    let at = memchr::memchr(at, text.as_bytes())?;
    Some((&text[..at], &text[at + 1..]))
}

/// The lines of a stored value: sequence, causes, document, notes.
fn lines(text: &str) -> Result<(u64, &str, &str, &str), StoreError> {
    let parse = || {
        let (head, body) = split(text, b'\n')?;
        let (sequence, causes) = split(head, b' ')?;
        let (doc, notes) = split(body, b'\n').unwrap_or((body, ""));
        Some((sequence.parse().ok()?, causes, doc, notes))
    };
    parse().ok_or_else(|| StoreError::Corrupt("a stored value has another form".to_owned()))
}

pub(crate) fn read_order(text: &str) -> Result<Order, StoreError> {
    let (_, causes, doc, notes) = lines(text)?;
    Ok(Order {
        view: from_json::<OrderView>(doc)?,
        notes: Notes::stored(notes)?,
        causes: from_json(causes)?,
    })
}

pub(crate) fn read_stock(text: &str) -> Result<Stock, StoreError> {
    let (_, causes, doc, _) = lines(text)?;
    Ok(Stock {
        view: from_json::<StockView>(doc)?,
        causes: from_json(causes)?,
    })
}

/// A stored value as it goes out.
fn document(text: &str) -> Result<Document, StoreError> {
    let (sequence, causes, doc, notes) = lines(text)?;
    let json = if notes.is_empty() {
        doc.to_owned()
    } else {
        with_notes(doc, notes)?
    };
    Ok(Document {
        sequence,
        causes: from_json(causes)?,
        json,
    })
}

#[cfg(test)]
mod tests {
    use domain::OrderStatus;
    use eventlog::{Positions, Topic, TopicPartition};
    use schemas::Timestamp;
    use uuid::Uuid;

    use super::*;
    use crate::view::NoteView;

    fn order() -> Order {
        let view = OrderView {
            order_id: Uuid::from_u128(1),
            customer_id: "c".to_owned(),
            status: OrderStatus::Cancelled,
            currency: "GBP".to_owned(),
            total_minor: 3,
            lines: Vec::new(),
            payment: None,
            shipment: None,
            reason: Some("line\nbreak \u{0} and } brace".to_owned()),
            placed_at: Timestamp(1_700_000_000_000_001),
            updated_at: Timestamp(1_700_000_000_000_000),
            sequence: 4,
        };
        let note = NoteView {
            note_id: Uuid::nil(),
            author: "a".to_owned(),
            text: "b\n".to_owned(),
            reply_to: None,
            at: Timestamp(5),
        };
        let causes = [(
            TopicPartition {
                topic: Topic::Stock,
                partition: 2,
            },
            9,
        )]
        .into_iter()
        .collect::<Positions>();
        let mut notes = Notes::default();
        notes.push(&note).unwrap();
        Order { view, notes, causes }
    }

    #[test]
    fn what_is_stored_comes_back() {
        let order = order();
        let text = write_order(&order).unwrap();
        assert_eq!(read_order(&text).unwrap(), order);
        let document = document(&text).unwrap();
        assert_eq!((document.sequence, &document.causes), (4, &order.causes));
        let public: crate::view::OrderDocument = serde_json::from_str(&document.json).unwrap();
        assert_eq!(
            (public.order, public.notes),
            (order.view, order.notes.each().unwrap())
        );

        let stock = Stock {
            view: StockView::new("s".to_owned(), 5, 2, 3),
            causes: Positions::new(),
        };
        assert_eq!(read_stock(&write_stock(&stock).unwrap()).unwrap(), stock);
    }

    #[test]
    fn watermarks_come_back() {
        let checkpoint = Checkpoint {
            next_offset: 12,
            last_offset: 10,
            link: Link([7; 16]),
        };
        for checkpoint in [checkpoint, Checkpoint::BEGINNING] {
            assert_eq!(parse_watermark(&watermark(checkpoint)).unwrap(), checkpoint);
        }
        for bad in ["", "1", "1:2", "1:2:x", "1:2:00000000000000000000000000000000:3"] {
            assert!(parse_watermark(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_stored_otherwise_is_an_error() {
        for bad in ["", "1 []", "x []\n{}\n[]", "1 []\n{\n[]", "1\n{}"] {
            assert!(read_order(bad).is_err(), "{bad:?}");
        }
    }
}
