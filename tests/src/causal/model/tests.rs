//! Small histories whose answers are known to be right or wrong.

use super::*;

const SKUS: u32 = 2;

fn model() -> Model {
    Model::new(SKUS, 8)
}

fn nobody() -> Knowledge {
    Knowledge::default()
}

fn place(model: &mut Model, by: &mut Knowledge) -> u32 {
    let id = Uuid::from_u128(u128::from(model.placed_count()) + 1);
    let number = model.placing(id, "alice".into(), &[0], by);
    model.placed(number, 1, by).unwrap();
    number
}

/// A note's number and id.
fn note(model: &mut Model, order: u32, sequence: u64, by: &mut Knowledge) -> ShownNote {
    let (number, writing) = model.noting(order, by);
    let id = Uuid::from_u128(u128::from(number));
    model.written(writing, Some((number, id)), sequence, by).unwrap();
    ShownNote {
        number,
        id,
        reply_to: None,
    }
}

fn receive(model: &mut Model, sku: u32, sequence: u64, by: &mut Knowledge) {
    let writing = model.writing(Thing::Stock(sku), by);
    model.written(writing, None, sequence, by).unwrap();
}

fn order(sequence: u64, line: Reservation, notes: &[ShownNote]) -> ShownOrder {
    ShownOrder {
        sequence,
        view: Some((sequence, vec![line])),
        notes: Some(notes.to_vec()),
    }
}

/// Shows somebody an order.
fn show(
    model: &mut Model,
    level: Level,
    number: u32,
    shown: &ShownOrder,
    to: &mut Knowledge,
) -> Result<(), Rule> {
    let expected = model.expected(&Target::Order(number), level, to);
    model
        .saw_order(number, &expected, Some(shown), to)
        .map_err(|breach| breach.rule)
}

fn show_stock(
    model: &mut Model,
    level: Level,
    sku: u32,
    sequence: u64,
    to: &mut Knowledge,
) -> Result<(), Rule> {
    let expected = model.expected(&Target::Stock(sku), level, to);
    model
        .saw_stock(sku, &expected, Some((sequence, Some(sequence))), to)
        .map_err(|breach| breach.rule)
}

#[test]
fn own_writes_and_what_was_read_must_be_shown_again() {
    let (mut model, mut alice) = (model(), nobody());
    receive(&mut model, 0, 3, &mut alice);
    assert_eq!(
        show_stock(&mut model, Level::Causal, 0, 2, &mut alice),
        Err(Rule::ReadYourWrites)
    );
    assert_eq!(show_stock(&mut model, Level::Eventual, 0, 2, &mut alice), Ok(()));
    assert_eq!(show_stock(&mut model, Level::Causal, 0, 5, &mut alice), Ok(()));
    assert_eq!(
        show_stock(&mut model, Level::Causal, 0, 4, &mut alice),
        Err(Rule::MonotonicReads)
    );
    // Somebody else has seen nothing.
    assert_eq!(show_stock(&mut model, Level::Causal, 0, 2, &mut nobody()), Ok(()));
    assert_eq!(
        show_stock(&mut model, Level::Causal, 0, 4, &mut alice.handed_over()),
        Err(Rule::HandedOver)
    );
}

#[test]
fn strong_reads_show_what_was_acknowledged_to_anybody_before_they_began() {
    let mut model = model();
    let (mut alice, mut bob) = (nobody(), nobody());
    let expected = model.expected(&Target::Stock(0), Level::Strong, &bob);
    receive(&mut model, 0, 1, &mut alice);
    assert!(model.saw_stock(0, &expected, None, &mut bob).is_ok());
    assert_eq!(
        show_stock(&mut model, Level::Strong, 0, 0, &mut bob),
        Err(Rule::Strong)
    );
    let number = place(&mut model, &mut alice);
    let expected = model.expected(&Target::Customer("alice".into()), Level::Strong, &bob);
    let breach = model.saw_customer(&expected, &[], &mut bob).unwrap_err();
    assert_eq!(breach.rule, Rule::Strong);
    let expected = model.expected(&Target::Order(number), Level::Strong, &bob);
    let breach = model.saw_order(number, &expected, None, &mut bob).unwrap_err();
    assert_eq!(breach.rule, Rule::Strong);
}

