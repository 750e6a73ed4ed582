//! The writer's fold and the projection come to the same, whatever legal history they fold.

use domain::{Command, Context, OrderCommand, State, StockCommand, decide, evolve};
use eventlog::{Positions, Topic, TopicPartition};
use proptest::prelude::*;
use read_model::projection::{apply_order, apply_stock};
use read_model::view::{Order, OrderDocument, Stock, StockView};
use schemas::orders::PlacedLine;
use schemas::{Event, Timestamp, ids};
use uuid::Uuid;

const ORDER: Uuid = Uuid::from_u128(0x0D);
const SKU: &str = "mug";

/// A command to the order. Most are legal somewhere, and nobody looks whether they are here: that is for `decide`.
fn to_order() -> impl Strategy<Value = OrderCommand> {
    let order_id = ORDER;
    let line = -1..4_i32;
    let note = || (0..6_u128).prop_map(Uuid::from_u128);
    let text = || "[a-zé ]{1,8}";
    prop_oneof![
        8 => line.clone().prop_map(move |line| OrderCommand::RecordReserved { order_id, line }),
        1 => (line.clone(), text()).prop_map(move |(line, reason)| OrderCommand::RecordRefused { order_id, line, reason }),
        3 => line.clone().prop_map(move |line| OrderCommand::RecordReleased { order_id, line }),
        3 => line.prop_map(move |line| OrderCommand::RecordShipped { order_id, line }),
        2 => (0..3_i64, text()).prop_map(move |(factor, reference)| OrderCommand::Pay {
            order_id,
            amount_minor: factor * 100,
            reference,
        }),
        2 => (text(), text()).prop_map(move |(carrier, tracking_code)| OrderCommand::Ship { order_id, carrier, tracking_code }),
        1 => text().prop_map(move |reason| OrderCommand::Cancel { order_id, reason }),
        1 => (0..200_i64).prop_map(move |due| OrderCommand::Expire { order_id, due: Timestamp(due) }),
        4 => (note(), text(), text(), prop::option::of(note())).prop_map(move |(note_id, author, text, reply_to)| {
            OrderCommand::AddNote { order_id, note_id, author, text, reply_to }
        }),
    ]
}

fn place(lines: usize) -> OrderCommand {
    let line = PlacedLine {
        sku: SKU.to_owned(),
        quantity: 1,
        unit_price_minor: 100 / i64::try_from(lines).expect("a few lines"),
    };
    OrderCommand::Place {
        order_id: ORDER,
        customer_id: "c".to_owned(),
        currency: "GBP".to_owned(),
        lines: vec![line; lines],
    }
}

fn to_stock() -> impl Strategy<Value = StockCommand> {
    let sku = || SKU.to_owned();
    let pair = || ((0..3_u128).prop_map(Uuid::from_u128), 0..2_i32);
    prop_oneof![
        2 => (1..9_i64).prop_map(move |quantity| StockCommand::Receive { sku: sku(), quantity }),
        2 => (-9..9_i64).prop_map(move |quantity| StockCommand::Adjust { sku: sku(), quantity, reason: "r".to_owned() }),
        4 => (pair(), 1..5_i64).prop_map(move |((order_id, line), quantity)| {
            StockCommand::Reserve { sku: sku(), order_id, line, quantity }
        }),
        2 => pair().prop_map(move |(order_id, line)| StockCommand::Release { sku: sku(), order_id, line }),
        2 => pair().prop_map(move |(order_id, line)| StockCommand::Ship { sku: sku(), order_id, line }),
    ]
}

/// Decides commands one after the other; what follows from each is handed to `look` with the state after it.
fn drive(commands: Vec<Command>, mut look: impl FnMut(&Event, &Positions, &State)) -> usize {
    let (mut state, mut events) = (None, 0);
    for (number, command) in (1_u32..).zip(commands) {
        let context = Context {
            command_id: Uuid::from_u128(number.into()),
            at: Timestamp(number.into()),
        };
        let Ok(event) = decide(state.as_ref(), &command, &context) else {
            continue;
        };
        let event_id = ids::event_id(context.command_id);
        state = evolve(state, &event, event_id).expect("what was decided can be folded");
        let cause = TopicPartition {
            topic: Topic::Stock,
            partition: i32::try_from(number % 3).expect("a small number"),
        };
        let causes = [(cause, number.into())].into_iter().collect();
        look(&event, &causes, state.as_ref().expect("an event leaves a state"));
        events += 1;
    }
    events
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn an_order_is_the_same_for_the_writer_and_the_read_model(
        lines in 1..4_usize,
        commands in prop::collection::vec(to_order(), 0..40),
    ) {
        let commands = std::iter::once(place(lines)).chain(commands).map(Command::Order);
        let (mut view, mut seen): (Option<Order>, _) = (None, Positions::new());
        let events = drive(commands.collect(), |event, causes, state| {
            let Event::Order(event) = event else { panic!("{event:?}") };
            assert_eq!(apply_order(&mut view, event, causes), Ok(true));
            seen.merge(causes);
            let (view, order) = (view.as_ref().expect("it is there"), state.as_order().expect("it is an order"));
            assert_eq!(&Order::of_state(ORDER, order, seen.clone()).unwrap(), view);
            // As it comes from another service.
            let state: State = serde_json::from_slice(&serde_json::to_vec(state).unwrap()).unwrap();
            let document = OrderDocument::of_state(ORDER, state.as_order().expect("it is an order"));
            assert_eq!((document.order, document.notes), (view.view.clone(), view.notes.each().unwrap()));
        });
        prop_assert!(events > 0);
    }

    #[test]
    fn stock_is_the_same_for_the_writer_and_the_read_model(commands in prop::collection::vec(to_stock(), 1..40)) {
        let commands = commands.into_iter().map(Command::Stock);
        let (mut view, mut seen): (Option<Stock>, _) = (None, Positions::new());
        drive(commands.collect(), |event, causes, state| {
            let Event::Stock(event) = event else { panic!("{event:?}") };
            assert_eq!(apply_stock(&mut view, event, causes), Ok(true));
            seen.merge(causes);
            let (view, stock) = (view.as_ref().expect("it is there"), state.as_stock().expect("it is stock"));
            assert_eq!(&Stock::of_state(SKU, stock, seen.clone()), view);
            assert_eq!(StockView::of_state(SKU, &stock.totals()), view.view);
        });
    }
}
