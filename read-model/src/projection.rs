//! From events to views: pure functions, the same for every store.
//!
//! A refusal or a barrier changes no view. An event that does not fit the view before it is a [`Misfit`]: the writer would
//! never have made it, so the log or this code is wrong, and the view stays as it was.

mod history;
mod order;
pub mod sales;
mod stock;
#[cfg(test)]
mod tests;

pub use history::{At, order_at};
pub use order::apply_order;
pub use stock::apply_stock;

/// An effective event that does not fit what came before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// It changes what was never there.
    #[error("it changes an aggregate that is not there")]
    Missing,
    /// It creates what is there already.
    #[error("it creates an order that is there already")]
    AlreadyThere,
    /// It names a line that the order does not have.
    #[error("it names a line that the order does not have")]
    NoSuchLine,
    /// It cannot be written as it is shown.
    #[error("it cannot be written as JSON")]
    Unwritable,
    /// A sum does not fit 64 bits, or is below zero.
    #[error("a quantity is out of range")]
    OutOfRange,
}
