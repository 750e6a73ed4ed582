//! The projection of `shop.stock.events`.

use eventlog::Positions;
use schemas::StockEvent;

use super::Misfit;
use crate::view::{Stock, StockView};

/// Applies one event of a SKU. Whether anything changed; on a [`Misfit`] nothing did.
pub fn apply_stock(
    stock: &mut Option<Stock>,
    event: &StockEvent,
    causes: &Positions,
) -> Result<bool, Misfit> {
    let (on_hand, reserved) = match event {
        StockEvent::CommandRejected(_) | StockEvent::Barrier(_) => return Ok(false),
        StockEvent::Received(event) => (event.quantity, 0),
        StockEvent::Adjusted(event) => (event.quantity, 0),
        StockEvent::Reserved(event) => (0, event.quantity),
        StockEvent::Released(event) => (0, negative(event.quantity)?),
        StockEvent::Shipped(event) => (negative(event.quantity)?, negative(event.quantity)?),
    };
    let (before, sequence) = match (stock.as_ref(), event) {
        (Some(Stock { view, .. }), _) => ((view.on_hand, view.reserved), view.sequence),
        (None, StockEvent::Received(_)) => ((0, 0), 0),
        (None, _) => return Err(Misfit::Missing),
    };
    let on_hand = before.0.checked_add(on_hand).ok_or(Misfit::OutOfRange)?;
    let reserved = before.1.checked_add(reserved).ok_or(Misfit::OutOfRange)?;
    if reserved < 0 || on_hand < reserved {
        return Err(Misfit::OutOfRange);
    }
    let stock = stock.get_or_insert_with(|| Stock {
        view: StockView::new(event.sku().unwrap_or_default().to_owned(), 0, 0, 0),
        causes: Positions::default(),
    });
    let sku = std::mem::take(&mut stock.view.sku);
    stock.view = StockView::new(sku, on_hand, reserved, sequence + 1);
    stock.causes.merge(causes);
    Ok(true)
}

fn negative(quantity: i64) -> Result<i64, Misfit> {
    quantity.checked_neg().ok_or(Misfit::OutOfRange)
}
