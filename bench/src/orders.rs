//! Real invoices as orders and returns of stock.
//!
//! A line of an invoice is sold, returned or left out; the rules say which. An invoice becomes one order with its lines
//! in their order, a product that it names twice as two lines. Descriptions, countries and times are not used.

mod plan;
mod rules;

use std::{collections::HashMap, fs::File, io::Read, path::Path};

use anyhow::Context as _;
use flate2::read::GzDecoder;
use serde::{Deserialize, Serialize};

pub use plan::receipts;
use rules::{Kind, kind, minor_units};

/// The part of the data that comes with the project.
const EMBEDDED: &[u8] = include_bytes!("../data/online-retail-2010-12-to-2011-03.csv.gz");

/// One line of an order, as the command service takes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The product.
    pub sku: String,
    /// How many.
    pub quantity: i64,
    /// Price of one, in pence.
    pub unit_price_minor: i64,
}

/// An order, as the command service takes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Who ordered; `guest-<invoice>` where nobody is named.
    pub customer_id: String,
    /// Always GBP.
    pub currency: String,
    /// What was ordered.
    pub lines: Vec<Line>,
}

impl Order {
    /// What the order costs.
    pub fn total_minor(&self) -> i64 {
        self.lines
            .iter()
            .map(|line| line.quantity * line.unit_price_minor)
            .sum()
    }
}

/// A product that came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Return {
    /// The product.
    pub sku: String,
    /// How many.
    pub quantity: i64,
    /// How many orders there were before it.
    pub orders_before: usize,
}

/// Lines that are neither sold nor returned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Their code is no product's: postage, bank charges, vouchers.
    pub not_a_product: usize,
    /// Their quantity or price is not positive: corrections, samples, bad debt.
    pub not_a_sale: usize,
}

/// What a file of invoices holds.
#[derive(Clone, Debug, Default)]
pub struct Invoices {
    /// In order of time.
    pub orders: Vec<Order>,
    /// In order of time.
    pub returns: Vec<Return>,
    /// What is in neither.
    pub left_out: LeftOut,
}

/// A line of the file.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Row {
    invoice_no: String,
    stock_code: String,
    quantity: i64,
    unit_price: String,
    #[serde(rename = "CustomerID")]
    customer_id: String,
}

/// The invoices that come with the project.
pub fn embedded() -> anyhow::Result<Invoices> {
    read(GzDecoder::new(EMBEDDED))
}

/// The invoices in a file of the same form, compressed if its name ends in `.gz`.
pub fn from_file(path: &Path) -> anyhow::Result<Invoices> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let compressed = path.extension().is_some_and(|extension| extension == "gz");
    let invoices = if compressed {
        read(GzDecoder::new(file))
    } else {
        read(file)
    };
    invoices.with_context(|| format!("cannot read {}", path.display()))
}

/// The invoices in comma-separated values.
pub fn read(from: impl Read) -> anyhow::Result<Invoices> {
    let mut invoices = Invoices::default();
    let mut places: HashMap<String, usize> = HashMap::new();
    for row in csv::Reader::from_reader(from).into_deserialize() {
        let row: Row = row?;
        match kind(
            &row.invoice_no,
            &row.stock_code,
            row.quantity,
            minor_units(&row.unit_price),
        ) {
            Kind::Sold { unit_price_minor } => {
                let place = *places.entry(row.invoice_no).or_insert_with_key(|invoice| {
                    invoices.orders.push(Order {
                        customer_id: customer(&row.customer_id, invoice),
                        currency: "GBP".to_owned(),
                        lines: Vec::new(),
                    });
                    invoices.orders.len() - 1
                });
                let line = Line {
                    sku: row.stock_code,
                    quantity: row.quantity,
                    unit_price_minor,
                };
                invoices.orders[place].lines.push(line);
            }
            Kind::Returned => invoices.returns.push(Return {
                sku: row.stock_code,
                quantity: -row.quantity,
                orders_before: invoices.orders.len(),
            }),
            Kind::NotAProduct => invoices.left_out.not_a_product += 1,
            Kind::NotASale => invoices.left_out.not_a_sale += 1,
        }
    }
    Ok(invoices)
}

