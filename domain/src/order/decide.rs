//! What becomes of a command to an order.

use schemas::{
    OrderEvent, Timestamp,
    orders::{
        NoteAdded, OrderCancelled, OrderConfirmed, OrderExpired, OrderLineRefused, OrderLineReleased,
        OrderLineReserved, OrderLineShipped, OrderPaid, OrderPlaced, OrderRejected, OrderShipped, PlacedLine,
    },
};
use uuid::Uuid;

use super::{Order, OrderStatus, Reservation};
use crate::{Context, OrderCommand, Reason, Refusal};

pub(crate) fn decide(
    order: Option<&Order>,
    command: &OrderCommand,
    context: &Context,
) -> Result<OrderEvent, Refusal> {
    let occurred_at = context.at;
    let order_id = command.order_id();
    if let OrderCommand::Place {
        customer_id,
        currency,
        lines,
        ..
    } = command
    {
        return place(order, order_id, customer_id, currency, lines, context);
    }
    let Some(order) = order else {
        return Err(Refusal::new(
            Reason::OrderNotFound,
            format!("there is no order {order_id}"),
        ));
    };
    match command {
        OrderCommand::Pay {
            amount_minor,
            reference,
            ..
        } => {
            check_payable(order, *amount_minor)?;
            let (amount_minor, reference) = (*amount_minor, reference.clone());
            Ok(OrderEvent::Paid(OrderPaid {
                occurred_at,
                order_id,
                amount_minor,
                reference,
            }))
        }
        OrderCommand::Ship {
            carrier,
            tracking_code,
            ..
        } => {
            require(
                order,
                order.status == OrderStatus::Paid,
                Reason::NotShippable,
                "only a paid one can be shipped",
            )?;
            let (carrier, tracking_code) = (carrier.clone(), tracking_code.clone());
            Ok(OrderEvent::Shipped(OrderShipped {
                occurred_at,
                order_id,
                carrier,
                tracking_code,
            }))
        }
        OrderCommand::Cancel { reason, .. } => {
            let open = matches!(
                order.status,
                OrderStatus::Pending | OrderStatus::Confirmed | OrderStatus::Paid
            );
            require(order, open, Reason::NotCancellable, "it is too late to cancel it")?;
            Ok(OrderEvent::Cancelled(OrderCancelled {
                occurred_at,
                order_id,
                reason: reason.clone(),
            }))
        }
        OrderCommand::Expire { due, .. } => expire(order, order_id, *due, occurred_at),
        OrderCommand::AddNote {
            note_id,
            author,
            text,
            reply_to,
            ..
        } => {
            check_note(order, *note_id, *reply_to)?;
            let (note_id, reply_to) = (*note_id, *reply_to);
            let (author, text) = (author.clone(), text.clone());
            Ok(OrderEvent::NoteAdded(NoteAdded {
                occurred_at,
                order_id,
                note_id,
                author,
                text,
                reply_to,
            }))
        }
        OrderCommand::RecordReserved { .. }
        | OrderCommand::RecordRefused { .. }
        | OrderCommand::RecordReleased { .. }
        | OrderCommand::RecordShipped { .. } => decide_step(order, command, context),
        OrderCommand::Place { .. } => Err(already_placed(order_id)),
    }
}

/// Only time that the command and the state carry decides whether it is over.
fn expire(
    order: &Order,
    order_id: Uuid,
    due: Timestamp,
    occurred_at: Timestamp,
) -> Result<OrderEvent, Refusal> {
    let confirmed = order.status == OrderStatus::Confirmed;
    require(
        order,
        confirmed,
        Reason::NotExpirable,
        "only a confirmed one can expire",
    )?;
    let over = due <= occurred_at;
    require(
        order,
        over,
        Reason::NotExpirable,
        "its payment window is not over",
    )?;
    Ok(OrderEvent::Expired(OrderExpired {
        occurred_at,
        order_id,
    }))
}

/// What the process manager records.
fn decide_step(order: &Order, command: &OrderCommand, context: &Context) -> Result<OrderEvent, Refusal> {
    let occurred_at = context.at;
    let order_id = command.order_id();
    match command {
        OrderCommand::RecordReserved { line, .. } => record_reserved(order, order_id, *line, context),
        OrderCommand::RecordRefused { line, reason, .. } => {
            record_refused(order, order_id, *line, reason, context)
        }
        OrderCommand::RecordReleased { line, .. } => {
            expect_line(order, *line, Reservation::Reserved, order.status.is_closed())?;
            Ok(OrderEvent::LineReleased(OrderLineReleased {
                occurred_at,
                order_id,
                line: *line,
            }))
        }
        OrderCommand::RecordShipped { line, .. } => {
            expect_line(
                order,
                *line,
                Reservation::Reserved,
                order.status == OrderStatus::Shipped,
            )?;
            Ok(OrderEvent::LineShipped(OrderLineShipped {
                occurred_at,
                order_id,
                line: *line,
            }))
        }
        _ => Err(Refusal::new(Reason::UnexpectedStep, "this is no step")),
    }
}