#[test]
fn who_sees_a_note_must_see_what_its_writer_had_seen_and_so_on() {
    let mut model = model();
    let (mut alice, mut bob, mut carol, mut dave) = (nobody(), nobody(), nobody(), nobody());
    let first = place(&mut model, &mut alice);
    let second = place(&mut model, &mut nobody());
    let third = place(&mut model, &mut nobody());
    // Alice notes on the first, Bob sees it and notes on the second, Carol sees that and notes on the third.
    let one = note(&mut model, first, 2, &mut alice);
    let shown = order(2, Reservation::Pending, &[one]);
    show(&mut model, Level::Eventual, first, &shown, &mut bob).unwrap();
    let two = note(&mut model, second, 2, &mut bob);
    let shown = order(2, Reservation::Pending, &[two]);
    show(&mut model, Level::Eventual, second, &shown, &mut carol).unwrap();
    let three = note(&mut model, third, 2, &mut carol);
    // Dave sees the third, so the first is not without its note.
    let shown = order(2, Reservation::Pending, &[three]);
    show(&mut model, Level::Eventual, third, &shown, &mut dave).unwrap();
    let bare = order(1, Reservation::Pending, &[]);
    assert_eq!(
        show(&mut model, Level::Causal, first, &bare, &mut dave),
        Err(Rule::CausalOrder)
    );
    assert_eq!(
        show(&mut model, Level::Causal, second, &bare, &mut dave),
        Err(Rule::CausalOrder)
    );
    // Also where he saw the third in a list, which shows no notes.
    let mut erin = nobody();
    let expected = model.expected(&Target::Customer("alice".into()), Level::Eventual, &erin);
    let listed = ShownOrder {
        notes: None,
        ..order(2, Reservation::Pending, &[])
    };
    model
        .saw_customer(&expected, &[(Uuid::from_u128(3), listed)], &mut erin)
        .unwrap();
    assert_eq!(
        show(&mut model, Level::Causal, first, &bare, &mut erin),
        Err(Rule::CausalOrder)
    );
}

#[test]
fn a_note_that_was_seen_before_it_was_acknowledged_has_causes_too() {
    let mut model = model();
    let (mut alice, mut bob) = (nobody(), nobody());
    let number = place(&mut model, &mut nobody());
    receive(&mut model, 1, 7, &mut alice);
    let (note, _) = model.noting(number, &alice);
    let note = ShownNote {
        number: note,
        id: Uuid::nil(),
        reply_to: None,
    };
    let shown = order(2, Reservation::Pending, &[note]);
    show(&mut model, Level::Causal, number, &shown, &mut bob).unwrap();
    assert_eq!(
        show_stock(&mut model, Level::Causal, 1, 6, &mut bob),
        Err(Rule::CausalOrder)
    );
}

#[test]
fn a_reserved_line_comes_after_the_receipts_that_were_acknowledged_before_the_order() {
    let mut model = model();
    receive(&mut model, 0, 4, &mut nobody());
    let number = place(&mut model, &mut nobody());
    for (sequence, line, least) in [
        (1, Reservation::Pending, 0),
        (2, Reservation::Refused, 4),
        (3, Reservation::Reserved, 5),
        (4, Reservation::Released, 6),
    ] {
        let mut reader = nobody();
        let shown = order(sequence, line, &[]);
        show(&mut model, Level::Causal, number, &shown, &mut reader).unwrap();
        let known = reader.least(Thing::Stock(0)).map_or(0, |known| known.sequence);
        assert_eq!(known, least, "{line:?}");
    }
}

#[test]
fn content_is_the_same_for_everybody_and_has_what_was_written() {
    let mut model = model();
    let mut alice = nobody();
    let number = place(&mut model, &mut alice);
    let note = note(&mut model, number, 2, &mut alice);
    let mut wrong = |shown: ShownOrder| show(&mut model, Level::Eventual, number, &shown, &mut nobody());
    let good = order(2, Reservation::Pending, &[note]);
    assert_eq!(wrong(good.clone()), Ok(()));
    assert_eq!(wrong(order(2, Reservation::Pending, &[])), Err(Rule::Content));
    assert_eq!(wrong(order(1, Reservation::Pending, &[note])), Err(Rule::Content));
    let other = ShownOrder {
        view: Some((77, vec![Reservation::Pending])),
        ..good
    };
    assert_eq!(wrong(other), Err(Rule::Content));
    let unknown = ShownNote { number: 99, ..note };
    assert_eq!(
        wrong(order(3, Reservation::Pending, &[unknown])),
        Err(Rule::Content)
    );
    let reply = ShownNote {
        reply_to: Some(Uuid::nil()),
        ..note
    };
    assert_eq!(
        wrong(order(4, Reservation::Pending, &[reply])),
        Err(Rule::CausalOrder)
    );
}

#[test]
fn a_write_comes_after_what_its_caller_knew() {
    let (mut model, mut alice) = (model(), nobody());
    alice.learn(Thing::Stock(0), 9, Why::Read);
    let writing = model.writing(Thing::Stock(0), &alice);
    let breach = model.written(writing, None, 9, &mut alice).unwrap_err();
    assert_eq!(breach.rule, Rule::WritesFollowReads);
}

#[test]
fn orders_of_long_ago_are_forgotten_and_ask_for_nothing() {
    let (mut model, mut alice) = (model(), nobody());
    let first = place(&mut model, &mut alice);
    for _ in 0..8 {
        place(&mut model, &mut alice);
    }
    let expected = model.expected(&Target::Customer("alice".into()), Level::Causal, &alice);
    assert!(expected.least(Thing::Order(first)).is_none());
    assert_eq!(model.acknowledged_order(first), None);
    assert!(model.acknowledged_order(first + 1).is_some());
    model.prune(&mut alice);
    assert_eq!(alice.len(), 8);
}
