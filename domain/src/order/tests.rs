//! Every decision about an order.

use schemas::{
    OrderEvent, Timestamp,
    orders::{
        NoteAdded, OrderCancelled, OrderConfirmed, OrderExpired, OrderLineRefused, OrderLineReleased,
        OrderLineReserved, OrderLineShipped, OrderPaid, OrderPlaced, OrderRejected, OrderShipped, PlacedLine,
    },
};
use uuid::Uuid;

use super::{OrderStatus, Reservation};
use crate::{
    OrderCommand, Reason, Step, deadline,
    given::{Given, NOW, given},
    outstanding,
};

const ORDER: Uuid = Uuid::from_u128(0x0D);
const NOTE: Uuid = Uuid::from_u128(0x17);

fn line(sku: &str, quantity: i64, unit_price_minor: i64) -> PlacedLine {
    PlacedLine {
        sku: sku.into(),
        quantity,
        unit_price_minor,
    }
}

/// Two lines of the same SKU, which stay two.
fn lines() -> Vec<PlacedLine> {
    vec![line("85123A", 6, 255), line("85123A", 2, 250)]
}

fn placed() -> OrderEvent {
    let (customer_id, currency) = ("17850".into(), "GBP".into());
    OrderEvent::Placed(OrderPlaced {
        occurred_at: NOW,
        order_id: ORDER,
        customer_id,
        currency,
        total_minor: 2030,
        lines: lines(),
    })
}

fn line_reserved(line: i32) -> OrderEvent {
    OrderEvent::LineReserved(OrderLineReserved {
        occurred_at: NOW,
        order_id: ORDER,
        line,
    })
}

fn confirmed(line: i32) -> OrderEvent {
    OrderEvent::Confirmed(OrderConfirmed {
        occurred_at: NOW,
        order_id: ORDER,
        line,
    })
}

fn rejected(line: i32) -> OrderEvent {
    OrderEvent::Rejected(OrderRejected {
        occurred_at: NOW,
        order_id: ORDER,
        line,
        reason: "sold out".into(),
    })
}

fn line_refused(line: i32) -> OrderEvent {
    OrderEvent::LineRefused(OrderLineRefused {
        occurred_at: NOW,
        order_id: ORDER,
        line,
        reason: "sold out".into(),
    })
}

fn line_released(line: i32) -> OrderEvent {
    OrderEvent::LineReleased(OrderLineReleased {
        occurred_at: NOW,
        order_id: ORDER,
        line,
    })
}

fn line_shipped(line: i32) -> OrderEvent {
    OrderEvent::LineShipped(OrderLineShipped {
        occurred_at: NOW,
        order_id: ORDER,
        line,
    })
}

fn paid() -> OrderEvent {
    let reference = "bank".into();
    OrderEvent::Paid(OrderPaid {
        occurred_at: NOW,
        order_id: ORDER,
        amount_minor: 2030,
        reference,
    })
}

fn shipped() -> OrderEvent {
    let (carrier, tracking_code) = ("post".into(), "T1".into());
    OrderEvent::Shipped(OrderShipped {
        occurred_at: NOW,
        order_id: ORDER,
        carrier,
        tracking_code,
    })
}

fn cancelled() -> OrderEvent {
    OrderEvent::Cancelled(OrderCancelled {
        occurred_at: NOW,
        order_id: ORDER,
        reason: "changed my mind".into(),
    })
}

fn expired() -> OrderEvent {
    OrderEvent::Expired(OrderExpired {
        occurred_at: NOW,
        order_id: ORDER,
    })
}

fn note(note_id: Uuid, reply_to: Option<Uuid>) -> OrderEvent {
    let (author, text) = ("Zoë".into(), "gift wrap".into());
    OrderEvent::NoteAdded(NoteAdded {
        occurred_at: NOW,
        order_id: ORDER,
        note_id,
        author,
        text,
        reply_to,
    })
}

fn place(lines: Vec<PlacedLine>) -> OrderCommand {
    OrderCommand::Place {
        order_id: ORDER,
        customer_id: "17850".into(),
        currency: "GBP".into(),
        lines,
    }
}

fn pay(amount_minor: i64) -> OrderCommand {
    OrderCommand::Pay {
        order_id: ORDER,
        amount_minor,
        reference: "bank".into(),
    }
}

fn ship() -> OrderCommand {
    OrderCommand::Ship {
        order_id: ORDER,
        carrier: "post".into(),
        tracking_code: "T1".into(),
    }
}

fn cancel() -> OrderCommand {
    OrderCommand::Cancel {
        order_id: ORDER,
        reason: "changed my mind".into(),
    }
}

fn expire() -> OrderCommand {
    OrderCommand::Expire {
        order_id: ORDER,
        due: NOW,
    }
}

fn add_note(note_id: Uuid, reply_to: Option<Uuid>) -> OrderCommand {
    OrderCommand::AddNote {
        order_id: ORDER,
        note_id,
        author: "Zoë".into(),
        text: "gift wrap".into(),
        reply_to,
    }
}

