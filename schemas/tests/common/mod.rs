//! One event of each kind, and any event.

#![allow(unreachable_pub, reason = "a module of each test file that names it")]

use proptest::prelude::*;
use schemas::{
    Barrier, Codec, CommandRejected, Event, OrderEvent, StockEvent, Timestamp, all,
    orders::{
        NoteAdded, OrderCancelled, OrderConfirmed, OrderExpired, OrderLineRefused, OrderLineReleased,
        OrderLineReserved, OrderLineShipped, OrderPaid, OrderPlaced, OrderRejected, OrderShipped, PlacedLine,
    },
    stock::{StockAdjusted, StockReceived, StockReleased, StockReserved, StockShipped},
};
use uuid::Uuid;

/// A codec in which the record with index n has id 100 + n.
#[allow(dead_code, reason = "not every test file encodes")]
pub fn codec() -> Codec {
    Codec::new(all().iter().zip(100..)).expect("each definition has an id")
}

/// What events are made from.
#[derive(Clone, Debug)]
pub struct Parts {
    pub at: i64,
    pub id: Uuid,
    pub other: Option<Uuid>,
    pub number: i64,
    pub line: i32,
    pub text: String,
}

impl Parts {
    /// One event of each kind, in the order of [`all`].
    pub fn one_of_each(&self) -> Vec<Event> {
        let orders = self.orders().into_iter().map(Event::Order);
        orders.chain(self.stock().into_iter().map(Event::Stock)).collect()
    }

    fn rejected(&self) -> CommandRejected {
        let (command, reason, problem) = (self.text.clone(), self.text.clone(), self.text.repeat(3));
        CommandRejected {
            occurred_at: Timestamp(self.at),
            command,
            reason,
            problem,
        }
    }

    fn orders(&self) -> [OrderEvent; 14] {
        let Self {
            at,
            id: order_id,
            other,
            number,
            line,
            ref text,
        } = *self;
        let occurred_at = Timestamp(at);
        let reason = text.clone();
        let placed = PlacedLine {
            sku: text.clone(),
            quantity: number,
            unit_price_minor: number,
        };
        let lines = std::iter::repeat_n(placed, line.unsigned_abs() as usize % 5).collect();
        [
            OrderEvent::Placed(OrderPlaced {
                occurred_at,
                order_id,
                customer_id: text.clone(),
                currency: "GBP".into(),
                total_minor: number,
                lines,
            }),
            OrderEvent::LineReserved(OrderLineReserved {
                occurred_at,
                order_id,
                line,
            }),
            OrderEvent::LineRefused(OrderLineRefused {
                occurred_at,
                order_id,
                line,
                reason: reason.clone(),
            }),
            OrderEvent::Confirmed(OrderConfirmed {
                occurred_at,
                order_id,
                line,
            }),
            OrderEvent::Rejected(OrderRejected {
                occurred_at,
                order_id,
                line,
                reason: reason.clone(),
            }),
            OrderEvent::LineReleased(OrderLineReleased {
                occurred_at,
                order_id,
                line,
            }),
            OrderEvent::LineShipped(OrderLineShipped {
                occurred_at,
                order_id,
                line,
            }),
            OrderEvent::Paid(OrderPaid {
                occurred_at,
                order_id,
                amount_minor: number,
                reference: text.clone(),
            }),
            OrderEvent::Shipped(OrderShipped {
                occurred_at,
                order_id,
                carrier: text.clone(),
                tracking_code: text.clone(),
            }),
            OrderEvent::Cancelled(OrderCancelled {
                occurred_at,
                order_id,
                reason: reason.clone(),
            }),
            OrderEvent::Expired(OrderExpired {
                occurred_at,
                order_id,
            }),
            OrderEvent::NoteAdded(NoteAdded {
                occurred_at,
                order_id,
                note_id: order_id,
                author: text.clone(),
                text: text.clone(),
                reply_to: other,
            }),
            OrderEvent::CommandRejected(self.rejected()),
            OrderEvent::Barrier(Barrier { occurred_at }),
        ]
    }

    fn stock(&self) -> [StockEvent; 7] {
        let Self {
            at,
            id: order_id,
            number: quantity,
            line,
            ref text,
            ..
        } = *self;
        let occurred_at = Timestamp(at);
        let (sku, reason) = (text.clone(), text.clone());
        [
            StockEvent::Received(StockReceived {
                occurred_at,
                sku: sku.clone(),
                quantity,
            }),
            StockEvent::Adjusted(StockAdjusted {
                occurred_at,
                sku: sku.clone(),
                quantity,
                reason,
            }),
            StockEvent::Reserved(StockReserved {
                occurred_at,
                sku: sku.clone(),
                order_id,
                line,
                quantity,
            }),
            StockEvent::Released(StockReleased {
                occurred_at,
                sku: sku.clone(),
                order_id,
                line,
                quantity,
            }),
            StockEvent::Shipped(StockShipped {
                occurred_at,
                sku,
                order_id,
                line,
                quantity,
            }),
            StockEvent::CommandRejected(self.rejected()),
            StockEvent::Barrier(Barrier { occurred_at }),
        ]
    }
}

/// Any event.
#[allow(dead_code, reason = "not every test file draws events")]
pub fn any_event() -> impl Strategy<Value = Event> {
    let uuid = any::<u128>().prop_map(Uuid::from_u128);
    let parts = (
        any::<i64>(),
        uuid.clone(),
        proptest::option::of(uuid),
        any::<i64>(),
        any::<i32>(),
        ".{0,40}",
    );
    (parts, 0..all().len()).prop_map(|((at, id, other, number, line, text), index)| {
        Parts {
            at,
            id,
            other,
            number,
            line,
            text,
        }
        .one_of_each()
        .swap_remove(index)
    })
}
