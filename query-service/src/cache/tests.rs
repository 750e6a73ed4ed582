//! The cache against a model of the log: whatever happens in whatever order, no answer is older than it may be.

use std::time::Instant;

use bytes::Bytes;
use eventlog::{Topic, TopicPartition};
use http::HeaderValue;
use proptest::prelude::*;

use super::entry::{Part, Version};
use super::policy::Kind;
use super::tags::Tag;
use super::*;

const SKUS: usize = 5;
const PARTITION: TopicPartition = TopicPartition {
    topic: Topic::Stock,
    partition: 0,
};

/// What happens.
#[derive(Clone, Debug)]
enum Step {
    /// An event of a SKU is appended.
    Event(usize),
    /// The tail takes in the next event: its tags first, its position later.
    Touch,
    /// The tail publishes what it has taken in.
    Publish,
    /// A model moves on by so many events, or falls back (another one answers).
    Model(i8),
    /// A fill reads the model.
    Read(usize),
    /// The oldest fill that has read comes to its end.
    Put,
    /// Somebody asks, with a token of so many events ago.
    Get(usize, usize),
    /// Something else needs the room.
    Crowd(u8),
    /// The log is another one: empty.
    Replaced,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..SKUS).prop_map(Step::Event),
        6 => Just(Step::Touch),
        4 => Just(Step::Publish),
        4 => (-3..6_i8).prop_map(Step::Model),
        6 => (0..SKUS).prop_map(Step::Read),
        6 => Just(Step::Put),
        10 => ((0..SKUS), (0..8_usize)).prop_map(|(sku, ago)| Step::Get(sku, ago)),
        1 => (0..4_u8).prop_map(Step::Crowd),
        1 => Just(Step::Replaced),
    ]
}

struct World {
    tail: Arc<Tail>,
    cache: Cache,
    log: Vec<usize>,
    /// How many events the tail has touched the tags of.
    touched: usize,
    model: usize,
    filling: Vec<(Key, Arc<Entry>)>,
    served: usize,
}

impl World {
    fn new(tag_bytes: usize) -> Self {
        let tail = Arc::new(Tail::new(1, tag_bytes, 1 << 10));
        tail.tags().begin(PARTITION, 0);
        tail.heard(Instant::now());
        Self {
            cache: Cache::new(Arc::clone(&tail), 16 << 10),
            tail,
            log: Vec::new(),
            touched: 0,
            model: 0,
            filling: Vec::new(),
            served: 0,
        }
    }

    /// How many events a SKU has had up to a position: what an answer says.
    fn truth(&self, sku: usize, upto: usize) -> u64 {
        self.log.iter().take(upto).filter(|of| **of == sku).count() as u64
    }

    fn take(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match *step {
            Step::Event(sku) => self.log.push(sku),
            Step::Touch => {
                if let Some(sku) = self.log.get(self.touched) {
                    self.touched += 1;
                    let next = i64::try_from(self.touched).unwrap();
                    self.tail.tags().touch(PARTITION, &Tag::Sku(&name(*sku)), next);
                }
            }
            Step::Publish => {
                let next = i64::try_from(self.touched).unwrap();
                self.tail.tags().publish(PARTITION, next);
            }
            Step::Model(by) => {
                let to = i64::try_from(self.model).unwrap() + i64::from(by);
                self.model = usize::try_from(to.max(0)).unwrap().min(self.log.len());
            }
            Step::Read(sku) => {
                let sequence = self.truth(sku, self.model);
                let at = i64::try_from(self.model).unwrap();
                let entry = entry(self.tail.tags(), sku, sequence, at);
                self.filling.push((Key::Stock(name(sku).into()), entry));
            }
            Step::Put => {
                if !self.filling.is_empty() {
                    let (key, entry) = self.filling.remove(0);
                    self.cache.put(key, &entry);
                }
            }
            Step::Get(sku, ago) => return self.get(sku, self.log.len().saturating_sub(ago)),
            Step::Crowd(with) => {
                for n in 0..60 {
                    let key = Key::Stock(format!("crowd-{with}-{n}").into());
                    self.cache
                        .put(key, &entry(self.tail.tags(), SKUS, 0, i64::from(with)));
                }
            }
            Step::Replaced => {
                self.tail.tags().forget();
                (self.log, self.touched, self.model) = (Vec::new(), 0, 0);
                self.tail.tags().begin(PARTITION, 0);
            }
        }
        Ok(())
    }

