//! The projection of what is sold, made from how orders change.
//!
//! An order's lines count while it is confirmed, paid or shipped, on the UTC day on which it was placed; cancelled or expired,
//! they are taken out again. Lines, currency and day never change, so a change of the sales is all lines in or all lines out.

use std::collections::BTreeMap;

use domain::OrderStatus;

use crate::view::{Day, OrderView};

/// Whether an order's lines count as sold.
pub const fn is_sold(status: OrderStatus) -> bool {
    matches!(
        status,
        OrderStatus::Confirmed | OrderStatus::Paid | OrderStatus::Shipped
    )
}

/// What sales are counted by, in the order in which stores keep it: who comes in that order finds his place faster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SalesKey<'a> {
    /// The day on which the order was placed.
    pub day: Day,
    /// What was sold.
    pub sku: &'a str,
    /// ISO 4217.
    pub currency: &'a str,
    /// The order's partition.
    pub partition: i32,
}

/// How much, or how much more or less. Sums of 64-bit numbers, so that none overflows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Pieces.
    pub quantity: i128,
    /// In minor units.
    pub revenue_minor: i128,
}

/// Changes of the sales, summed for each key.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct SalesChanges<'a>(BTreeMap<SalesKey<'a>, Amount>);

impl<'a> SalesChanges<'a> {
    /// Takes in how an order changed: whether it counted before, and how it is now.
    pub fn take(&mut self, partition: i32, was_sold: bool, order: &'a OrderView) {
        let sign = match (was_sold, is_sold(order.status)) {
            (false, true) => 1,
            (true, false) => -1,
            (true, true) | (false, false) => return,
        };
        for line in &order.lines {
            let key = SalesKey {
                partition,
                day: Day::of(order.placed_at),
                sku: &line.sku,
                currency: &order.currency,
            };
            let amount = self.0.entry(key).or_default();
            amount.quantity += sign * i128::from(line.quantity);
            amount.revenue_minor += sign * i128::from(revenue_minor(line.quantity, line.unit_price_minor));
        }
    }

    /// Whether nothing is to be changed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is to be added, in the order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (SalesKey<'a>, Amount)> {
        self.0.iter().map(|(key, amount)| (*key, *amount))
    }
}

/// What a line is worth. An order's total fits 64 bits, so nothing is cut off but what no writer would have let in.
pub const fn revenue_minor(quantity: i64, unit_price_minor: i64) -> i64 {
    quantity.saturating_mul(unit_price_minor)
}
