//! What a read model holds: the documents that the query service answers with, and what stays behind them.

mod history;
mod notes;
mod of_state;
mod order;
mod sales;
mod stock;
pub mod time;

pub(crate) use history::data;
pub use history::{CauseView, EventView, HistoryEvent};
pub use notes::Notes;
pub use order::{
    LineView, NoteView, Order, OrderDocument, OrderView, PaymentView, ReservationView, ShipmentView,
};
pub use sales::{Day, NoPeriod, Period, SalesDay, TopProduct};
pub use stock::{Stock, StockView};