fn record_reserved(line: i32) -> OrderCommand {
    OrderCommand::RecordReserved {
        order_id: ORDER,
        line,
    }
}

fn record_refused(line: i32) -> OrderCommand {
    OrderCommand::RecordRefused {
        order_id: ORDER,
        line,
        reason: "sold out".into(),
    }
}

fn record_released(line: i32) -> OrderCommand {
    OrderCommand::RecordReleased {
        order_id: ORDER,
        line,
    }
}

fn record_shipped(line: i32) -> OrderCommand {
    OrderCommand::RecordShipped {
        order_id: ORDER,
        line,
    }
}

fn nothing() -> Given {
    given::<OrderEvent>([])
}

/// An order in each status, as short as it gets there.
fn in_each_status() -> Vec<(OrderStatus, Given)> {
    let confirmed = || vec![placed(), line_reserved(0), confirmed(1)];
    let and = |mut past: Vec<OrderEvent>, more: &[OrderEvent]| {
        past.extend_from_slice(more);
        given(past)
    };
    vec![
        (OrderStatus::Pending, given([placed()])),
        (OrderStatus::Confirmed, and(confirmed(), &[])),
        (OrderStatus::Rejected, given([placed(), rejected(0)])),
        (OrderStatus::Paid, and(confirmed(), &[paid()])),
        (OrderStatus::Shipped, and(confirmed(), &[paid(), shipped()])),
        (OrderStatus::Cancelled, given([placed(), cancelled()])),
        (OrderStatus::Expired, and(confirmed(), &[expired()])),
    ]
}

/// The command gives this event in these statuses, and this refusal in all others.
#[track_caller]
fn allowed_only_in(statuses: &[OrderStatus], command: &OrderCommand, event: &OrderEvent, otherwise: Reason) {
    for (status, order) in in_each_status() {
        assert_eq!(order.state().as_order().map(|order| order.status), Some(status));
        if statuses.contains(&status) {
            order.when(command.clone()).then(event.clone());
        } else {
            order.when(command.clone()).refused(otherwise);
        }
    }
}

#[test]
fn an_order_is_placed_with_the_sum_of_its_lines() {
    nothing().when(place(lines())).then(placed());
}

#[test]
fn an_order_is_placed_once() {
    given([placed()])
        .when(place(lines()))
        .refused(Reason::AlreadyExists);
}

#[test]
fn an_order_that_no_request_could_hold_is_refused() {
    nothing().when(place(vec![])).refused(Reason::InvalidCommand);
    nothing()
        .when(place(vec![line("A", 0, 1)]))
        .refused(Reason::InvalidCommand);
    nothing()
        .when(place(vec![line("A", 1, -1)]))
        .refused(Reason::InvalidCommand);
    nothing()
        .when(place(vec![line("A", i64::MAX, 2)]))
        .refused(Reason::InvalidCommand);
    nothing()
        .when(place(vec![line("A", 1, i64::MAX), line("A", 1, 1)]))
        .refused(Reason::InvalidCommand);
}

#[test]
fn without_an_order_there_is_nothing_to_change() {
    let commands = [
        pay(1),
        ship(),
        cancel(),
        expire(),
        add_note(NOTE, None),
        record_reserved(0),
        record_released(0),
    ];
    for command in commands {
        nothing().when(command).refused(Reason::OrderNotFound);
    }
}

#[test]
fn only_a_confirmed_order_is_paid() {
    allowed_only_in(&[OrderStatus::Confirmed], &pay(2030), &paid(), Reason::NotPayable);
}

#[test]
fn an_order_is_paid_in_full_or_not_at_all() {
    let order = given([placed(), line_reserved(0), confirmed(1)]);
    for amount_minor in [0, 2029, 2031, -2030] {
        order.when(pay(amount_minor)).refused(Reason::WrongAmount);
    }
}

#[test]
fn only_a_paid_order_is_shipped() {
    allowed_only_in(&[OrderStatus::Paid], &ship(), &shipped(), Reason::NotShippable);
}

#[test]
fn an_order_is_cancelled_until_it_is_shipped() {
    let open = [OrderStatus::Pending, OrderStatus::Confirmed, OrderStatus::Paid];
    allowed_only_in(&open, &cancel(), &cancelled(), Reason::NotCancellable);
}

#[test]
fn only_a_confirmed_order_expires() {
    allowed_only_in(
        &[OrderStatus::Confirmed],
        &expire(),
        &expired(),
        Reason::NotExpirable,
    );
}

#[test]
fn no_order_expires_before_it_is_due() {
    let order = given([placed(), line_reserved(0), confirmed(1)]);
    let early = OrderCommand::Expire {
        order_id: ORDER,
        due: Timestamp(NOW.micros() + 1),
    };
    order.when(early).refused(Reason::NotExpirable);
}

#[test]
fn only_a_confirmed_order_has_a_deadline() {
    for (status, order) in in_each_status() {
        let deadline = deadline(ORDER, order.state().as_order().expect("an order"), 5);
        let expected = (status == OrderStatus::Confirmed).then_some((NOW.micros() + 5, 3));
        assert_eq!(
            deadline.map(|deadline| (deadline.due.micros(), deadline.cause.as_u128())),
            expected,
            "{status:?}"
        );
    }
}

