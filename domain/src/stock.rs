//! The stock of a SKU: its state, and where its decisions and its fold are.
//!
//! A reservation is known by (order, line). Only open ones are kept, so that the state grows with the orders in hand
//! and not with those of all time. A late repeat of `ReserveStock` for a pair that was released or shipped since can
//! still do no harm: it has the same command id as the first one (it follows from the event that placed the order, the
//! step and the line), which the engine remembers for 24 hours of log time and answers without deciding; and a process
//! manager issues it only while the folded order shows the line as pending, which it stopped being, for ever, before
//! the release or the shipment could be asked for. A repeat of `ReleaseStock` or `ShipStock` finds no open reservation
//! and is refused as already done.

mod decide;
mod evolve;
mod stored;
#[cfg(test)]
mod tests;

use rpds::HashTrieMapSync;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub(crate) use decide::decide;
pub(crate) use evolve::evolve;

/// What a reservation is known by: the order and the index of its line.
pub type ReservationKey = (Uuid, i32);

/// The folded state of the stock of a SKU.
///
/// The open reservations are in a persistent map, so that a clone of a hot SKU with 100,000 of them costs nothing.
///
/// Serialized, it is what writers store: see [`crate::State::STORAGE_VERSION`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stock {
    /// How many events made it.
    pub sequence: u64,
    /// What is in the house.
    pub on_hand: i64,
    /// What of it is promised to orders.
    pub reserved: i64,
    /// The open reservations and their quantities; their sum is `reserved`.
    #[serde(with = "stored")]
    pub reservations: HashTrieMapSync<ReservationKey, i64>,
}

/// Children of a node of the map of reservations. Each change copies the nodes on the way to it, so small nodes beat few
/// levels.
const DEGREE: u8 = 8;

/// What a stock takes beside its open reservations, and each of those, about.
const STOCK_BYTES: usize = 200;
const RESERVATION_BYTES: usize = 100;

impl Default for Stock {
    /// Nothing was ever received.
    fn default() -> Self {
        Self {
            sequence: 0,
            on_hand: 0,
            reserved: 0,
            reservations: HashTrieMapSync::new_sync_with_degree(DEGREE),
        }
    }
}

impl Stock {
    /// What can still be taken. Never negative.
    pub const fn available(&self) -> i64 {
        self.on_hand - self.reserved
    }

    /// Bytes of memory that it takes, about. O(1).
    pub fn bytes(&self) -> usize {
        STOCK_BYTES + RESERVATION_BYTES * self.reservations.size()
    }

    /// The totals without the open reservations, which a reader does not see and of which there may be very many. No command can
    /// be decided on it.
    #[must_use]
    pub fn totals(&self) -> Self {
        Self {
            sequence: self.sequence,
            on_hand: self.on_hand,
            reserved: self.reserved,
            ..Self::default()
        }
    }
}
