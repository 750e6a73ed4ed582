//! How much stock is received before the orders come.

use std::collections::BTreeMap;

use super::Order;

/// Of so many products, one is short.
const ONE_SHORT_IN: usize = 50;

/// What to receive of each product so that the orders can be served, but for one product in fifty, of which there is
/// half of what is asked for: some orders must be refused. The same orders always give the same plan.
///
/// If every product were a little short, nearly all orders would be refused, since an order names two dozen of them.
pub fn receipts<'a>(orders: impl IntoIterator<Item = &'a Order>) -> BTreeMap<String, i64> {
    let mut asked: BTreeMap<String, i64> = BTreeMap::new();
    for line in orders.into_iter().flat_map(|order| &order.lines) {
        *asked.entry(line.sku.clone()).or_default() += line.quantity;
    }
    for quantity in asked.values_mut().step_by(ONE_SHORT_IN) {
        *quantity /= 2;
    }
    asked.retain(|_, quantity| *quantity > 0);
    asked
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orders::embedded;

    #[test]
    fn one_product_in_fifty_is_short() {
        let orders = embedded().unwrap().orders;
        let orders = &orders[..2_000];
        let plan = receipts(orders);
        assert_eq!(plan, receipts(orders));
        let mut asked: BTreeMap<&str, i64> = BTreeMap::new();
        for line in orders.iter().flat_map(|order| &order.lines) {
            *asked.entry(&line.sku).or_default() += line.quantity;
        }
        let short = asked
            .iter()
            .filter(|(sku, asked)| plan.get(**sku).copied().unwrap_or(0) < **asked)
            .count();
        assert_eq!(short, asked.len().div_ceil(ONE_SHORT_IN));
    }
}
