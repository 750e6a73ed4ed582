//! A log of orders, made one record after the other. An order that has five events, or nine, leaves nothing to do for the
//! process manager.

use std::sync::Arc;

use eventlog::{Link, LogId, NewRecord, Positions, partition_of};
use schemas::orders::{
    NoteAdded, OrderConfirmed, OrderLineReserved, OrderLineShipped, OrderPaid, OrderPlaced, OrderShipped,
    PlacedLine,
};
use schemas::{Codec, Event, OrderEvent, Timestamp, ids};
use uuid::Uuid;

/// Orders that are under way at the same time.
const AT_ONCE: u64 = 10_000;

/// Makes the records: so many events of each order, of some orders at a time; then further notes, of one order after the other.
pub struct History {
    codec: Codec,
    partitions: i32,
    aggregates: u64,
    events_each: u64,
    made: u64,
    /// Of each partition.
    tails: Vec<(Link, i64)>,
    causes: Arc<[u8]>,
}

impl History {
    /// `codec` and `log_id` are those of the log that it is to be in.
    pub fn new(codec: Codec, log_id: LogId, partitions: i32, aggregates: u64, events_each: u64) -> Self {
        Self {
            codec,
            partitions,
            aggregates,
            events_each,
            made: 0,
            tails: (0..partitions).map(|_| (Link::ZERO, 0)).collect(),
            causes: Positions::new().encode(log_id).into(),
        }
    }

    pub fn order_id(number: u64) -> Uuid {
        ids::created_id(Uuid::from_u64_pair(1, number), "order")
    }

    /// How many events all orders have before the further notes.
    pub fn events(&self) -> u64 {
        self.aggregates * self.events_each
    }

    /// The order of the n-th event, and how many that order had before.
    fn turn(&self, made: u64) -> (u64, u64) {
        if made >= self.events() {
            let further = made - self.events();
            return (
                further % self.aggregates,
                self.events_each + further / self.aggregates,
            );
        }
        let first = made / (AT_ONCE * self.events_each) * AT_ONCE;
        let at_once = AT_ONCE.min(self.aggregates - first);
        let since = made - first * self.events_each;
        (first + since % at_once, since / at_once)
    }

    /// Where an order is.
    pub fn partition(&self, order_id: Uuid) -> usize {
        let partition = partition_of(order_id.to_string().as_bytes(), self.partitions);
        usize::try_from(partition).unwrap_or(0)
    }

    /// The next record, its partition, and the offset that it has in a log with nothing else in it.
    pub fn next_record(&mut self) -> anyhow::Result<(usize, i64, NewRecord)> {
        let (number, round) = self.turn(self.made);
        self.made += 1;
        let order_id = Self::order_id(number);
        let command_id = Uuid::from_u64_pair(2, self.made);
        // 5,000 a second.
        let occurred_at = Timestamp(1_700_000_000_000_000 + i64::try_from(self.made).unwrap_or(0) * 200);
        let event = event(round, order_id, occurred_at);
        let partition = self.partition(order_id);
        let (after, offset) = self.tails[partition];
        let mut command = [3; 32];
        command[..16].copy_from_slice(command_id.as_bytes());
        let record = NewRecord {
            key: order_id.to_string().into_bytes(),
            value: self.codec.encode(&event)?,
            event_id: ids::event_id(command_id),
            event_type: event.full_name(),
            occurred_at,
            sequence: Some(round + 1),
            traceparent: None,
            command,
            after: Link::ZERO,
            link: Link::ZERO,
            causes: Arc::clone(&self.causes),
            source: None,
        }
        .chained(after);
        self.tails[partition] = (record.link, offset + 1);
        Ok((partition, offset, record))
    }
}

/// The event of an order that had so many: a life that ends with notes.
fn event(round: u64, order_id: Uuid, occurred_at: Timestamp) -> Event {
    let line = |number: i64| PlacedLine {
        sku: format!(
            "SKU-{:05}",
            order_id.as_u128() % 20_000 + u128::from(number.unsigned_abs())
        ),
        quantity: number,
        unit_price_minor: 1_250,
    };
    Event::Order(match round {
        0 => OrderEvent::Placed(OrderPlaced {
            occurred_at,
            order_id,
            customer_id: format!("customer-{:06}", order_id.as_u128() % 300_000),
            currency: "EUR".to_owned(),
            total_minor: 7_500,
            lines: (1..=3).map(line).collect(),
        }),
        1 | 2 => OrderEvent::LineReserved(OrderLineReserved {
            occurred_at,
            order_id,
            line: i32::from(round == 2),
        }),
        3 => OrderEvent::Confirmed(OrderConfirmed {
            occurred_at,
            order_id,
            line: 2,
        }),
        4 => OrderEvent::Paid(OrderPaid {
            occurred_at,
            order_id,
            amount_minor: 7_500,
            reference: "a bank's reference".to_owned(),
        }),
        5 => OrderEvent::Shipped(OrderShipped {
            occurred_at,
            order_id,
            carrier: "carrier".to_owned(),
            tracking_code: "TRACK-123456".to_owned(),
        }),
        6..=8 => OrderEvent::LineShipped(OrderLineShipped {
            occurred_at,
            order_id,
            line: i32::try_from(round - 6).unwrap_or(0),
        }),
        _ => OrderEvent::NoteAdded(NoteAdded {
            occurred_at,
            order_id,
            note_id: ids::created_id(order_id, &round.to_string()),
            author: "author".to_owned(),
            text: "a note of some length".to_owned(),
            reply_to: None,
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_order_has_its_events_in_their_order() {
        let codec = Codec::new(schemas::all().iter().zip(1..)).unwrap();
        let history = History::new(codec, LogId([7; 8]), 3, AT_ONCE + 5, 4);
        let mut seen = vec![0; usize::try_from(AT_ONCE).unwrap() + 5];
        for made in 0..history.events() + 7 {
            let (number, round) = history.turn(made);
            let events = &mut seen[usize::try_from(number).unwrap()];
            assert_eq!(*events, round);
            *events += 1;
        }
        assert_eq!(seen.iter().filter(|events| **events == 5).count(), 7);
        assert!(seen.iter().all(|events| (4..=5).contains(events)));
    }
}
