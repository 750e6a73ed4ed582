use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// An order takes no line more.
pub const LINES_AT_MOST: usize = 100;

/// About 250 bytes as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderPlaced {
    pub order_id: Uuid,
    pub customer_id: Uuid,
    pub currency: String,
    pub lines: Vec<Line>,
    pub placed_at: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineAdded {
    pub order_id: Uuid,
    pub line: Line,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    pub sku: String,
    pub quantity: u32,
    pub unit_price_minor: i64,
}

impl OrderPlaced {
    pub fn example(order_id: Uuid) -> Self {
        Self {
            order_id,
            customer_id: Uuid::new_v4(),
            currency: "GBP".to_owned(),
            lines: vec![Line::example()],
            placed_at: "2026-01-31T12:34:56.789Z".to_owned(),
        }
    }
}

impl Line {
    pub fn example() -> Self {
        Self {
            sku: "85123A-hanging-heart".to_owned(),
            quantity: 6,
            unit_price_minor: 255,
        }
    }
}

/// Why a command is not obeyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    AlreadyPlaced,
    NotPlaced,
    TooManyLines,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::AlreadyPlaced => "the order is placed already",
            Self::NotPlaced => "the order is not placed",
            Self::TooManyLines => "the order has too many lines",
        })
    }
}

impl std::error::Error for Refused {}
