//! An order: its state, and where its decisions and its fold are.

mod decide;
mod evolve;
mod notes;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use schemas::{Timestamp, orders::PlacedLine};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use notes::Notes;

pub(crate) use decide::decide;
pub(crate) use evolve::{create, evolve};
pub use notes::Note;

/// What an order takes beside its lines, its notes and the texts that come later, about.
const ORDER_BYTES: usize = 500;

/// What a line takes, about.
const LINE_BYTES: usize = 80;

/// An order's status. Rejected, cancelled and expired orders are *closed*: they give back what was reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderStatus {
    /// Placed; not every line's stock is reserved yet.
    Pending,
    /// Every line's stock is reserved.
    Confirmed,
    /// A line was refused.
    Rejected,
    /// Paid in full.
    Paid,
    /// Left the house.
    Shipped,
    /// Cancelled before it was shipped.
    Cancelled,
    /// Not paid within the payment window.
    Expired,
}

impl OrderStatus {
    /// As the contract spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Confirmed => "confirmed",
            Self::Rejected => "rejected",
            Self::Paid => "paid",
            Self::Shipped => "shipped",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }

    /// Whether what was reserved for it is to be given back.
    pub const fn is_closed(self) -> bool {
        matches!(self, Self::Rejected | Self::Cancelled | Self::Expired)
    }
}

/// How far a line's stock has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reservation {
    /// Not answered yet.
    Pending,
    /// Reserved.
    Reserved,
    /// Refused.
    Refused,
    /// Given back.
    Released,
    /// Left the house.
    Shipped,
}

impl Reservation {
    /// As the contract spells it: what left the house is still shown as reserved for this order.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Reserved | Self::Shipped => "reserved",
            Self::Refused => "refused",
            Self::Released => "released",
        }
    }
}

/// What never changes about an order. Shared by all clones of its state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placed {
    /// The event that placed it.
    pub event_id: Uuid,
    /// When.
    pub at: Timestamp,
    /// Who ordered.
    pub customer_id: String,
    /// ISO 4217.
    pub currency: String,
    /// Sum of the lines.
    pub total_minor: i64,
    /// The lines, in the order that they were sent in.
    pub lines: Vec<PlacedLine>,
}

/// An order's payment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payment {
    /// Always the order's total.
    pub amount_minor: i64,
    /// The payer's reference.
    pub reference: String,
    /// When.
    pub at: Timestamp,
}

/// How an order left the house.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shipment {
    /// Who carries it.
    pub carrier: String,
    /// Where to ask for it.
    pub tracking_code: String,
    /// When.
    pub at: Timestamp,
}

/// One line and how far its stock has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// Index, from 0.
    pub line: i32,
    /// What was ordered.
    pub placed: &'a PlacedLine,
    /// How far its stock has come.
    pub reservation: Reservation,
}

/// The folded state of an order.
///
/// The order as it was placed and its notes are shared and a line's reservation is one byte, so that a clone costs next to
/// nothing even with a thousand lines or notes. The two counters answer "is there anything to do?" without looking at a line.
///
/// It holds all that is shown of an order, also what no decision needs, so that it answers a read where no read model is far
/// enough.
///
/// Serialized, it is what writers store: see [`crate::State::STORAGE_VERSION`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// How many events made it.
    pub sequence: u64,
    /// Its status.
    pub status: OrderStatus,
    /// What never changes.
    pub placed: Arc<Placed>,
    /// One for each line.
    reservations: Vec<Reservation>,
    /// Lines that are `Pending`.
    pending: u32,
    /// Lines that are `Reserved`.
    reserved: u32,
    /// Its notes.
    notes: Notes,
    /// Its payment.
    pub payment: Option<Arc<Payment>>,
    /// Its shipment.
    pub shipment: Option<Arc<Shipment>>,
    /// Why it was rejected or cancelled.
    pub reason: Option<Arc<str>>,
    /// When it was confirmed, which is where the payment window begins, and the event that did it.
    pub confirmed: Option<(Timestamp, Uuid)>,
    /// The event that rejected, cancelled or expired it.
    pub closed_event: Option<Uuid>,
    /// The event that shipped it.
    pub shipped_event: Option<Uuid>,
    /// When its last event was decided.
    pub updated_at: Timestamp,
}

impl Order {
    /// Its lines.
    pub fn lines(&self) -> impl ExactSizeIterator<Item = Line<'_>> {
        self.placed
            .lines
            .iter()
            .zip(&self.reservations)
            .enumerate()
            .map(|(index, (placed, &reservation))| Line {
                line: i32::try_from(index).unwrap_or(i32::MAX),
                placed,
                reservation,
            })
    }

    /// How far a line's stock has come; `None` where there is no such line.
    pub fn reservation(&self, line: i32) -> Option<Reservation> {
        self.reservations.get(usize::try_from(line).ok()?).copied()
    }

    /// Whether a note of that id is on it.
    pub fn has_note(&self, note_id: Uuid) -> bool {
        self.notes.contains(note_id)
    }

    /// Its notes, oldest first.
    pub fn notes(&self) -> impl Iterator<Item = &Note> {
        self.notes.iter()
    }

    /// Bytes of memory that it takes, about. O(1): it is asked with every change.
    pub fn bytes(&self) -> usize {
        let texts = |texts: &[&str]| texts.iter().map(|text| text.len()).sum::<usize>();
        let payment = self
            .payment
            .as_ref()
            .map_or(0, |payment| texts(&[&payment.reference]));
        let shipment = self
            .shipment
            .as_ref()
            .map_or(0, |shipment| texts(&[&shipment.carrier, &shipment.tracking_code]));
        ORDER_BYTES
            + LINE_BYTES * self.placed.lines.len()
            + self.notes.bytes()
            + payment
            + shipment
            + self.reason.as_ref().map_or(0, |reason| reason.len())
    }

    /// How many steps the process manager has to take from here, as far as the state tells. O(1).
    pub const fn steps_left(&self) -> u32 {
        if self.status.is_closed() || matches!(self.status, OrderStatus::Shipped) {
            self.pending + self.reserved
        } else {
            self.pending
        }
    }
}