    fn get(&mut self, sku: usize, wanted_at: usize) -> Result<(), TestCaseError> {
        let wanted: Positions = [(PARTITION, i64::try_from(wanted_at).unwrap())]
            .into_iter()
            .collect();
        let name = name(sku);
        let Ok(entry) = self.cache.get(&KeyRef::Stock(&name), &wanted) else {
            return Ok(());
        };
        self.served += 1;
        let at = usize::try_from(entry.parts[0].at).unwrap();
        let published = usize::try_from(self.tail.tags().position(PARTITION)).unwrap();
        let covered = at.max(published);
        prop_assert!(covered >= wanted_at, "as of {covered}, wanted {wanted_at}");
        let sequence = entry.version.as_ref().map_or(0, |version| version.sequence);
        prop_assert_eq!(
            sequence,
            self.truth(sku, covered),
            "read at {}, as of {}",
            at,
            covered
        );
        Ok(())
    }
}

fn name(sku: usize) -> String {
    format!("sku-{sku}")
}

fn entry(tags: &super::tags::Tags, sku: usize, sequence: u64, at: i64) -> Arc<Entry> {
    let slots = [tags.slot(&Tag::Sku(&name(sku)))].into();
    let etag = HeaderValue::from_static("\"\"");
    Arc::new(Entry {
        kind: Kind::Stock,
        generation: tags.generation(),
        parts: [Part {
            partition: PARTITION,
            at,
            slots,
        }]
        .into(),
        seen: [(PARTITION, at)].into_iter().collect(),
        token: HeaderValue::from_static("t"),
        version: (sequence > 0).then_some(Version { sequence, etag }),
        json: Some(Bytes::from_static(&[b'x'; 500])),
        filled_at: Instant::now(),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Events, a tail that lags, models that lag and fall back, fills that take their time, evictions, a replaced log: what is
    /// served is what a read at its position would give, and that position is at least the one of the token.
    #[test]
    fn no_answer_is_older_than_it_may_be(
        steps in proptest::collection::vec(step(), 1..400),
        tag_bytes in prop_oneof![Just(0_usize), Just(64), Just(1 << 12)],
    ) {
        let mut world = World::new(tag_bytes);
        for step in &steps {
            world.take(step)?;
        }
    }
}

#[test]
fn what_is_true_is_served_and_what_is_not_is_not_even_kept() {
    let mut world = World::new(1 << 12);
    for step in [
        Step::Event(0),
        Step::Model(1),
        Step::Read(0),
        Step::Read(1),
        Step::Put,
        Step::Put,
    ] {
        world.take(&step).unwrap();
    }
    let none = Positions::new();
    let get = |world: &World, sku: usize| {
        let found = world.cache.get(&KeyRef::Stock(&name(sku)), &none);
        found.map(|entry| entry.version.as_ref().map_or(0, |version| version.sequence))
    };
    assert_eq!(
        (get(&world, 0), get(&world, 1)),
        (Ok(1), Ok(0)),
        "absent ones are kept, too"
    );
    let ahead: Positions = [(PARTITION, 2)].into_iter().collect();
    assert_eq!(
        world.cache.get(&KeyRef::Stock("sku-0"), &ahead).unwrap_err(),
        Miss::Behind
    );
    for step in [Step::Event(1), Step::Touch, Step::Touch, Step::Publish] {
        world.take(&step).unwrap();
    }
    assert_eq!((get(&world, 0), get(&world, 1)), (Ok(1), Err(Miss::Touched)));
    assert_eq!(
        world.cache.get(&KeyRef::Stock("sku-0"), &ahead).unwrap().parts[0].at,
        1
    );
    // A fill that read before the event and ends after it.
    world.take(&Step::Read(1)).unwrap();
    world.take(&Step::Put).unwrap();
    assert_eq!(get(&world, 1), Err(Miss::Touched));
    for step in [Step::Model(5), Step::Read(1), Step::Put] {
        world.take(&step).unwrap();
    }
    assert_eq!(get(&world, 1), Ok(1));
}

#[test]
fn a_silent_tail_and_old_age_end_it() {
    let tail = Arc::new(Tail::new(1, 1 << 12, 1 << 10));
    tail.tags().begin(PARTITION, 0);
    let cache = Cache::new(Arc::clone(&tail), 16 << 10);
    cache.put(Key::Stock("sku-0".into()), &entry(tail.tags(), 0, 1, 1));
    let (key, none) = (KeyRef::Stock("sku-0"), Positions::new());
    assert_eq!(
        cache.get(&key, &none).unwrap_err(),
        Miss::Silent,
        "nothing was heard yet"
    );
    assert!(cache.spare(&key, &none).is_ok(), "better than nothing");
    tail.heard(Instant::now());
    assert!(cache.get(&key, &none).is_ok());
    let Some(kept) = &Kind::Stock.policy().kept else {
        panic!("stock is kept");
    };
    let Some(long_ago) = Instant::now().checked_sub(kept.age_max * 2) else {
        return;
    };
    let mut old = Arc::unwrap_or_clone(entry(tail.tags(), 0, 1, 1));
    old.filled_at = long_ago;
    cache.put(Key::Stock("sku-0".into()), &Arc::new(old));
    assert_eq!(cache.get(&key, &none).unwrap_err(), Miss::Old);
}
