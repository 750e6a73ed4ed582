//! How events make an order.

use std::sync::Arc;

use schemas::{OrderEvent, orders::OrderPlaced};
use uuid::Uuid;

use super::notes::Notes;
use super::{Order, OrderStatus, Payment, Placed, Reservation, Shipment};

/// The first event of an order.
pub(crate) fn create(event: &OrderEvent, event_id: Uuid) -> Result<Order, &'static str> {
    let OrderEvent::Placed(OrderPlaced {
        occurred_at,
        customer_id,
        currency,
        total_minor,
        lines,
        ..
    }) = event
    else {
        return Err("the order was not placed");
    };
    Ok(Order {
        sequence: 1,
        status: OrderStatus::Pending,
        reservations: vec![Reservation::Pending; lines.len()],
        pending: u32::try_from(lines.len()).map_err(|_| "too many lines")?,
        reserved: 0,
        placed: Arc::new(Placed {
            event_id,
            at: *occurred_at,
            customer_id: customer_id.clone(),
            currency: currency.clone(),
            total_minor: *total_minor,
            lines: lines.clone(),
        }),
        notes: Notes::default(),
        payment: None,
        shipment: None,
        reason: None,
        confirmed: None,
        closed_event: None,
        shipped_event: None,
        updated_at: *occurred_at,
    })
}

/// Every further event.
pub(crate) fn evolve(mut order: Order, event: &OrderEvent, event_id: Uuid) -> Result<Order, &'static str> {
    use OrderStatus::{Cancelled, Confirmed, Expired, Paid, Pending, Rejected, Shipped};
    match event {
        OrderEvent::Placed(_) => return Err("the order was placed already"),
        OrderEvent::LineReserved(event) => {
            order.turn(event.line, Reservation::Pending, Reservation::Reserved)?;
        }
        OrderEvent::LineRefused(event) => {
            order.turn(event.line, Reservation::Pending, Reservation::Refused)?;
        }
        OrderEvent::Confirmed(event) => {
            order.turn(event.line, Reservation::Pending, Reservation::Reserved)?;
            order.pass(&[Pending], Confirmed)?;
            if order.pending > 0 {
                return Err("a line was not answered yet");
            }
            order.confirmed = Some((event.occurred_at, event_id));
        }
        OrderEvent::Rejected(event) => {
            order.turn(event.line, Reservation::Pending, Reservation::Refused)?;
            order.pass(&[Pending], Rejected)?;
            order.reason = Some(event.reason.as_str().into());
            order.closed_event = Some(event_id);
        }
        OrderEvent::LineReleased(event) => {
            order.turn(event.line, Reservation::Reserved, Reservation::Released)?;
        }
        OrderEvent::LineShipped(event) => {
            order.turn(event.line, Reservation::Reserved, Reservation::Shipped)?;
        }
        OrderEvent::Paid(event) => {
            order.pass(&[Confirmed], Paid)?;
            order.payment = Some(Arc::new(Payment {
                amount_minor: event.amount_minor,
                reference: event.reference.clone(),
                at: event.occurred_at,
            }));
        }
        OrderEvent::Shipped(event) => {
            order.pass(&[Paid], Shipped)?;
            order.shipment = Some(Arc::new(Shipment {
                carrier: event.carrier.clone(),
                tracking_code: event.tracking_code.clone(),
                at: event.occurred_at,
            }));
            order.shipped_event = Some(event_id);
        }
        OrderEvent::Cancelled(event) => {
            order.pass(&[Pending, Confirmed, Paid], Cancelled)?;
            order.reason = Some(event.reason.as_str().into());
            order.closed_event = Some(event_id);
        }
        OrderEvent::Expired(_) => {
            order.pass(&[Confirmed], Expired)?;
            order.closed_event = Some(event_id);
        }
        OrderEvent::NoteAdded(event) => {
            if !order.notes.add(event.into()) {
                return Err("the note was added already");
            }
        }
        OrderEvent::CommandRejected(_) | OrderEvent::Barrier(_) => return Ok(order),
    }
    order.sequence += 1;
    order.updated_at = event.occurred_at();
    Ok(order)
}

impl Order {
    /// Moves a line, and keeps the counters.
    fn turn(&mut self, line: i32, from: Reservation, to: Reservation) -> Result<(), &'static str> {
        let index = usize::try_from(line).map_err(|_| "there is no such line")?;
        let reservation = self.reservations.get_mut(index).ok_or("there is no such line")?;
        if *reservation != from {
            return Err("the line is elsewhere");
        }
        *reservation = to;
        match from {
            Reservation::Pending => self.pending -= 1,
            Reservation::Reserved => self.reserved -= 1,
            Reservation::Refused | Reservation::Released | Reservation::Shipped => {}
        }
        if to == Reservation::Reserved {
            self.reserved += 1;
        }
        Ok(())
    }

    /// Moves the order.
    fn pass(&mut self, from: &[OrderStatus], to: OrderStatus) -> Result<(), &'static str> {
        if !from.contains(&self.status) {
            return Err("the order's status is another");
        }
        self.status = to;
        Ok(())
    }
}