#[test]
fn a_note_is_added_in_any_status() {
    for (_, order) in in_each_status() {
        order.when(add_note(NOTE, None)).then(note(NOTE, None));
    }
}

#[test]
fn a_note_answers_one_that_is_there() {
    let other = Uuid::from_u128(0x18);
    let order = given([placed(), note(NOTE, None)]);
    order
        .when(add_note(other, Some(NOTE)))
        .then(note(other, Some(NOTE)));
    order
        .when(add_note(other, Some(other)))
        .refused(Reason::UnknownReplyTo);
    order.when(add_note(NOTE, None)).refused(Reason::AlreadyExists);
}

#[test]
fn the_last_reservation_confirms_a_pending_order() {
    given([placed()]).when(record_reserved(1)).then(line_reserved(1));
    given([placed(), line_reserved(1)])
        .when(record_reserved(0))
        .then(confirmed(0));
}

#[test]
fn the_first_refusal_rejects_a_pending_order_and_the_next_one_does_not() {
    given([placed()]).when(record_refused(1)).then(rejected(1));
    given([placed(), rejected(1)])
        .when(record_refused(0))
        .then(line_refused(0));
}

#[test]
fn a_closed_order_takes_its_last_answers_and_gives_back() {
    let order = given([placed(), cancelled()]);
    order.when(record_reserved(0)).then(line_reserved(0));
    order.when(record_refused(0)).then(line_refused(0));
    order.when(record_released(0)).refused(Reason::UnexpectedStep);
    given([placed(), cancelled(), line_reserved(0)])
        .when(record_released(0))
        .then(line_released(0));
    given([placed(), line_reserved(0), rejected(1)])
        .when(record_released(0))
        .then(line_released(0));
}

#[test]
fn the_lines_of_a_shipped_order_leave_the_house() {
    let past = [placed(), line_reserved(0), confirmed(1), paid(), shipped()];
    given(past.clone()).when(record_shipped(0)).then(line_shipped(0));
    given(past.clone())
        .when(record_released(0))
        .refused(Reason::UnexpectedStep);
    given(past[..4].to_vec())
        .when(record_shipped(0))
        .refused(Reason::UnexpectedStep);
    given(past.into_iter().chain([line_shipped(0)]))
        .when(record_shipped(0))
        .refused(Reason::AlreadyDone);
}

#[test]
fn a_repeated_step_is_done_already() {
    let order = given([placed(), line_reserved(0)]);
    order.when(record_reserved(0)).refused(Reason::AlreadyDone);
    order.when(record_refused(0)).refused(Reason::AlreadyDone);
    let order = given([placed(), line_reserved(0), rejected(1), line_released(0)]);
    order.when(record_released(0)).refused(Reason::AlreadyDone);
    order.when(record_reserved(0)).refused(Reason::AlreadyDone);
    order.when(record_reserved(1)).refused(Reason::AlreadyDone);
}

#[test]
fn a_line_that_is_not_there_has_no_steps() {
    for line in [-1, 2, i32::MAX, i32::MIN] {
        given([placed()])
            .when(record_reserved(line))
            .refused(Reason::UnexpectedStep);
    }
}

/// The steps that the order's state asks for: line, step, number of the event that caused it.
#[track_caller]
fn asks_for(past: &[OrderEvent], expected: &[(i32, Step, u128)]) {
    let order = given(past.to_vec());
    let order = order.state().as_order().expect("an order");
    let tasks = outstanding(ORDER, order);
    let steps: Vec<_> = tasks
        .iter()
        .map(|task| (task.line, task.step, task.cause.as_u128()))
        .collect();
    assert_eq!(steps, expected);
    assert_eq!(order.steps_left() as usize, expected.len());
}

#[test]
fn the_state_asks_for_what_is_still_to_be_done() {
    use Step::{Release, Reserve, Ship};
    asks_for(&[placed()], &[(0, Reserve, 1), (1, Reserve, 1)]);
    asks_for(&[placed(), line_reserved(0)], &[(1, Reserve, 1)]);
    asks_for(&[placed(), line_reserved(0), confirmed(1)], &[]);
    asks_for(&[placed(), line_reserved(0), rejected(1)], &[(0, Release, 3)]);
    asks_for(&[placed(), rejected(1)], &[(0, Reserve, 1)]);
    asks_for(
        &[placed(), line_reserved(1), cancelled()],
        &[(0, Reserve, 1), (1, Release, 3)],
    );
    asks_for(&[placed(), line_reserved(0), rejected(1), line_released(0)], &[]);
    let past = [
        placed(),
        line_reserved(0),
        confirmed(1),
        paid(),
        note(NOTE, None),
        shipped(),
        line_shipped(1),
    ];
    asks_for(&past[..5], &[]);
    asks_for(&past, &[(0, Ship, 6)]);
}

#[test]
fn what_left_the_house_is_shown_as_reserved() {
    assert_eq!(Reservation::Shipped.as_str(), "reserved");
}
