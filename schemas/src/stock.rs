//! Events of `shop.stock.events`, Avro namespace `shop.stock.v1`.
//!
//! Each struct has the fields of the `.avsc` file of its name under `schemas/avro/`, in the same order.
#![allow(missing_docs, reason = "the .avsc files document the fields")]

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Barrier, CommandRejected, Timestamp};

/// Stock came in; the first receipt of a SKU creates it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockReceived {
    pub occurred_at: Timestamp,
    pub sku: String,
    pub quantity: i64,
}

/// What is on hand was corrected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockAdjusted {
    pub occurred_at: Timestamp,
    pub sku: String,
    /// Signed.
    pub quantity: i64,
    pub reason: String,
}

/// Stock was reserved for one line of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockReserved {
    pub occurred_at: Timestamp,
    pub sku: String,
    pub order_id: Uuid,
    pub line: i32,
    pub quantity: i64,
}

/// A reservation was given back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockReleased {
    pub occurred_at: Timestamp,
    pub sku: String,
    pub order_id: Uuid,
    pub line: i32,
    pub quantity: i64,
}

/// A reservation left the house: taken from what is on hand and from what is reserved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockShipped {
    pub occurred_at: Timestamp,
    pub sku: String,
    pub order_id: Uuid,
    pub line: i32,
    pub quantity: i64,
}

/// Everything that `shop.stock.events` can hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StockEvent {
    Received(StockReceived),
    Adjusted(StockAdjusted),
    Reserved(StockReserved),
    Released(StockReleased),
    Shipped(StockShipped),
    /// A command was refused; changes no stock.
    CommandRejected(CommandRejected),
    /// Proves a position; changes nothing.
    Barrier(Barrier),
}

impl StockEvent {
    /// When it was decided.
    pub const fn occurred_at(&self) -> Timestamp {
        match self {
            Self::Received(event) => event.occurred_at,
            Self::Adjusted(event) => event.occurred_at,
            Self::Reserved(event) => event.occurred_at,
            Self::Released(event) => event.occurred_at,
            Self::Shipped(event) => event.occurred_at,
            Self::CommandRejected(event) => event.occurred_at,
            Self::Barrier(event) => event.occurred_at,
        }
    }

    /// The SKU; `None` for a refusal and a barrier.
    pub fn sku(&self) -> Option<&str> {
        Some(match self {
            Self::Received(event) => &event.sku,
            Self::Adjusted(event) => &event.sku,
            Self::Reserved(event) => &event.sku,
            Self::Released(event) => &event.sku,
            Self::Shipped(event) => &event.sku,
            Self::CommandRejected(_) | Self::Barrier(_) => return None,
        })
    }
}
