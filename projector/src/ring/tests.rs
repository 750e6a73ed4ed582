//! Coming in, keeping up, falling behind.

use proptest::prelude::*;

use super::*;
use crate::step::Step;
use crate::step::samples::{A, B, before, chunk, poison, step};

const MIB: usize = 1 << 20;

fn places(a: i64, b: i64) -> Places {
    Places::from([(A, before(a)), (B, before(b))])
}

fn offsets(chunks: &[Arc<Chunk>]) -> Vec<(TopicPartition, i64)> {
    let steps = chunks.iter().flat_map(|chunk| &chunk.steps);
    steps.map(|step| (step.partition, step.offset)).collect()
}

fn take(ring: &mut Ring, subscriber: Subscriber) -> Vec<(TopicPartition, i64)> {
    offsets(&ring.take(subscriber, 1_000, usize::MAX).unwrap())
}

/// A ring in which both partitions were read up to 10 from 0 on, a pair of records in each chunk.
fn ten() -> (Ring, Subscriber) {
    let (mut ring, first) = Ring::new(places(0, 0), Reach::NEAR);
    for offset in 0..10 {
        ring.push(chunk(vec![step(A, offset), step(B, offset)], 100));
    }
    (ring, first)
}

#[test]
fn somebody_comes_in_at_the_head_in_the_middle_and_at_the_floor() {
    let (mut ring, _) = ten();
    let head = ring.subscribe(&places(10, 10)).unwrap();
    assert_eq!(take(&mut ring, head), []);
    let middle = ring.subscribe(&places(10, 9)).unwrap();
    let from_its_chunk_on = [(A, 8), (B, 8), (A, 9), (B, 9)];
    assert_eq!(take(&mut ring, middle), from_its_chunk_on);
    let floor = ring.subscribe(&places(0, 7)).unwrap();
    assert_eq!(take(&mut ring, floor).len(), 20);
    ring.push(chunk(vec![step(A, 10)], 100));
    for subscriber in [head, middle, floor] {
        assert_eq!(take(&mut ring, subscriber), [(A, 10)]);
    }
}

#[test]
fn nobody_comes_in_where_nothing_is_held() {
    let (mut ring, first) = Ring::new(places(5, 5), Reach::NEAR);
    for offset in 5..10 {
        ring.push(chunk(vec![step(A, offset)], 100));
    }
    assert_eq!(ring.subscribe(&places(4, 5)), Err(Refusal::Elsewhere), "behind");
    assert_eq!(ring.subscribe(&places(9, 6)), Err(Refusal::Elsewhere), "ahead");
    let (mut other, _) = Ring::new(Places::from([(A, before(0))]), Reach::NEAR);
    assert_eq!(
        other.subscribe(&places(0, 0)),
        Err(Refusal::Elsewhere),
        "not read"
    );
    ring.push(chunk(vec![poison(B, 5)], 100));
    assert_eq!(ring.subscribe(&places(10, 5)), Err(Refusal::Elsewhere), "left");
    let without = Places::from([(A, before(10))]);
    assert!(
        ring.subscribe(&without).is_ok(),
        "who stopped there does not care"
    );
    assert_eq!(take(&mut ring, first).len(), 6);
}

#[test]
fn nobody_comes_in_where_the_chain_stands_differently() {
    let (mut ring, _) = ten();
    for offset in [0, 4, 10] {
        let foreign = Checkpoint {
            link: before(77).link,
            ..before(offset)
        };
        let places = Places::from([(A, before(3)), (B, foreign)]);
        assert_eq!(ring.subscribe(&places), Err(Refusal::Differs(B)), "{offset}");
        let void = Checkpoint {
            last_offset: offset - 2,
            ..before(offset)
        };
        let places = Places::from([(A, void), (B, before(10))]);
        assert_eq!(ring.subscribe(&places), Err(Refusal::Differs(A)), "{offset}");
    }
}

