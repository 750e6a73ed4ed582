//! Events of `shop.orders.events`, Avro namespace `shop.orders.v1`.
//!
//! Each struct has the fields of the `.avsc` file of its name under `schemas/avro/`, in the same order.
#![allow(missing_docs, reason = "the .avsc files document the fields")]

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Barrier, CommandRejected, Timestamp};

/// One line of a placed order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacedLine {
    /// What is ordered.
    pub sku: String,
    /// How many, 1 to 1,000,000.
    pub quantity: i64,
    /// Price of one, in minor units of the order's currency.
    pub unit_price_minor: i64,
}

/// An order was placed: it is `pending` until each line's stock is reserved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderPlaced {
    pub occurred_at: Timestamp,
    pub order_id: Uuid,
    pub customer_id: String,
    /// ISO 4217, three capital letters.
    pub currency: String,
    /// Sum over the lines of quantity times unit price.
    pub total_minor: i64,
    pub lines: Vec<PlacedLine>,
}

/// A line's stock is reserved, and the order's status does not change by it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderLineReserved {
    pub occurred_at: Timestamp,
    pub order_id: Uuid,
    /// Index of the line, from 0.
    pub line: i32,
}

/// A line was refused, and the order was closed already.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderLineRefused {
    pub occurred_at: Timestamp,
    pub order_id: Uuid,
    pub line: i32,
    /// Why, for people.
    pub reason: String,
}

/// The last line's stock is reserved: the order is confirmed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderConfirmed {
    pub occurred_at: Timestamp,
    pub order_id: Uuid,
    /// The line whose reservation completed the order.
    pub line: i32,
}

/// A line of a pending order was refused, which rejects the order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderRejected {
    pub occurred_at: Timestamp,
    pub order_id: Uuid,
    /// The line that was refused.
    pub line: i32,
    pub reason: String,
}

/// The stock of a line of a closed order was given back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderLineReleased {
    pub occurred_at: Timestamp,
    pub order_id: Uuid,
    pub line: i32,
}

/// The stock of a line of a shipped order was taken from what is on hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderLineShipped {
    pub occurred_at: Timestamp,
    pub order_id: Uuid,
    pub line: i32,
}

/// The order was paid in full.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderPaid {
    pub occurred_at: Timestamp,
    pub order_id: Uuid,
    pub amount_minor: i64,
    pub reference: String,
}

/// The order left the house.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderShipped {
    pub occurred_at: Timestamp,
    pub order_id: Uuid,
    pub carrier: String,
    pub tracking_code: String,
}

/// The order was cancelled before it was shipped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderCancelled {
    pub occurred_at: Timestamp,
    pub order_id: Uuid,
    pub reason: String,
}

/// A confirmed order was not paid within the payment window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderExpired {
    pub occurred_at: Timestamp,
    pub order_id: Uuid,
}

/// A note was put on the order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoteAdded {
    pub occurred_at: Timestamp,
    pub order_id: Uuid,
    pub note_id: Uuid,
    pub author: String,
    pub text: String,
    /// The note that this one answers.
    pub reply_to: Option<Uuid>,
}

/// Everything that `shop.orders.events` can hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrderEvent {
    Placed(OrderPlaced),
    LineReserved(OrderLineReserved),
    LineRefused(OrderLineRefused),
    Confirmed(OrderConfirmed),
    Rejected(OrderRejected),
    LineReleased(OrderLineReleased),
    LineShipped(OrderLineShipped),
    Paid(OrderPaid),
    Shipped(OrderShipped),
    Cancelled(OrderCancelled),
    Expired(OrderExpired),
    NoteAdded(NoteAdded),
    /// A command was refused; changes no order.
    CommandRejected(CommandRejected),
    /// Proves a position; changes nothing.
    Barrier(Barrier),
}

impl OrderEvent {
    /// When it was decided.
    pub const fn occurred_at(&self) -> Timestamp {
        match self {
            Self::Placed(event) => event.occurred_at,
            Self::LineReserved(event) => event.occurred_at,
            Self::LineRefused(event) => event.occurred_at,
            Self::Confirmed(event) => event.occurred_at,
            Self::Rejected(event) => event.occurred_at,
            Self::LineReleased(event) => event.occurred_at,
            Self::LineShipped(event) => event.occurred_at,
            Self::Paid(event) => event.occurred_at,
            Self::Shipped(event) => event.occurred_at,
            Self::Cancelled(event) => event.occurred_at,
            Self::Expired(event) => event.occurred_at,
            Self::NoteAdded(event) => event.occurred_at,
            Self::CommandRejected(event) => event.occurred_at,
            Self::Barrier(event) => event.occurred_at,
        }
    }

    /// The order; `None` for a refusal and a barrier.
    pub const fn order_id(&self) -> Option<Uuid> {
        Some(match self {
            Self::Placed(event) => event.order_id,
            Self::LineReserved(event) => event.order_id,
            Self::LineRefused(event) => event.order_id,
            Self::Confirmed(event) => event.order_id,
            Self::Rejected(event) => event.order_id,
            Self::LineReleased(event) => event.order_id,
            Self::LineShipped(event) => event.order_id,
            Self::Paid(event) => event.order_id,
            Self::Shipped(event) => event.order_id,
            Self::Cancelled(event) => event.order_id,
            Self::Expired(event) => event.order_id,
            Self::NoteAdded(event) => event.order_id,
            Self::CommandRejected(_) | Self::Barrier(_) => return None,
        })
    }
}