fn place(
    order: Option<&Order>,
    order_id: Uuid,
    customer_id: &str,
    currency: &str,
    lines: &[PlacedLine],
    context: &Context,
) -> Result<OrderEvent, Refusal> {
    if order.is_some() {
        return Err(already_placed(order_id));
    }
    Ok(OrderEvent::Placed(OrderPlaced {
        occurred_at: context.at,
        order_id,
        customer_id: customer_id.to_owned(),
        currency: currency.to_owned(),
        total_minor: total_minor(lines)?,
        lines: lines.to_vec(),
    }))
}

fn already_placed(order_id: Uuid) -> Refusal {
    Refusal::new(
        Reason::AlreadyExists,
        format!("order {order_id} was placed already"),
    )
}

/// The sum of the lines; a second guard behind the one that reads requests, since the fold rests on it.
fn total_minor(lines: &[PlacedLine]) -> Result<i64, Refusal> {
    let invalid = |detail: &str| Refusal::new(Reason::InvalidCommand, detail);
    if lines.is_empty() || i32::try_from(lines.len()).is_err() {
        return Err(invalid(
            "an order has at least one line, and no more than can be numbered",
        ));
    }
    lines.iter().try_fold(0_i64, |total, line| {
        if line.quantity < 1 || line.unit_price_minor < 0 {
            return Err(invalid("a line has a positive quantity and no negative price"));
        }
        line.quantity
            .checked_mul(line.unit_price_minor)
            .and_then(|amount| total.checked_add(amount))
            .ok_or_else(|| invalid("the total does not fit 64 bits"))
    })
}

fn check_payable(order: &Order, amount_minor: i64) -> Result<(), Refusal> {
    require(
        order,
        order.status == OrderStatus::Confirmed,
        Reason::NotPayable,
        "only a confirmed one can be paid",
    )?;
    let (total, currency) = (order.placed.total_minor, &order.placed.currency);
    if amount_minor == total {
        return Ok(());
    }
    Err(Refusal::new(
        Reason::WrongAmount,
        format!("the total is {total} (minor units of {currency}), not {amount_minor}"),
    ))
}

fn check_note(order: &Order, note_id: Uuid, reply_to: Option<Uuid>) -> Result<(), Refusal> {
    if order.has_note(note_id) {
        return Err(Refusal::new(
            Reason::AlreadyExists,
            format!("note {note_id} was added already"),
        ));
    }
    match reply_to {
        Some(id) if !order.has_note(id) => Err(Refusal::new(
            Reason::UnknownReplyTo,
            format!("there is no note {id} on this order"),
        )),
        _ => Ok(()),
    }
}

fn record_reserved(
    order: &Order,
    order_id: Uuid,
    line: i32,
    context: &Context,
) -> Result<OrderEvent, Refusal> {
    expect_line(order, line, Reservation::Pending, true)?;
    let occurred_at = context.at;
    Ok(if order.status == OrderStatus::Pending && order.pending == 1 {
        OrderEvent::Confirmed(OrderConfirmed {
            occurred_at,
            order_id,
            line,
        })
    } else {
        OrderEvent::LineReserved(OrderLineReserved {
            occurred_at,
            order_id,
            line,
        })
    })
}

fn record_refused(
    order: &Order,
    order_id: Uuid,
    line: i32,
    reason: &str,
    context: &Context,
) -> Result<OrderEvent, Refusal> {
    expect_line(order, line, Reservation::Pending, true)?;
    let (occurred_at, reason) = (context.at, reason.to_owned());
    Ok(if order.status == OrderStatus::Pending {
        OrderEvent::Rejected(OrderRejected {
            occurred_at,
            order_id,
            line,
            reason,
        })
    } else {
        OrderEvent::LineRefused(OrderLineRefused {
            occurred_at,
            order_id,
            line,
            reason,
        })
    })
}

fn require(order: &Order, holds: bool, reason: Reason, why: &str) -> Result<(), Refusal> {
    if holds {
        return Ok(());
    }
    Err(Refusal::new(
        reason,
        format!("the order is {}: {why}", order.status.as_str()),
    ))
}

/// A step of the process manager: the line must be where the step starts, else the step is a repeat or makes no sense.
fn expect_line(order: &Order, line: i32, from: Reservation, fits: bool) -> Result<(), Refusal> {
    let Some(now) = order.reservation(line) else {
        return Err(Refusal::new(
            Reason::UnexpectedStep,
            format!("the order has no line {line}"),
        ));
    };
    let is_past = match from {
        Reservation::Pending => now != Reservation::Pending,
        _ => !matches!(now, Reservation::Pending | Reservation::Reserved),
    };
    if is_past {
        return Err(Refusal::new(
            Reason::AlreadyDone,
            format!("line {line} was answered already"),
        ));
    }
    if now == from && fits {
        return Ok(());
    }
    let status = order.status.as_str();
    Err(Refusal::new(
        Reason::UnexpectedStep,
        format!("line {line} of the {status} order does not wait for this"),
    ))
}