/// Customers are recorded as `17850.0`, or not at all.
fn customer(recorded: &str, invoice: &str) -> String {
    match recorded.trim().trim_end_matches(".0") {
        "" => format!("guest-{invoice}"),
        known => known.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str =
        "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n";

    fn of(lines: &str) -> Invoices {
        read(format!("{HEADER}{lines}").as_bytes()).unwrap()
    }

    #[test]
    fn the_embedded_invoices_are_what_their_readme_says() {
        let invoices = embedded().unwrap();
        assert_eq!(invoices.orders.len(), 5_164);
        let lines = |order: &Order| order.lines.len();
        assert_eq!(invoices.orders.iter().map(lines).sum::<usize>(), 138_034);
        assert_eq!(invoices.orders.iter().map(lines).max(), Some(674));
        assert_eq!(invoices.returns.len(), 2_437);
        assert_eq!(
            invoices.left_out,
            LeftOut {
                not_a_product: 828,
                not_a_sale: 784
            }
        );
        assert_eq!(
            invoices.orders.iter().map(Order::total_minor).sum::<i64>(),
            265_000_877
        );
        let guests = invoices
            .orders
            .iter()
            .filter(|order| order.customer_id.starts_with("guest-"))
            .count();
        assert_eq!(guests, 483);
    }

    #[test]
    fn every_embedded_order_is_one_that_the_contract_allows() {
        let invoices = embedded().unwrap();
        let is_id = |text: &str| {
            (1..=64).contains(&text.len())
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"._~-".contains(&byte))
        };
        for order in &invoices.orders {
            assert!(
                is_id(&order.customer_id) && (1..=1_000).contains(&order.lines.len()),
                "{order:?}"
            );
            for line in &order.lines {
                assert!(is_id(&line.sku), "{line:?}");
                assert!((1..=1_000_000).contains(&line.quantity), "{line:?}");
                assert!((1..=1_000_000_000).contains(&line.unit_price_minor), "{line:?}");
            }
        }
        assert!(
            invoices
                .returns
                .iter()
                .all(|back| is_id(&back.sku) && back.quantity > 0)
        );
    }

    #[test]
    fn a_product_twice_stays_two_lines() {
        let invoices = of("1,71053,LANTERN,6,,3.39,17850.0,UK\n1,71053,LANTERN,2,,3.39,17850.0,UK\n");
        assert_eq!(invoices.orders.len(), 1);
        assert_eq!(invoices.orders[0].lines.len(), 2);
        assert_eq!(invoices.orders[0].total_minor(), 8 * 339);
    }

    #[test]
    fn nobody_is_a_guest() {
        let invoices = of("1,71053,LANTERN,6,,3.39,,UK\n2,71053,LANTERN,6,,3.39,12350.0,UK\n");
        assert_eq!(invoices.orders[0].customer_id, "guest-1");
        assert_eq!(invoices.orders[1].customer_id, "12350");
    }

    #[test]
    fn a_cancellation_is_a_return_and_postage_is_left_out() {
        let invoices = of(
            "1,71053,LANTERN,6,,3.39,17850.0,UK\nC2,71053,LANTERN,-2,,3.39,17850.0,UK\n\
            C2,POST,POSTAGE,-1,,9.00,17850.0,UK\n3,71053,damaged,-5,,0.0,,UK\n",
        );
        assert_eq!(invoices.orders.len(), 1);
        let back = Return {
            sku: "71053".into(),
            quantity: 2,
            orders_before: 1,
        };
        assert_eq!(invoices.returns, [back]);
        assert_eq!(
            invoices.left_out,
            LeftOut {
                not_a_product: 1,
                not_a_sale: 1
            }
        );
    }
}
