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
    let (view, known) = match (stock.as_ref(), event) {
        (Some(stock), _) => (stock.view.clone(), Some(&stock.causes)),
        (None, StockEvent::Received(event)) => (StockView::new(event.sku.clone(), 0, 0, 0), None),
        (None, _) => return Err(Misfit::Missing),
    };
    let on_hand = view.on_hand.checked_add(on_hand).ok_or(Misfit::OutOfRange)?;
    let reserved = view.reserved.checked_add(reserved).ok_or(Misfit::OutOfRange)?;
    if reserved < 0 || on_hand < reserved {
        return Err(Misfit::OutOfRange);
    }
    let mut all = known.cloned().unwrap_or_default();
    all.merge(causes);
    *stock = Some(Stock {
        view: StockView::new(view.sku, on_hand, reserved, view.sequence + 1),
        causes: all,
    });
    Ok(true)
}

fn negative(quantity: i64) -> Result<i64, Misfit> {
    quantity.checked_neg().ok_or(Misfit::OutOfRange)
}
