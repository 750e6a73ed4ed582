//! What a read model holds: the documents that the query service answers with, and what stays behind them.

mod order;
mod stock;
pub mod time;

pub use order::{
    LineView, NoteView, Order, OrderDocument, OrderView, PaymentView, ReservationView, ShipmentView,
};
pub use stock::{Stock, StockView};
