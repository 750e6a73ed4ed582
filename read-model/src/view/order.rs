//! An order as it is shown. The shapes are the API's: fields may be added, never renamed.

use domain::OrderStatus;
use eventlog::Positions;
use schemas::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Notes, time};

/// How far a line's stock has come. What left the house is still shown as reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReservationView {
    /// Not answered yet.
    Pending,
    /// Reserved for this order.
    Reserved,
    /// There was not enough, or no such SKU.
    Refused,
    /// Given back.
    Released,
}

/// One line of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LineView {
    /// Index of the line, from 0.
    pub line: i32,
    /// What is ordered.
    pub sku: String,
    /// How many.
    pub quantity: i64,
    /// Price of one, in minor units.
    pub unit_price_minor: i64,
    /// How far its stock has come.
    pub reservation: ReservationView,
}

/// A payment in full.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PaymentView {
    /// The order's total, in minor units.
    pub amount_minor: i64,
    /// The payer's reference.
    pub reference: String,
    /// When.
    #[serde(with = "time")]
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
}

/// A shipment of everything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ShipmentView {
    /// Who carries it.
    pub carrier: String,
    /// Where to ask for it.
    pub tracking_code: String,
    /// When.
    #[serde(with = "time")]
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
}

/// A note on an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NoteView {
    /// The note's id.
    pub note_id: Uuid,
    /// Who wrote it.
    pub author: String,
    /// What.
    pub text: String,
    /// The note that it answers.
    pub reply_to: Option<Uuid>,
    /// When.
    #[serde(with = "time")]
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
}

/// An order without its notes, as in a customer's list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OrderView {
    /// The order's id.
    pub order_id: Uuid,
    /// Whose it is.
    pub customer_id: String,
    /// `pending`, `confirmed`, `rejected`, `paid`, `shipped`, `cancelled` or `expired`.
    #[schema(value_type = String, example = "confirmed")]
    pub status: OrderStatus,
    /// ISO 4217.
    pub currency: String,
    /// Sum of the lines, in minor units.
    pub total_minor: i64,
    /// The lines.
    pub lines: Vec<LineView>,
    /// The payment, once there is one.
    pub payment: Option<PaymentView>,
    /// The shipment, once there is one.
    pub shipment: Option<ShipmentView>,
    /// Why it was rejected or cancelled.
    pub reason: Option<String>,
    /// When it was placed.
    #[serde(with = "time")]
    #[schema(value_type = String, format = DateTime)]
    pub placed_at: Timestamp,
    /// When it last changed.
    #[serde(with = "time")]
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
    /// How many events it has had: its version.
    pub sequence: u64,
}

/// An order with its notes: what `GET /v1/orders/{id}` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OrderDocument {
    /// The order.
    #[serde(flatten)]
    pub order: OrderView,
    /// Its notes, oldest first.
    pub notes: Vec<NoteView>,
}

/// An order as a model holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// What is shown in lists.
    pub view: OrderView,
    /// What is shown beside it.
    pub notes: Notes,
    /// What its events depend on: goes into the token of whoever reads it.
    pub causes: Positions,
}
