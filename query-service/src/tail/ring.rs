//! The latest events of all orders, for those who follow them live. Pure: no thread, no clock.
//!
//! The tail puts every effective event in, once, in the order of each partition. Who follows comes in at a place (a position
//! of each partition, as in a token) and takes what is behind it, at his own pace. What is held is bounded in bytes: who
//! comes from further back, or falls behind, is told so, and reads the kept history instead.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use tokio::sync::watch;
use uuid::Uuid;

use super::LiveEvent;

/// The next offset of each partition of the orders' topic.
pub(crate) type OrderPlaces = BTreeMap<i32, i64>;

/// Why nothing can be taken from a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Elsewhere {
    /// What is behind the place is not held any more, or never was: read the kept history up to where the ring begins.
    Behind,
    /// The place is ahead of the tail, which is on its way: try again when it has moved.
    Ahead,
    /// The ring began anew since, or something came that it cannot show: come in again.
    Anew,
}

/// A follower's place in the ring.
#[derive(Clone, Debug)]
pub(crate) struct Cursor {
    /// The number of the next event that it looks at.
    next: u64,
    /// Where it stands: all events before are taken.
    places: OrderPlaces,
    /// The ring that it belongs to: after the log was replaced there is another one.
    epoch: u64,
}

impl Cursor {
    /// Where the follower stands: what it has taken is before that, and nothing else is.
    pub(crate) const fn places(&self) -> &OrderPlaces {
        &self.places
    }
}

/// The place of somebody who follows one order.
#[derive(Clone, Debug)]
pub(crate) struct OrderCursor {
    order_id: Uuid,
    partition: i32,
    /// He has all of the order's events before.
    place: i64,
    epoch: u64,
}

impl OrderCursor {
    /// Where the follower stands.
    pub(crate) fn places(&self) -> OrderPlaces {
        [(self.partition, self.place)].into()
    }
}

/// An order that somebody follows.
#[derive(Debug)]
struct Followed {
    followers: usize,
    /// The offset behind its latest event since then; wakes the followers.
    end: watch::Sender<i64>,
}

#[derive(Debug)]
pub(crate) struct Ring {
    events: VecDeque<Arc<LiveEvent>>,
    /// The number of each order's latest event that is held: who follows one order looks at its events alone.
    latest: HashMap<Uuid, u64, rustc_hash::FxBuildHasher>,
    followed: HashMap<Uuid, Followed, rustc_hash::FxBuildHasher>,
    /// The number of the first event that is held; they are counted from zero.
    first: u64,
    bytes: usize,
    bytes_max: usize,
    /// Every event of a partition from there on is held.
    floors: OrderPlaces,
    /// Where each partition stands after the last event. The same partitions as the floors'.
    heads: OrderPlaces,
    /// Behind the last event of a partition that could not be shown.
    skipped: OrderPlaces,
    epoch: u64,
}

