//! What a writer has folded, as it is shown: the same documents as the projection makes of the same events.
//!
//! Where no model is far enough, a read is answered from the writer's own state; nobody must see the difference. A property test
//! holds the two folds together.

use domain::Reservation;
use eventlog::Positions;
use uuid::Uuid;

use super::{
    LineView, NoteView, Notes, Order, OrderDocument, OrderView, PaymentView, ReservationView, ShipmentView,
    Stock, StockView,
};

impl OrderView {
    /// The order with that id, without its notes.
    pub fn of_state(order_id: Uuid, order: &domain::Order) -> Self {
        let lines = order.lines().map(|line| LineView {
            line: line.line,
            sku: line.placed.sku.clone(),
            quantity: line.placed.quantity,
            unit_price_minor: line.placed.unit_price_minor,
            reservation: line.reservation.into(),
        });
        let payment = order.payment.as_deref().map(|payment| PaymentView {
            amount_minor: payment.amount_minor,
            reference: payment.reference.clone(),
            at: payment.at,
        });
        let shipment = order.shipment.as_deref().map(|shipment| ShipmentView {
            carrier: shipment.carrier.clone(),
            tracking_code: shipment.tracking_code.clone(),
            at: shipment.at,
        });
        Self {
            order_id,
            customer_id: order.placed.customer_id.clone(),
            status: order.status,
            currency: order.placed.currency.clone(),
            total_minor: order.placed.total_minor,
            lines: lines.collect(),
            payment,
            shipment,
            reason: order.reason.as_deref().map(str::to_owned),
            placed_at: order.placed.at,
            updated_at: order.updated_at,
            sequence: order.sequence,
        }
    }
}

impl OrderDocument {
    /// The order with that id.
    pub fn of_state(order_id: Uuid, order: &domain::Order) -> Self {
        Self {
            order: OrderView::of_state(order_id, order),
            notes: order.notes().map(NoteView::from).collect(),
        }
    }
}

impl Order {
    /// The order with that id, with what its events depend on.
    ///
    /// # Errors
    /// As [`Notes::push`].
    pub fn of_state(order_id: Uuid, order: &domain::Order, causes: Positions) -> serde_json::Result<Self> {
        Ok(Self {
            view: OrderView::of_state(order_id, order),
            notes: Notes::of_state(order)?,
            causes,
        })
    }
}

impl Notes {
    /// The notes of an order.
    ///
    /// # Errors
    /// As [`Notes::push`].
    pub fn of_state(order: &domain::Order) -> serde_json::Result<Self> {
        let mut notes = Self::default();
        for note in order.notes() {
            notes.push(&NoteView::from(note))?;
        }
        Ok(notes)
    }
}

impl StockView {
    /// The stock of that SKU.
    pub fn of_state(sku: impl Into<String>, stock: &domain::Stock) -> Self {
        Self::new(sku.into(), stock.on_hand, stock.reserved, stock.sequence)
    }
}

impl Stock {
    /// The stock of that SKU, with what its events depend on.
    pub fn of_state(sku: impl Into<String>, stock: &domain::Stock, causes: Positions) -> Self {
        Self {
            view: StockView::of_state(sku, stock),
            causes,
        }
    }
}

impl From<Reservation> for ReservationView {
    fn from(reservation: Reservation) -> Self {
        match reservation {
            Reservation::Pending => Self::Pending,
            Reservation::Reserved | Reservation::Shipped => Self::Reserved,
            Reservation::Refused => Self::Refused,
            Reservation::Released => Self::Released,
        }
    }
}

impl From<&domain::Note> for NoteView {
    fn from(note: &domain::Note) -> Self {
        Self {
            note_id: note.note_id,
            author: note.author.clone(),
            text: note.text.clone(),
            reply_to: note.reply_to,
            at: note.at,
        }
    }
}
