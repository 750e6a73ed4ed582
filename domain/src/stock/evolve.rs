//! How events make the stock of a SKU.

use schemas::StockEvent;
use uuid::Uuid;

use super::Stock;

/// Every event of a SKU; the first is a receipt.
pub(crate) fn evolve(mut stock: Stock, event: &StockEvent) -> Result<Stock, &'static str> {
    match event {
        StockEvent::CommandRejected(_) | StockEvent::Barrier(_) => return Ok(stock),
        StockEvent::Received(event) => stock.add(event.quantity)?,
        _ if stock.sequence == 0 => return Err("nothing was received"),
        StockEvent::Adjusted(event) => stock.add(event.quantity)?,
        StockEvent::Reserved(event) => {
            let key = (event.order_id, event.line);
            if stock.reservations.contains_key(&key) {
                return Err("the line has its reservation already");
            }
            if event.quantity < 1 || event.quantity > stock.available() {
                return Err("more is reserved than is available");
            }
            stock.reserved += event.quantity;
            stock.reservations.insert_mut(key, event.quantity);
        }
        StockEvent::Released(event) => stock.close(event.order_id, event.line, event.quantity)?,
        StockEvent::Shipped(event) => {
            stock.close(event.order_id, event.line, event.quantity)?;
            stock.on_hand -= event.quantity;
        }
    }
    stock.sequence += 1;
    Ok(stock)
}

impl Stock {
    fn add(&mut self, quantity: i64) -> Result<(), &'static str> {
        let on_hand = self
            .on_hand
            .checked_add(quantity)
            .ok_or("more is on hand than fits")?;
        if on_hand < self.reserved {
            return Err("more is taken than is available");
        }
        self.on_hand = on_hand;
        Ok(())
    }

    fn close(&mut self, order_id: Uuid, line: i32, quantity: i64) -> Result<(), &'static str> {
        let key = (order_id, line);
        if self.reservations.get(&key) != Some(&quantity) {
            return Err("there is no such reservation");
        }
        self.reservations.remove_mut(&key);
        self.reserved -= quantity;
        Ok(())
    }
}
