//! Where the next page of a customer's orders begins: opaque to clients, and good for the same list only.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use read_model::postgres::{After, Filter};
use schemas::Timestamp;
use service_kit::Problem;
use uuid::Uuid;

const VERSION: u8 = 1;
/// Version, time, order id, and the first half of a hash over them and over the list that they belong to.
const BYTES: usize = 1 + 8 + 16 + 8;
/// Makes the hash another one than that of any other UUID of this name.
const NAMESPACE: Uuid = Uuid::from_u128(0x7461_696c_7761_7465_725f_6375_7273_6f72);

/// The cursor that goes on behind an order, in a list of that customer with those filters.
pub fn write(after: After, customer_id: &str, filter: &Filter) -> String {
    let mut bytes = Vec::with_capacity(BYTES);
    bytes.push(VERSION);
    bytes.extend(after.placed_at.micros().to_be_bytes());
    bytes.extend(after.order_id.as_bytes());
    let seal = seal(&bytes, customer_id, filter);
    bytes.extend(seal);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The place behind which to go on.
///
/// # Errors
/// 400 for what [`write()`] did not make for this list.
pub fn read(text: &str, customer_id: &str, filter: &Filter) -> Result<After, Problem> {
    let malformed = || {
        Problem::malformed_cursor(
            "It is not the next_cursor of an answer with this customer and these filters.",
        )
    };
    if text.len() > 2 * BYTES {
        return Err(malformed());
    }
    let bytes: [u8; BYTES] = URL_SAFE_NO_PAD
        .decode(text)
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(malformed)?;
    let (content, found) = bytes.split_at(BYTES - 8);
    if content[0] != VERSION || found != seal(content, customer_id, filter) {
        return Err(malformed());
    }
    let (mut micros, mut id) = ([0; 8], [0; 16]);
    micros.copy_from_slice(&content[1..9]);
    id.copy_from_slice(&content[9..]);
    Ok(After {
        placed_at: Timestamp(i64::from_be_bytes(micros)),
        order_id: Uuid::from_bytes(id),
    })
}

/// Not against forgers, who would only skip orders of their own list, but against mistakes.
fn seal(content: &[u8], customer_id: &str, filter: &Filter) -> [u8; 8] {
    let mut text = content.to_vec();
    text.extend(customer_id.as_bytes());
    text.push(0);
    text.extend(filter.status.map_or("", domain::OrderStatus::as_str).as_bytes());
    for time in [filter.from, filter.to] {
        text.push(u8::from(time.is_some()));
        text.extend(time.unwrap_or_default().micros().to_be_bytes());
    }
    let hash = Uuid::new_v5(&NAMESPACE, &text);
    let mut half = [0; 8];
    half.copy_from_slice(&hash.as_bytes()[..8]);
    half
}

#[cfg(test)]
mod tests {
    use domain::OrderStatus;
    use proptest::prelude::*;

    use super::*;

    const ALL: Filter = Filter {
        status: None,
        from: None,
        to: None,
    };

    proptest! {
        #[test]
        fn a_cursor_comes_back_in_its_own_list_only(micros: i64, id: u128, customer in "[a-z]{1,9}") {
            let after = After { placed_at: Timestamp(micros), order_id: Uuid::from_u128(id) };
            let cursor = write(after, &customer, &ALL);
            prop_assert_eq!(read(&cursor, &customer, &ALL).unwrap(), after);
            prop_assert!(read(&cursor, "Someone", &ALL).is_err());
            let paid = Filter { status: Some(OrderStatus::Paid), ..ALL };
            prop_assert!(read(&cursor, &customer, &paid).is_err());
            let later = Filter { from: Some(Timestamp(0)), ..ALL };
            prop_assert!(read(&cursor, &customer, &later).is_err());
        }

        #[test]
        fn a_changed_cursor_is_400(micros: i64, at in 0..BYTES, bit in 0..8_u8) {
            let after = After { placed_at: Timestamp(micros), order_id: Uuid::nil() };
            let mut bytes = URL_SAFE_NO_PAD.decode(write(after, "c", &ALL)).unwrap();
            bytes[at] ^= 1 << bit;
            prop_assert_eq!(read(&URL_SAFE_NO_PAD.encode(bytes), "c", &ALL).unwrap_err().status(), 400);
        }

        #[test]
        fn any_text_is_400(text: String) {
            prop_assert_eq!(read(&text, "c", &ALL).unwrap_err().status(), 400);
        }
    }
}
