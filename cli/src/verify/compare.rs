//! Order by order, SKU by SKU, event by event.

use domain::Order;
use read_model::snapshot::Kept;
use read_model::{ModelSnapshot, Notes, OrderView};

use super::fold::Folded;
use super::report::ModelReport;

/// Compares every order, in both directions.
pub fn orders(folded: &Folded, model: &ModelSnapshot, report: &mut ModelReport) {
    for (id, order) in &folded.orders {
        report.orders += 1;
        match model.orders.get(id) {
            None => report.differ(format!("order {id}: in the log, not in the model")),
            Some(found) => {
                if let Some(difference) = order_differs(order, &found.view, &found.notes) {
                    report.differ(format!("order {id}: {difference}"));
                }
            }
        }
    }
    for id in model.orders.keys().filter(|id| !folded.orders.contains_key(id)) {
        report.differ(format!("order {id}: in the model, not in the log"));
    }
}

/// The first thing in which the two differ.
fn order_differs(order: &Order, view: &OrderView, notes: &Notes) -> Option<String> {
    let differs = |what: &str, log: &dyn std::fmt::Debug, model: &dyn std::fmt::Debug| {
        Some(format!("{what} is {log:?} in the log, {model:?} in the model"))
    };
    if order.sequence != view.sequence {
        return differs("sequence", &order.sequence, &view.sequence);
    }
    if order.status != view.status {
        return differs("status", &order.status, &view.status);
    }
    let placed = &order.placed;
    let money = (placed.total_minor, &placed.currency, &placed.customer_id);
    let shown = (view.total_minor, &view.currency, &view.customer_id);
    if money != shown {
        return differs("total, currency and customer", &money, &shown);
    }
    if order.lines().len() != view.lines.len() {
        return differs("the number of lines", &order.lines().len(), &view.lines.len());
    }
    for (line, shown) in order.lines().zip(&view.lines) {
        let expected = (
            line.line,
            line.placed.sku.as_str(),
            line.placed.quantity,
            line.placed.unit_price_minor,
        );
        let found = (
            shown.line,
            shown.sku.as_str(),
            shown.quantity,
            shown.unit_price_minor,
        );
        if expected != found {
            return differs("a line", &expected, &found);
        }
        let found = serde_json::to_value(shown.reservation).unwrap_or_default();
        if found != line.reservation.as_str() {
            return differs("a line's reservation", &line.reservation.as_str(), &found);
        }
    }
    let paid = order.payment.as_ref().map(|payment| payment.amount_minor);
    let shown = view.payment.as_ref().map(|payment| payment.amount_minor);
    if paid != shown {
        return differs("what is paid", &paid, &shown);
    }
    if order.updated_at != view.updated_at {
        return differs("updated_at", &order.updated_at, &view.updated_at);
    }
    let logged = Notes::of_state(order);
    if logged.as_ref().ok() != Some(notes) {
        let logged = logged.as_ref().map(Notes::as_json).unwrap_or_default();
        return differs("what is noted", &logged, &notes.as_json());
    }
    None
}

/// Compares every SKU, in both directions.
pub fn stock(folded: &Folded, model: &ModelSnapshot, report: &mut ModelReport) {
    for (sku, stock) in &folded.stock {
        report.skus += 1;
        let expected = (stock.on_hand, stock.reserved, stock.available(), stock.sequence);
        match model.stock.get(sku).map(|found| &found.view) {
            None => report.differ(format!("SKU {sku}: in the log, not in the model")),
            Some(view) => {
                let found = (view.on_hand, view.reserved, view.available, view.sequence);
                if expected != found {
                    report.differ(format!(
                        "SKU {sku}: (on_hand, reserved, available, sequence) is {expected:?} in the log, {found:?} in the model"
                    ));
                }
            }
        }
    }
    for sku in model.stock.keys().filter(|sku| !folded.stock.contains_key(*sku)) {
        report.differ(format!("SKU {sku}: in the model, not in the log"));
    }
}

/// Compares every kept event of an order, in both directions.
pub fn events(folded: &Folded, kept: &Kept, report: &mut ModelReport) {
    report.events = Some(folded.order_events.len());
    for (place, digest) in &folded.order_events {
        let (partition, offset) = place;
        match kept.events.get(place) {
            None => report.differ(format!(
                "the event of partition {partition}, offset {offset}: not kept"
            )),
            Some(found) if found != digest => report.differ(format!(
                "the event of partition {partition}, offset {offset}: kept otherwise than it is in the log"
            )),
            Some(_) => {}
        }
    }
    let unknown = |place: &&(i32, i64)| !folded.order_events.contains_key(*place);
    for (partition, offset) in kept.events.keys().filter(unknown) {
        report.differ(format!(
            "the event of partition {partition}, offset {offset}: kept, not in the log"
        ));
    }
}

/// Compares the sales, in both directions.
pub fn sales(folded: &Folded, kept: &Kept, report: &mut ModelReport) {
    let sales = folded.sales();
    report.sales = Some(sales.len());
    for (key, amount) in &sales {
        let found = kept.sales.get(key).copied().unwrap_or_default();
        if found != *amount {
            report.differ(format!(
                "sales of {key:?}: {amount:?} in the log, {found:?} in the model"
            ));
        }
    }
    for (key, found) in kept.sales.iter().filter(|(key, _)| !sales.contains_key(*key)) {
        report.differ(format!(
            "sales of {key:?}: none in the log, {found:?} in the model"
        ));
    }
}
