//! The shop: orders and stock, decided and folded by pure functions.
//!
//! [`decide`] turns a command into the one event that it leaves, or into a refusal; [`evolve`] folds an event into the
//! state. Neither does I/O, reads a clock or draws a random number: time and ids come in with the [`Context`]. What an
//! order still needs from the stock is derived from its state by [`outstanding`], never kept beside it.
//!
//! This crate and `schemas` are all that a team replaces to put another domain on the engine. Who may call, what is a
//! well-formed request and how answers are remembered is decided elsewhere (`command-service`).

mod command;
#[cfg(test)]
mod given;
mod order;
mod process;
mod refusal;
mod state;
mod stock;

pub use command::{Command, Context, OrderCommand, StockCommand, Target};
pub use order::{Line, Note, Order, OrderStatus, Payment, Placed, Reservation, Shipment};
pub use process::{Deadline, Step, Task, answer, deadline, outstanding};
pub use refusal::{Reason, Refusal};
pub use state::{Inconsistent, State, decide, evolve};
pub use stock::{ReservationKey, Stock};