impl Ring {
    /// Holds at most about so many bytes of events. No partition has begun.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            events: VecDeque::new(),
            latest: HashMap::default(),
            followed: HashMap::default(),
            first: 0,
            bytes: 0,
            bytes_max,
            floors: OrderPlaces::new(),
            heads: OrderPlaces::new(),
            skipped: OrderPlaces::new(),
            epoch: 0,
        }
    }

    /// Begins anew at these places, and holds nothing: the tail starts, or the log is another one.
    pub(crate) fn begin(&mut self, places: OrderPlaces) {
        self.first += self.events.len() as u64;
        self.events.clear();
        self.latest.clear();
        self.bytes = 0;
        self.floors.clone_from(&places);
        self.heads = places;
        self.skipped.clear();
        self.epoch += 1;
        for followed in self.followed.values() {
            followed.end.send_modify(|_| {});
        }
    }

    /// Takes in the next event of its partition.
    pub(crate) fn push(&mut self, mut event: LiveEvent) {
        self.advance(event.partition, event.offset + 1);
        event.after = self
            .heads
            .iter()
            .map(|(partition, head)| (*partition, *head))
            .collect();
        self.bytes += event.bytes();
        let (order_id, end) = (event.order_id, event.offset + 1);
        let previous = self
            .latest
            .insert(order_id, self.first + self.events.len() as u64);
        event.previous = previous.and_then(|number| Some((number, self.numbered(number)?.offset)));
        self.events.push_back(Arc::new(event));
        if let Some(followed) = self.followed.get(&order_id) {
            followed.end.send_replace(end);
        }
        while self.bytes > self.bytes_max && self.events.len() > 1 {
            let Some(gone) = self.events.pop_front() else {
                break;
            };
            self.bytes -= gone.bytes();
            if self.latest.get(&gone.order_id) == Some(&self.first) {
                self.latest.remove(&gone.order_id);
            }
            self.first += 1;
            self.floors.insert(gone.partition, gone.offset + 1);
        }
    }

    fn numbered(&self, number: u64) -> Option<&Arc<LiveEvent>> {
        let index = number.checked_sub(self.first)?;
        self.events.get(usize::try_from(index).ok()?)
    }

    /// A partition has come further, without an event.
    pub(crate) fn advance(&mut self, partition: i32, next_offset: i64) {
        let head = self.heads.entry(partition).or_insert(next_offset);
        *head = next_offset.max(*head);
    }

    /// An event right before that offset cannot be shown: who has not passed it must look for it elsewhere.
    pub(crate) fn skip(&mut self, partition: i32, next_offset: i64) {
        self.advance(partition, next_offset);
        self.floors.insert(partition, next_offset);
        self.skipped.insert(partition, next_offset);
    }

    /// Where each partition begins in here.
    pub(crate) const fn floors(&self) -> &OrderPlaces {
        &self.floors
    }

    /// Where each partition stands.
    pub(crate) const fn heads(&self) -> &OrderPlaces {
        &self.heads
    }

    /// Comes in at these places; a partition that is not named is wanted from where it stands now.
    pub(crate) fn subscribe(&self, places: &OrderPlaces) -> Result<Cursor, Elsewhere> {
        if self.heads.is_empty() {
            return Err(Elsewhere::Ahead);
        }
        let mut stands = self.heads.clone();
        for (partition, place) in places {
            let (Some(floor), Some(head)) = (self.floors.get(partition), self.heads.get(partition)) else {
                return Err(Elsewhere::Ahead);
            };
            if place < floor {
                return Err(Elsewhere::Behind);
            }
            if place > head {
                return Err(Elsewhere::Ahead);
            }
            stands.insert(*partition, *place);
        }
        // Behind the last event that every partition has passed.
        let passed = self.events.iter().position(|event| {
            stands
                .get(&event.partition)
                .is_none_or(|stands| event.offset >= *stands)
        });
        let next = self.first + passed.unwrap_or(self.events.len()) as u64;
        Ok(Cursor {
            next,
            places: stands,
            epoch: self.epoch,
        })
    }

    /// The next events of a follower, at most so many, and moves him on behind them; none where he has all. Behind, where what he
    /// needs is not held any more: he stands where he stood.
    pub(crate) fn take(&self, cursor: &mut Cursor, max: usize) -> Result<Vec<Arc<LiveEvent>>, Elsewhere> {
        let is_behind = |(partition, floor): (&i32, &i64)| {
            cursor.places.get(partition).is_some_and(|place| place < floor)
        };
        if cursor.epoch != self.epoch || self.skipped.iter().any(is_behind) {
            return Err(Elsewhere::Anew);
        }
        if self.floors.iter().any(is_behind) {
            return Err(Elsewhere::Behind);
        }
        // Events that were let go of since were all passed, as the floors say.
        let skipped = usize::try_from(cursor.next.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let mut taken = Vec::new();
        cursor.next = cursor.next.max(self.first);
        for event in self.events.iter().skip(skipped) {
            if taken.len() == max {
                return Ok(taken);
            }
            cursor.next += 1;
            let place = cursor.places.entry(event.partition).or_insert(event.offset);
            if event.offset >= *place {
                *place = event.offset + 1;
                taken.push(Arc::clone(event));
            }
        }
        // He has all there is, so he stands where the tail stands.
        cursor.places.clone_from(&self.heads);
        Ok(taken)
    }

    /// Somebody follows this order from now on: what he gets changes whenever it has another event, or the ring begins anew.
    pub(crate) fn follow(&mut self, order_id: Uuid) -> watch::Receiver<i64> {
        let followed = self.followed.entry(order_id).or_insert_with(|| Followed {
            followers: 0,
            end: watch::Sender::new(0),
        });
        followed.followers += 1;
        followed.end.subscribe()
    }

    /// One who followed it does not any more.
    pub(crate) fn leave(&mut self, order_id: Uuid) {
        if let Some(followed) = self.followed.get_mut(&order_id) {
            followed.followers -= 1;
            if followed.followers == 0 {
                self.followed.remove(&order_id);
            }
        }
    }

    /// Comes in at that place of an order that is [followed](Self::follow).
    pub(crate) fn subscribe_order(
        &self,
        order_id: Uuid,
        partition: i32,
        place: i64,
    ) -> Result<OrderCursor, Elsewhere> {
        self.subscribe(&[(partition, place)].into())?;
        Ok(OrderCursor {
            order_id,
            partition,
            place,
            epoch: self.epoch,
        })
    }

    /// As [`Ring::take`], of one order's events. He looks only when there is one, so he may have fallen out of what is held
    /// without having missed anything.
    pub(crate) fn take_order(
        &self,
        cursor: &mut OrderCursor,
        max: usize,
    ) -> Result<Vec<Arc<LiveEvent>>, Elsewhere> {
        let skipped = self.skipped.get(&cursor.partition);
        if cursor.epoch != self.epoch || skipped.is_some_and(|skipped| cursor.place < *skipped) {
            return Err(Elsewhere::Anew);
        }
        let followed = self.followed.get(&cursor.order_id);
        let mut next = match (self.latest.get(&cursor.order_id), followed) {
            (Some(number), _) => self.numbered(*number),
            (None, Some(followed)) if *followed.end.borrow() > cursor.place => return Err(Elsewhere::Behind),
            (None, _) => None,
        };
        let mut taken = Vec::new();
        while let Some(event) = next.filter(|event| event.offset >= cursor.place) {
            taken.push(Arc::clone(event));
            next = match event.previous {
                Some((number, offset)) if offset >= cursor.place => {
                    Some(self.numbered(number).ok_or(Elsewhere::Behind)?)
                }
                _ => None,
            };
        }
        taken.reverse();
        taken.truncate(max);
        cursor.place = match taken.last() {
            Some(last) => last.offset + 1,
            None => self
                .heads
                .get(&cursor.partition)
                .map_or(cursor.place, |head| cursor.place.max(*head)),
        };
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::samples::event;
    use super::*;

    fn places(of: &[(i32, i64)]) -> OrderPlaces {
        of.iter().copied().collect()
    }

    fn offsets(events: &[Arc<LiveEvent>]) -> Vec<(i32, i64)> {
        events
            .iter()
            .map(|event| (event.partition, event.offset))
            .collect()
    }

    #[test]
    fn a_follower_gets_what_is_behind_his_place_once() {
        let mut ring = Ring::new(1 << 20);
        assert_eq!(ring.subscribe(&places(&[])).unwrap_err(), Elsewhere::Ahead);
        ring.begin(places(&[(0, 10), (1, 20)]));
        for (partition, offset) in [(0, 10), (1, 20), (0, 12), (1, 21)] {
            ring.push(event(partition, offset));
        }
        let mut cursor = ring.subscribe(&places(&[(0, 11), (1, 20)])).unwrap();
        assert_eq!(
            offsets(&ring.take(&mut cursor, 1).unwrap()),
            [(1, 20)],
            "one at a time"
        );
        assert_eq!(*cursor.places(), places(&[(0, 11), (1, 21)]));
        assert_eq!(offsets(&ring.take(&mut cursor, 9).unwrap()), [(0, 12), (1, 21)]);
        assert_eq!(offsets(&ring.take(&mut cursor, 9).unwrap()), []);
        ring.advance(1, 30);
        assert_eq!(offsets(&ring.take(&mut cursor, 9).unwrap()), []);
        assert_eq!(
            *cursor.places(),
            places(&[(0, 13), (1, 30)]),
            "what has no event is passed, too"
        );
        let mut now = ring.subscribe(&places(&[])).unwrap();
        ring.push(event(0, 13));
        assert_eq!(offsets(&ring.take(&mut now, 9).unwrap()), [(0, 13)]);
    }

    #[test]
    fn who_is_elsewhere_is_told_so() {
        let mut ring = Ring::new(2 * event(0, 0).bytes());
        ring.begin(places(&[(0, 10)]));
        assert_eq!(ring.subscribe(&places(&[(0, 9)])).unwrap_err(), Elsewhere::Behind);
        assert_eq!(ring.subscribe(&places(&[(0, 11)])).unwrap_err(), Elsewhere::Ahead);
        assert_eq!(ring.subscribe(&places(&[(7, 0)])).unwrap_err(), Elsewhere::Ahead);
        let mut slow = ring.subscribe(&places(&[(0, 10)])).unwrap();
        let mut quick = slow.clone();
        for offset in 10..12 {
            ring.push(event(0, offset));
        }
        assert_eq!(ring.take(&mut quick, 9).unwrap().len(), 2);
        for offset in 12..14 {
            ring.push(event(0, offset));
        }
        assert_eq!(ring.take(&mut slow, 9).unwrap_err(), Elsewhere::Behind);
        assert_eq!(offsets(&ring.take(&mut quick, 9).unwrap()), [(0, 12), (0, 13)]);
        ring.skip(0, 20);
        assert_eq!(
            ring.take(&mut quick, 9).unwrap_err(),
            Elsewhere::Anew,
            "it has not passed what cannot be shown"
        );
        let mut after = ring.subscribe(&places(&[(0, 20)])).unwrap();
        assert_eq!(ring.take(&mut after, 9).unwrap().len(), 0);
        ring.begin(places(&[(0, 0)]));
        assert_eq!(ring.take(&mut after, 9).unwrap_err(), Elsewhere::Anew);
    }

    #[test]
    fn who_follows_one_order_is_woken_by_its_events_and_misses_none() {
        let (followed, other) = (event(0, 0).order_id, event(1, 0).order_id);
        let mut ring = Ring::new(3 * event(0, 0).bytes());
        ring.begin(places(&[(0, 10), (1, 0)]));
        let mut wakes = ring.follow(followed);
        let mut cursor = ring.subscribe_order(followed, 0, 10).unwrap();
        for offset in 0..20 {
            ring.push(event(1, offset));
        }
        assert!(!wakes.has_changed().unwrap(), "others' events are none of his");
        assert_eq!(offsets(&ring.take_order(&mut cursor, 9).unwrap()), []);
        ring.push(event(0, 10));
        ring.push(event(0, 11));
        assert!(wakes.has_changed().unwrap());
        wakes.borrow_and_update();
        let mut slow = cursor.clone();
        assert_eq!(offsets(&ring.take_order(&mut cursor, 1).unwrap()), [(0, 10)]);
        assert_eq!(offsets(&ring.take_order(&mut cursor, 9).unwrap()), [(0, 11)]);
        for offset in 20..22 {
            ring.push(event(1, offset));
        }
        assert_eq!(
            ring.take_order(&mut slow, 9).unwrap_err(),
            Elsewhere::Behind,
            "one of two is gone"
        );
        ring.push(event(1, 22));
        assert_eq!(
            ring.take_order(&mut slow, 9).unwrap_err(),
            Elsewhere::Behind,
            "both are"
        );
        assert_eq!(
            offsets(&ring.take_order(&mut cursor, 9).unwrap()),
            [],
            "he has had them"
        );
        ring.skip(0, 13);
        assert_eq!(ring.take_order(&mut cursor, 9).unwrap_err(), Elsewhere::Anew);
        ring.begin(places(&[(0, 20)]));
        assert!(wakes.has_changed().unwrap(), "he must look where he stands");
        ring.leave(followed);
        ring.leave(other);
        ring.push(event(0, 20));
        assert!(wakes.has_changed().is_err(), "nobody follows it any more");
    }

    proptest! {
        /// However followers come, take and are late: each gets every event behind his place, in order, once, or is told that he cannot.
        #[test]
        fn no_gap_and_no_repetition(
            steps in proptest::collection::vec((0..3_u8, 0..2_i32, 1..4_usize), 1..80),
            held in 1..12_usize,
        ) {
            let mut ring = Ring::new(held * event(0, 0).bytes());
            ring.begin(places(&[(0, 0), (1, 0)]));
            let (mut heads, mut log) = ([0_i64; 2], Vec::new());
            let mut follower = ring.subscribe(&places(&[(0, 0), (1, 0)])).unwrap();
            let mut expected_from = 0;
            for (step, partition, count) in steps {
                let head = &mut heads[usize::try_from(partition).unwrap()];
                match step {
                    0 => {
                        ring.push(event(partition, *head));
                        log.push((partition, *head));
                        *head += 1;
                    }
                    1 => {
                        *head += i64::try_from(count).unwrap();
                        ring.advance(partition, *head);
                    }
                    _ => {
                        if let Ok(taken) = ring.take(&mut follower, count) {
                            let taken = offsets(&taken);
                            prop_assert_eq!(&taken[..], &log[expected_from..expected_from + taken.len()]);
                            prop_assert!(taken.len() == count || expected_from + taken.len() == log.len());
                            expected_from += taken.len();
                        } else {
                            prop_assert!(log.len() - expected_from > held);
                            follower = ring.subscribe(&places(&[])).unwrap();
                            expected_from = log.len();
                        }
                    }
                }
            }
        }
    }
}
