//! What becomes of a command to the stock of a SKU.

use schemas::{
    StockEvent,
    stock::{StockAdjusted, StockReceived, StockReleased, StockReserved, StockShipped},
};

use super::Stock;
use crate::{Context, Reason, Refusal, StockCommand};

pub(crate) fn decide(
    stock: Option<&Stock>,
    command: &StockCommand,
    context: &Context,
) -> Result<StockEvent, Refusal> {
    let occurred_at = context.at;
    if let StockCommand::Receive { sku, quantity } = command {
        return receive(stock, sku, *quantity, context);
    }
    let Some(stock) = stock else {
        return Err(Refusal::new(
            Reason::StockNotFound,
            format!("nothing was ever received as {}", command.sku()),
        ));
    };
    match command {
        StockCommand::Receive { sku, quantity } => receive(Some(stock), sku, *quantity, context),
        StockCommand::Adjust {
            sku,
            quantity,
            reason,
        } => {
            check_adjustment(stock, sku, *quantity)?;
            let (sku, quantity, reason) = (sku.clone(), *quantity, reason.clone());
            Ok(StockEvent::Adjusted(StockAdjusted {
                occurred_at,
                sku,
                quantity,
                reason,
            }))
        }
        StockCommand::Reserve {
            sku,
            order_id,
            line,
            quantity,
        } => {
            if stock.reservations.contains_key(&(*order_id, *line)) {
                let detail = format!("line {line} of order {order_id} has its reservation already");
                return Err(Refusal::new(Reason::AlreadyDone, detail));
            }
            check_available(stock, sku, *quantity)?;
            let (sku, order_id, line, quantity) = (sku.clone(), *order_id, *line, *quantity);
            Ok(StockEvent::Reserved(StockReserved {
                occurred_at,
                sku,
                order_id,
                line,
                quantity,
            }))
        }
        StockCommand::Release { sku, order_id, line } => {
            let quantity = open_reservation(stock, *order_id, *line)?;
            let (sku, order_id, line) = (sku.clone(), *order_id, *line);
            Ok(StockEvent::Released(StockReleased {
                occurred_at,
                sku,
                order_id,
                line,
                quantity,
            }))
        }
        StockCommand::Ship { sku, order_id, line } => {
            let quantity = open_reservation(stock, *order_id, *line)?;
            let (sku, order_id, line) = (sku.clone(), *order_id, *line);
            Ok(StockEvent::Shipped(StockShipped {
                occurred_at,
                sku,
                order_id,
                line,
                quantity,
            }))
        }
    }
}

fn receive(
    stock: Option<&Stock>,
    sku: &str,
    quantity: i64,
    context: &Context,
) -> Result<StockEvent, Refusal> {
    if quantity < 1 {
        return Err(Refusal::new(
            Reason::InvalidCommand,
            "a receipt has a positive quantity",
        ));
    }
    check_size(stock.map_or(0, |stock| stock.on_hand), sku, quantity)?;
    Ok(StockEvent::Received(StockReceived {
        occurred_at: context.at,
        sku: sku.to_owned(),
        quantity,
    }))
}

fn check_adjustment(stock: &Stock, sku: &str, quantity: i64) -> Result<(), Refusal> {
    if quantity > 0 {
        return check_size(stock.on_hand, sku, quantity);
    }
    if quantity == 0 {
        return Err(Refusal::new(
            Reason::InvalidCommand,
            "an adjustment by nothing changes nothing",
        ));
    }
    // -i64::MIN does not fit, and no stock is that large.
    check_available(stock, sku, quantity.checked_neg().unwrap_or(i64::MAX))
}

fn check_size(on_hand: i64, sku: &str, quantity: i64) -> Result<(), Refusal> {
    match on_hand.checked_add(quantity) {
        Some(_) => Ok(()),
        None => Err(Refusal::new(
            Reason::StockTooLarge,
            format!("{on_hand} of {sku} are on hand already"),
        )),
    }
}

fn check_available(stock: &Stock, sku: &str, quantity: i64) -> Result<(), Refusal> {
    if quantity < 1 {
        return Err(Refusal::new(
            Reason::InvalidCommand,
            "what is taken has a positive quantity",
        ));
    }
    let available = stock.available();
    if quantity <= available {
        return Ok(());
    }
    let detail = format!("{available} of {sku} are available, not {quantity}");
    Err(Refusal::new(Reason::InsufficientStock, detail).with_available(available))
}

fn open_reservation(stock: &Stock, order_id: uuid::Uuid, line: i32) -> Result<i64, Refusal> {
    stock.reservations.get(&(order_id, line)).copied().ok_or_else(|| {
        Refusal::new(
            Reason::AlreadyDone,
            format!("line {line} of order {order_id} has no open reservation"),
        )
    })
}
