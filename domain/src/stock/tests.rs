//! Every decision about stock.

use schemas::{
    StockEvent,
    stock::{StockAdjusted, StockReceived, StockReleased, StockReserved, StockShipped},
};
use uuid::Uuid;

use crate::{
    Reason, StockCommand,
    given::{Given, NOW, given},
};

const SKU: &str = "85123A";
const ORDER: Uuid = Uuid::from_u128(0x0D);
const OTHER: Uuid = Uuid::from_u128(0x0E);

fn received(quantity: i64) -> StockEvent {
    StockEvent::Received(StockReceived {
        occurred_at: NOW,
        sku: SKU.into(),
        quantity,
    })
}

fn adjusted(quantity: i64) -> StockEvent {
    StockEvent::Adjusted(StockAdjusted {
        occurred_at: NOW,
        sku: SKU.into(),
        quantity,
        reason: "count".into(),
    })
}

fn reserved(order_id: Uuid, line: i32, quantity: i64) -> StockEvent {
    StockEvent::Reserved(StockReserved {
        occurred_at: NOW,
        sku: SKU.into(),
        order_id,
        line,
        quantity,
    })
}

fn released(order_id: Uuid, line: i32, quantity: i64) -> StockEvent {
    StockEvent::Released(StockReleased {
        occurred_at: NOW,
        sku: SKU.into(),
        order_id,
        line,
        quantity,
    })
}

fn shipped(order_id: Uuid, line: i32, quantity: i64) -> StockEvent {
    StockEvent::Shipped(StockShipped {
        occurred_at: NOW,
        sku: SKU.into(),
        order_id,
        line,
        quantity,
    })
}

fn receive(quantity: i64) -> StockCommand {
    StockCommand::Receive {
        sku: SKU.into(),
        quantity,
    }
}

fn adjust(quantity: i64) -> StockCommand {
    StockCommand::Adjust {
        sku: SKU.into(),
        quantity,
        reason: "count".into(),
    }
}

fn reserve(order_id: Uuid, line: i32, quantity: i64) -> StockCommand {
    StockCommand::Reserve {
        sku: SKU.into(),
        order_id,
        line,
        quantity,
    }
}

fn release(order_id: Uuid, line: i32) -> StockCommand {
    StockCommand::Release {
        sku: SKU.into(),
        order_id,
        line,
    }
}

fn ship(order_id: Uuid, line: i32) -> StockCommand {
    StockCommand::Ship {
        sku: SKU.into(),
        order_id,
        line,
    }
}

fn nothing() -> Given {
    given::<StockEvent>([])
}

#[track_caller]
fn counts(past: &[StockEvent], on_hand: i64, reserved: i64) {
    let stock = given(past.to_vec());
    let stock = stock.state().as_stock().expect("stock");
    assert_eq!(
        (stock.on_hand, stock.reserved, stock.available()),
        (on_hand, reserved, on_hand - reserved)
    );
    assert_eq!(stock.reservations.values().sum::<i64>(), reserved);
}

#[test]
fn the_first_receipt_creates_the_stock() {
    nothing().when(receive(5)).then(received(5));
    given([received(5)]).when(receive(2)).then(received(2));
}

#[test]
fn what_was_never_received_is_not_there() {
    for command in [adjust(1), reserve(ORDER, 0, 1), release(ORDER, 0), ship(ORDER, 0)] {
        nothing().when(command).refused(Reason::StockNotFound);
    }
}

#[test]
fn a_receipt_has_a_quantity_that_fits() {
    nothing().when(receive(0)).refused(Reason::InvalidCommand);
    nothing().when(receive(-1)).refused(Reason::InvalidCommand);
    given([received(1)])
        .when(receive(i64::MAX))
        .refused(Reason::StockTooLarge);
    given([received(1)])
        .when(adjust(i64::MAX))
        .refused(Reason::StockTooLarge);
}

#[test]
fn an_adjustment_takes_no_more_than_is_available() {
    let stock = given([received(5), reserved(ORDER, 0, 2)]);
    stock.when(adjust(4)).then(adjusted(4));
    stock.when(adjust(-3)).then(adjusted(-3));
    assert_eq!(
        stock
            .when(adjust(-4))
            .refused(Reason::InsufficientStock)
            .available,
        Some(3)
    );
    assert_eq!(
        stock
            .when(adjust(i64::MIN))
            .refused(Reason::InsufficientStock)
            .available,
        Some(3)
    );
    stock.when(adjust(0)).refused(Reason::InvalidCommand);
}

#[test]
fn the_last_item_goes_to_one_order() {
    let stock = given([received(3), reserved(ORDER, 0, 2)]);
    stock.when(reserve(OTHER, 0, 1)).then(reserved(OTHER, 0, 1));
    assert_eq!(
        stock
            .when(reserve(OTHER, 0, 2))
            .refused(Reason::InsufficientStock)
            .available,
        Some(1)
    );
    stock.when(reserve(OTHER, 0, 0)).refused(Reason::InvalidCommand);
}

#[test]
fn two_lines_of_an_order_are_two_reservations() {
    let stock = given([received(9), reserved(ORDER, 0, 2)]);
    stock.when(reserve(ORDER, 1, 3)).then(reserved(ORDER, 1, 3));
}

#[test]
fn a_second_reservation_of_a_line_is_done_already() {
    let stock = given([received(2), reserved(ORDER, 0, 2)]);
    stock.when(reserve(ORDER, 0, 2)).refused(Reason::AlreadyDone);
}

#[test]
fn a_reservation_is_given_back_or_leaves_the_house_once() {
    let stock = given([received(3), reserved(ORDER, 0, 2)]);
    stock.when(release(ORDER, 0)).then(released(ORDER, 0, 2));
    stock.when(ship(ORDER, 0)).then(shipped(ORDER, 0, 2));
    stock.when(release(ORDER, 1)).refused(Reason::AlreadyDone);
    for end in [released(ORDER, 0, 2), shipped(ORDER, 0, 2)] {
        let stock = given([received(3), reserved(ORDER, 0, 2), end]);
        stock.when(release(ORDER, 0)).refused(Reason::AlreadyDone);
        stock.when(ship(ORDER, 0)).refused(Reason::AlreadyDone);
    }
}

#[test]
fn shipping_takes_from_both_and_a_release_from_one() {
    counts(&[received(5), reserved(ORDER, 0, 2)], 5, 2);
    counts(
        &[
            received(5),
            reserved(ORDER, 0, 2),
            reserved(OTHER, 0, 1),
            released(ORDER, 0, 2),
        ],
        5,
        1,
    );
    counts(
        &[
            received(5),
            reserved(ORDER, 0, 2),
            reserved(OTHER, 0, 1),
            shipped(ORDER, 0, 2),
        ],
        3,
        1,
    );
    counts(&[received(5), adjusted(-1)], 4, 0);
}
