//! Followers among a ring that moves and a history that lags: everything once, and in order.

use proptest::prelude::*;
use schemas::Timestamp;

use super::*;
use crate::tail::{Tail, samples};

/// What the ring holds, in events: few, so that followers fall out of it.
const HELD: usize = 6;
const PARTITIONS: i32 = 2;

/// A log with its tail, and how far Postgres has come in it.
struct World {
    tail: Tail,
    log: [Vec<i64>; 2],
    heads: [i64; 2],
    kept: [i64; 2],
}

fn index(partition: i32) -> usize {
    usize::try_from(partition).unwrap()
}

impl World {
    fn new() -> Self {
        let world = Self {
            tail: Tail::new(PARTITIONS, 1 << 16, HELD * samples::event(0, 0).bytes()),
            log: Default::default(),
            heads: [0; 2],
            kept: [0; 2],
        };
        world.restart();
        world
    }

    /// The tail begins where Postgres is, and comes again as far as the log is.
    fn restart(&self) {
        let begin = (0..PARTITIONS).map(|at| (at, self.kept[index(at)])).collect();
        self.tail.ring().begin(begin);
        for partition in 0..PARTITIONS {
            for offset in &self.log[index(partition)] {
                if *offset >= self.kept[index(partition)] {
                    self.tail.ring().push(samples::event(partition, *offset));
                }
            }
            self.tail.ring().advance(partition, self.heads[index(partition)]);
        }
    }

    fn append(&mut self, partition: i32, void: bool) {
        let head = &mut self.heads[index(partition)];
        if void {
            self.tail.ring().advance(partition, *head + 1);
        } else {
            self.tail.ring().push(samples::event(partition, *head));
            self.log[index(partition)].push(*head);
        }
        *head += 1;
    }

    /// What Postgres says, at most two events.
    fn read(&self, partition: i32, from: i64) -> Events {
        let position = self.kept[index(partition)];
        let there = |offset: &&i64| **offset >= from && **offset < position;
        let events: Vec<_> = self.log[index(partition)].iter().filter(there).take(2).collect();
        let reached = match events.last() {
            Some(last) if events.len() == 2 => *last + 1,
            _ => position.max(from),
        };
        Events {
            position,
            reached,
            events: events
                .into_iter()
                .map(|offset| event(partition, *offset))
                .collect(),
        }
    }
}

fn event(partition: i32, offset: i64) -> HistoryEvent {
    HistoryEvent {
        order_id: Uuid::nil(),
        sequence: 1,
        kind: "OrderExpired".to_owned(),
        occurred_at: Timestamp(0),
        command_id: Uuid::nil(),
        partition,
        offset,
        causes: eventlog::Positions::new(),
        data: "{}".to_owned(),
    }
}

fn scope(of_order: bool) -> (Scope, OrderPlaces) {
    let id = Uuid::nil();
    if of_order {
        let partition = 0;
        (Scope::Order { id, partition }, [(0, 0)].into())
    } else {
        (Scope::Feed, [(0, 0), (1, 0)].into())
    }
}

/// A client: what it has, and the last id.
struct Reader {
    follower: Follower,
    got: [Vec<i64>; 2],
    last: OrderPlaces,
}

impl Reader {
    fn new(world: &World, of_order: bool) -> Self {
        let (scope, places) = scope(of_order);
        if let Some(id) = scope.order() {
            world.tail.live().follow(id);
        }
        Self {
            follower: Follower::new(scope, places.clone()),
            got: Default::default(),
            last: places,
        }
    }

    /// Comes again with the id of the last event that came.
    fn reconnect(&mut self) {
        self.follower = Follower::new(self.follower.scope(), self.last.clone());
    }

    fn get(&mut self, partition: i32, offset: i64, places: OrderPlaces) {
        self.got[index(partition)].push(offset);
        self.last = places;
    }

    /// One step; whether there may be more. `lost` of what was sent does not arrive, as the stream breaks.
    fn step(&mut self, world: &World, lost: usize) -> bool {
        match self.follower.step(world.tail.live()) {
            Step::Send(next) => {
                let arrive = next.len().saturating_sub(lost);
                for Next { event, places } in next.into_iter().take(arrive) {
                    let own = match self.follower.scope() {
                        Scope::Feed => event.after.iter().copied().collect(),
                        Scope::Order { .. } => [(event.partition, event.offset + 1)].into(),
                    };
                    self.get(event.partition, event.offset, places.unwrap_or(own));
                }
            }
            Step::Wait => return false,
            Step::Read { partition, from } => {
                let page = world.read(partition, from);
                let more = page.reached > from;
                let next = self.follower.kept(partition, page);
                let arrive = next.len().saturating_sub(lost);
                for (event, places) in next.into_iter().take(arrive) {
                    self.get(partition, event.offset, places);
                }
                if lost > 0 {
                    self.reconnect();
                }
                return more || lost > 0;
            }
            Step::Dropped => {
                self.last = self.follower.places();
                self.reconnect();
            }
        }
        if lost > 0 {
            self.reconnect();
        }
        true
    }
}

proptest! {
    #[test]
    fn everything_once_and_in_order(
        steps in proptest::collection::vec((0..8_u8, 0..PARTITIONS, 0..3_usize), 1..150),
        of_order: bool,
    ) {
        let (mut world, mut reader) = { let world = World::new(); let reader = Reader::new(&world, of_order); (world, reader) };
        for (step, partition, lost) in steps {
            match step {
                0..=2 => world.append(partition, lost == 2),
                3 => world.kept[index(partition)] = world.heads[index(partition)],
                4 => reader.reconnect(),
                5 if lost == 0 => world.restart(),
                5 => {
                    // A heartbeat says where the stream stands, and then it breaks.
                    reader.last = reader.follower.places();
                    reader.reconnect();
                }
                _ => {
                    reader.step(&world, lost);
                }
            }
            for partition in 0..if of_order { 1 } else { PARTITIONS } {
                let (got, log) = (&reader.got[index(partition)], &world.log[index(partition)]);
                prop_assert!(log.starts_with(got), "{got:?} of {log:?}");
            }
        }
        world.kept = world.heads;
        let mut idle = 0;
        while idle < 4 {
            idle = if reader.step(&world, 0) { 0 } else { idle + 1 };
        }
        prop_assert_eq!(&reader.got[0], &world.log[0]);
        prop_assert!(of_order || reader.got[1] == world.log[1]);
    }
}
