//! What a line of an invoice is.

/// What becomes of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A line of an order.
    Sold { unit_price_minor: i64 },
    /// Stock that came back.
    Returned,
    /// Postage, bank charges, discounts, vouchers.
    NotAProduct,
    /// A correction, a sample, bad debt.
    NotASale,
}

/// Decides by the invoice's number, the code, the quantity and the price.
pub(super) fn kind(invoice: &str, code: &str, quantity: i64, price: Option<i64>) -> Kind {
    if !is_product(code) {
        return Kind::NotAProduct;
    }
    if invoice.starts_with('C') {
        return if quantity < 0 {
            Kind::Returned
        } else {
            Kind::NotASale
        };
    }
    match price {
        Some(unit_price_minor) if unit_price_minor > 0 && quantity > 0 && is_number(invoice) => {
            Kind::Sold { unit_price_minor }
        }
        _ => Kind::NotASale,
    }
}

/// Products have five digits and at most two letters; those of the gift shop begin with DCGS. Everything else (POST, DOT,
/// M, D, S, B, C2, PADS, CRUK, BANK CHARGES, AMAZONFEE, `gift_0001_20`) is a charge, a discount, a voucher or a note.
fn is_product(code: &str) -> bool {
    let is_word = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if let Some(rest) = code.strip_prefix("DCGS") {
        return !rest.is_empty() && rest.len() <= 8 && is_word(rest);
    }
    match code.split_at_checked(5) {
        Some((digits, letters)) => {
            is_number(digits) && letters.len() <= 2 && letters.bytes().all(|byte| byte.is_ascii_alphabetic())
        }
        None => false,
    }
}

/// Invoices of sales have a number; those of bad debt begin with a letter.
fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Pounds as pence, rounded half up; `None` for what is no price, or a negative one.
pub(super) fn minor_units(price: &str) -> Option<i64> {
    let (pounds, decimals) = price.trim().split_once('.').unwrap_or((price.trim(), ""));
    if !is_number(pounds) || !decimals.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digit = |place: usize| {
        decimals
            .as_bytes()
            .get(place)
            .map_or(0, |byte| i64::from(byte - b'0'))
    };
    let pence = pounds
        .parse::<i64>()
        .ok()?
        .checked_mul(100)?
        .checked_add(digit(0) * 10 + digit(1))?;
    pence.checked_add(i64::from(digit(2) >= 5))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_that_are_no_products() {
        let others = "POST DOT M m D S B C2 PADS CRUK AMAZONFEE gift_0001_20 DCGS 1234 123456 85123ABC";
        for code in others.split(' ').chain(["BANK CHARGES", "", "85123 "]) {
            assert!(!is_product(code), "{code}");
        }
        for code in ["85123A", "71053", "15056bl", "84029G", "DCGS0003", "DCGSSGIRL"] {
            assert!(is_product(code), "{code}");
        }
    }

    #[test]
    fn prices_are_rounded_half_up() {
        let prices = [
            ("2.55", 255),
            ("2.5", 250),
            ("3", 300),
            ("0.001", 0),
            ("0.005", 1),
            ("1.995", 200),
        ];
        for (price, pence) in prices.into_iter().chain([("11062.06", 1_106_206), ("0.0", 0)]) {
            assert_eq!(minor_units(price), Some(pence), "{price}");
        }
        for none in ["-1.0", "", "x", "1.x", "99999999999999999999"] {
            assert_eq!(minor_units(none), None, "{none}");
        }
    }
}