#[test]
fn the_fastest_sets_the_pace_and_who_is_too_slow_loses_his_place() {
    let (mut ring, slow) = Ring::new(places(0, 0), Reach::NEAR);
    let fast = ring.subscribe(&places(0, 0)).unwrap();
    let mut offset = 0;
    let mut fill = |ring: &mut Ring| {
        while ring.has_room() {
            ring.push(chunk(vec![step(A, offset)], MIB));
            offset += 1;
        }
    };
    fill(&mut ring);
    assert_eq!(
        ring.chunks.len() as u64,
        Reach::NEAR.ahead_chunks_max,
        "nobody is in a hurry"
    );
    while take(&mut ring, fast).last().unwrap().1 < 15 {
        fill(&mut ring);
    }
    assert_eq!(ring.chunks.len(), 16, "all is held for the slow one");
    fill(&mut ring);
    assert_eq!(ring.take(slow, 1, 1).unwrap_err(), Behind);
    assert!(
        ring.bytes <= Reach::NEAR.kept_bytes_max + MIB,
        "nothing is held for who is lost"
    );
    ring.unsubscribe(fast);
    assert!(!ring.has_room(), "who is lost does not set the pace");
    ring.unsubscribe(slow);
    assert!(!ring.has_subscribers());
}

#[test]
fn where_nobody_waits_the_slowest_sets_the_pace_and_nobody_loses_his_place() {
    let (mut ring, slow) = Ring::new(places(0, 0), Reach::FILL);
    let fast = ring.subscribe(&places(0, 0)).unwrap();
    let mut offset = 0;
    for _ in 0..5 {
        while ring.has_room() {
            ring.push(chunk(vec![step(A, offset)], MIB));
            offset += 1;
        }
        take(&mut ring, fast);
        assert!(!ring.has_room(), "it is waited for the slow one");
        ring.take(slow, 7, usize::MAX).unwrap();
        assert!(ring.has_room());
    }
    assert!(
        ring.subscribe(&places(offset - 60, 0)).is_ok(),
        "what all have taken is held for a while"
    );
}

#[test]
fn a_batch_ends_with_the_chunk_that_fills_it() {
    let (mut ring, first) = ten();
    assert_eq!(ring.take(first, 3, MIB).unwrap().len(), 2);
    assert_eq!(ring.take(first, 100, 250).unwrap().len(), 3);
    assert_eq!(ring.take(first, 100, MIB).unwrap().len(), 5);
}

/// What a model does: it has taken each partition up to there.
struct Model {
    subscriber: Subscriber,
    places: Places,
}

impl Model {
    /// Takes what is there; every step that is not known must be the next one of its partition.
    fn take(&mut self, ring: &mut Ring) -> Result<(), Behind> {
        for chunk in ring.take(self.subscriber, 4, usize::MAX)? {
            for Step {
                partition, offset, ..
            } in &chunk.steps
            {
                let place = self.places.get_mut(partition).unwrap();
                if *offset >= place.next_offset {
                    assert_eq!(*offset, place.next_offset, "no step is left out");
                    *place = before(offset + 1);
                }
            }
        }
        Ok(())
    }
}

#[derive(Clone, Debug)]
enum Op {
    Push(Vec<bool>, usize),
    Take(usize),
    Join(i64, i64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (prop::collection::vec(any::<bool>(), 1..4), 1..2 * MIB).prop_map(|(steps, bytes)| Op::Push(steps, bytes)),
        4 => (0..4_usize).prop_map(Op::Take),
        1 => (0..12_i64, 0..12_i64).prop_map(|(a, b)| Op::Join(a, b)),
    ]
}

proptest! {
    #[test]
    fn whoever_comes_in_gets_every_step_from_there_on_or_is_told(ops in prop::collection::vec(op(), 1..200)) {
        let (mut ring, first) = Ring::new(places(0, 0), Reach::NEAR);
        let mut models = vec![Model { subscriber: first, places: places(0, 0) }];
        let mut heads = [0, 0];
        for op in ops {
            match op {
                Op::Push(steps, bytes) if ring.has_room() => {
                    let steps = steps.into_iter().map(|b| {
                        let head = &mut heads[usize::from(b)];
                        *head += 1;
                        step(if b { B } else { A }, *head - 1)
                    });
                    ring.push(chunk(steps.collect(), bytes));
                    prop_assert!(ring.bytes <= Reach::NEAR.held_bytes_max + 2 * MIB);
                }
                Op::Push(..) => {}
                Op::Take(number) => {
                    let number = number % models.len();
                    if models[number].take(&mut ring).is_err() {
                        ring.unsubscribe(models.remove(number).subscriber);
                        prop_assert!(!models.is_empty(), "the fastest keeps its place");
                    }
                }
                Op::Join(a, b) => {
                    let places = places(heads[0] - a, heads[1] - b);
                    if let Ok(subscriber) = ring.subscribe(&places) {
                        models.push(Model { subscriber, places });
                    }
                }
            }
        }
        for mut model in models {
            while model.places != ring.heads {
                if model.take(&mut ring).is_err() {
                    break;
                }
            }
        }
    }
}
