//! The stock of a SKU as it is shown.

use eventlog::Positions;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What `GET /v1/stock/{sku}` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StockView {
    /// What it is the stock of.
    pub sku: String,
    /// How much is in the house.
    pub on_hand: i64,
    /// How much of it is reserved for orders.
    pub reserved: i64,
    /// `on_hand - reserved`, never negative.
    pub available: i64,
    /// How many events it has had: its version.
    pub sequence: u64,
}

impl StockView {
    /// With what is available made from the other two.
    pub const fn new(sku: String, on_hand: i64, reserved: i64, sequence: u64) -> Self {
        Self {
            sku,
            on_hand,
            reserved,
            available: on_hand.saturating_sub(reserved),
            sequence,
        }
    }
}

/// The stock of a SKU as a model holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stock {
    /// What is shown.
    pub view: StockView,
    /// What its events depend on: goes into the token of whoever reads it.
    pub causes: Positions,
}
