//! The process manager of an order: a reconciler between the order and the stock of its lines.
//!
//! What is still to be done is derived from the folded order. Each step's command has an id that follows from the event
//! that caused it, the step and the line, so whoever derives the same list issues the same commands, and a repeat is
//! known for one. The stock's answer to a step leads to one command that records it on the order, after which the step
//! is no longer derived.
//!
//! A deadline is derived the same way: a confirmed order is to be paid within the payment window, else it expires.
//!
//! A pending line is driven to its answer whatever has become of the order. In a closed order a reserved line is then
//! released; in a shipped one it leaves the house.

use schemas::{Timestamp, ids};
use uuid::Uuid;

use crate::{Order, OrderCommand, OrderStatus, Reason, Reservation, StockCommand};

/// What is asked of the stock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Reserve the line's quantity.
    Reserve,
    /// Give it back.
    Release,
    /// Take it out of the house.
    Ship,
}

impl Step {
    /// Its name in the ids of commands. Frozen.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reserve => "reserve",
            Self::Release => "release",
            Self::Ship => "ship",
        }
    }
}

/// One command that an order's state asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// The line.
    pub line: i32,
    /// The step.
    pub step: Step,
    /// The id of the event because of which it is to be done.
    pub cause: Uuid,
    /// The command.
    pub command: StockCommand,
}

impl Task {
    /// The id of the command, the same whoever derives the task.
    pub fn command_id(&self) -> Uuid {
        ids::step_id(self.cause, self.step.name(), self.line)
    }
}

/// Everything that the order's state asks of the stock now. O(1) where that is nothing.
pub fn outstanding(order_id: Uuid, order: &Order) -> Vec<Task> {
    if order.steps_left() == 0 {
        return Vec::new();
    }
    let reserved = match order.status {
        OrderStatus::Shipped => order.shipped_event.map(|cause| (Step::Ship, cause)),
        OrderStatus::Rejected | OrderStatus::Cancelled | OrderStatus::Expired => {
            order.closed_event.map(|cause| (Step::Release, cause))
        }
        OrderStatus::Pending | OrderStatus::Confirmed | OrderStatus::Paid => None,
    };
    let tasks = order.lines().filter_map(|line| {
        let (step, cause) = match line.reservation {
            Reservation::Pending => (Step::Reserve, order.placed.event_id),
            Reservation::Reserved => reserved?,
            Reservation::Refused | Reservation::Released | Reservation::Shipped => return None,
        };
        let (sku, quantity, line) = (line.placed.sku.clone(), line.placed.quantity, line.line);
        let command = match step {
            Step::Reserve => StockCommand::Reserve {
                sku,
                order_id,
                line,
                quantity,
            },
            Step::Release => StockCommand::Release { sku, order_id, line },
            Step::Ship => StockCommand::Ship { sku, order_id, line },
        };
        Some(Task {
            line,
            step,
            cause,
            command,
        })
    });
    tasks.collect()
}

/// A command that an order's state asks for once a point in time has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// Not before that.
    pub due: Timestamp,
    /// The id of the event with which the time began to run.
    pub cause: Uuid,
    /// The command. Another state may have come by then; it is refused there.
    pub command: OrderCommand,
}

impl Deadline {
    /// The id of the command, the same whoever derives the deadline.
    pub fn command_id(&self) -> Uuid {
        ids::step_id(self.cause, "expire", 0)
    }
}

/// The deadline that an order's state sets, if it sets one; the payment window is in microseconds.
pub fn deadline(order_id: Uuid, order: &Order, payment_window_micros: i64) -> Option<Deadline> {
    let (confirmed_at, cause) = order
        .confirmed
        .filter(|_| order.status == OrderStatus::Confirmed)?;
    let due = Timestamp(confirmed_at.micros().saturating_add(payment_window_micros));
    Some(Deadline {
        due,
        cause,
        command: OrderCommand::Expire { order_id, due },
    })
}

/// The command that records the stock's answer to a task on the order.
///
/// A refusal is told as the reason's slug, or as `<slug>: <detail>`. One that says "already done" means that the step
/// has happened. A release or a shipment has no other business answer: were it refused for any other reason, the stock
/// would have lost a reservation that the order holds, which is a bug that the engine reports; here it is recorded as
/// done, so that the order comes to rest.
pub fn answer(task: &Task, order_id: Uuid, outcome: Result<(), &str>) -> OrderCommand {
    let line = task.line;
    match (task.step, outcome) {
        (Step::Reserve, Err(reason)) if slug_of(reason) != Reason::AlreadyDone.slug() => {
            OrderCommand::RecordRefused {
                order_id,
                line,
                reason: reason.to_owned(),
            }
        }
        (Step::Reserve, _) => OrderCommand::RecordReserved { order_id, line },
        (Step::Release, _) => OrderCommand::RecordReleased { order_id, line },
        (Step::Ship, _) => OrderCommand::RecordShipped { order_id, line },
    }
}

fn slug_of(reason: &str) -> &str {
    reason.split_once(':').map_or(reason, |(slug, _detail)| slug)
}
