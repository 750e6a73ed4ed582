//! The projection of `shop.orders.events`.

use domain::OrderStatus;
use eventlog::Positions;
use schemas::OrderEvent;
use schemas::orders::OrderPlaced;

use super::Misfit;
use crate::view::{LineView, NoteView, Notes, Order, OrderView, PaymentView, ReservationView, ShipmentView};

/// Applies one event of an order. Whether anything changed; on a [`Misfit`] nothing did.
pub fn apply_order(
    order: &mut Option<Order>,
    event: &OrderEvent,
    causes: &Positions,
) -> Result<bool, Misfit> {
    match (order.as_mut(), event) {
        (_, OrderEvent::CommandRejected(_) | OrderEvent::Barrier(_)) => Ok(false),
        (None, OrderEvent::Placed(placed)) => {
            *order = Some(create(placed, causes)?);
            Ok(true)
        }
        (Some(_), OrderEvent::Placed(_)) => Err(Misfit::AlreadyThere),
        (None, _) => Err(Misfit::Missing),
        (Some(order), event) => {
            change(order, event)?;
            order.view.sequence += 1;
            order.view.updated_at = event.occurred_at();
            order.causes.merge(causes);
            Ok(true)
        }
    }
}

fn create(placed: &OrderPlaced, causes: &Positions) -> Result<Order, Misfit> {
    let lines = placed.lines.iter().enumerate().map(|(index, line)| {
        Ok(LineView {
            line: i32::try_from(index).map_err(|_| Misfit::OutOfRange)?,
            sku: line.sku.clone(),
            quantity: line.quantity,
            unit_price_minor: line.unit_price_minor,
            reservation: ReservationView::Pending,
        })
    });
    let view = OrderView {
        order_id: placed.order_id,
        customer_id: placed.customer_id.clone(),
        status: OrderStatus::Pending,
        currency: placed.currency.clone(),
        total_minor: placed.total_minor,
        lines: lines.collect::<Result<_, _>>()?,
        payment: None,
        shipment: None,
        reason: None,
        placed_at: placed.occurred_at,
        updated_at: placed.occurred_at,
        sequence: 1,
    };
    Ok(Order {
        view,
        notes: Notes::default(),
        causes: causes.clone(),
    })
}

fn change(order: &mut Order, event: &OrderEvent) -> Result<(), Misfit> {
    let Order { view, notes, .. } = order;
    match event {
        OrderEvent::Placed(_) | OrderEvent::CommandRejected(_) | OrderEvent::Barrier(_) => {}
        OrderEvent::LineReserved(event) => turn(view, event.line, ReservationView::Reserved)?,
        OrderEvent::LineRefused(event) => turn(view, event.line, ReservationView::Refused)?,
        OrderEvent::LineReleased(event) => turn(view, event.line, ReservationView::Released)?,
        OrderEvent::LineShipped(event) => turn(view, event.line, ReservationView::Reserved)?,
        OrderEvent::Confirmed(event) => {
            turn(view, event.line, ReservationView::Reserved)?;
            view.status = OrderStatus::Confirmed;
        }
        OrderEvent::Rejected(event) => {
            turn(view, event.line, ReservationView::Refused)?;
            view.status = OrderStatus::Rejected;
            view.reason = Some(event.reason.clone());
        }
        OrderEvent::Paid(event) => {
            view.status = OrderStatus::Paid;
            view.payment = Some(PaymentView {
                amount_minor: event.amount_minor,
                reference: event.reference.clone(),
                at: event.occurred_at,
            });
        }
        OrderEvent::Shipped(event) => {
            view.status = OrderStatus::Shipped;
            view.shipment = Some(ShipmentView {
                carrier: event.carrier.clone(),
                tracking_code: event.tracking_code.clone(),
                at: event.occurred_at,
            });
        }
        OrderEvent::Cancelled(event) => {
            view.status = OrderStatus::Cancelled;
            view.reason = Some(event.reason.clone());
        }
        OrderEvent::Expired(_) => view.status = OrderStatus::Expired,
        OrderEvent::NoteAdded(event) => notes
            .push(&NoteView {
                note_id: event.note_id,
                author: event.author.clone(),
                text: event.text.clone(),
                reply_to: event.reply_to,
                at: event.occurred_at,
            })
            .map_err(|_| Misfit::Unwritable)?,
    }
    Ok(())
}

fn turn(view: &mut OrderView, line: i32, to: ReservationView) -> Result<(), Misfit> {
    let line = usize::try_from(line)
        .ok()
        .and_then(|index| view.lines.get_mut(index));
    line.ok_or(Misfit::NoSuchLine)?.reservation = to;
    Ok(())
}
