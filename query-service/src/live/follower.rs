//! Where a stream stands, and what comes next. Pure: no thread, no clock, no I/O.

use std::sync::Arc;

use read_model::HistoryEvent;
use read_model::postgres::Events;
use uuid::Uuid;

use crate::tail::ring::{Cursor, Elsewhere, OrderCursor, OrderPlaces};
use crate::tail::{Live, LiveEvent};

/// So many events are looked at in one step.
const TAKE_MAX: usize = 64;

/// What a stream is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Every order.
    Feed,
    /// One.
    Order { id: Uuid, partition: i32 },
}

impl Scope {
    /// The order, where it is one.
    pub(crate) const fn order(self) -> Option<Uuid> {
        match self {
            Self::Feed => None,
            Self::Order { id, .. } => Some(id),
        }
    }
}

/// A stream's next event.
#[derive(Clone, Debug)]
pub(crate) struct Next {
    pub(crate) event: Arc<LiveEvent>,
    /// Where the stream stands after it, where that is not what the event itself says.
    pub(crate) places: Option<OrderPlaces>,
}

/// What to do next.
#[derive(Debug)]
pub(crate) enum Step {
    /// Send these.
    Send(Vec<Next>),
    /// Wait until the tail moves.
    Wait,
    /// Read what is kept of that partition from there on, and [say](Follower::kept) what it is.
    Read { partition: i32, from: i64 },
    /// What comes next is not held any more: the reader was too slow.
    Dropped,
}

/// Where a follower stands.
#[derive(Debug)]
enum Place {
    /// In what is kept.
    Kept(OrderPlaces),
    /// In the ring.
    Feed(Cursor),
    Order(OrderCursor),
}

/// Where a stream stands.
#[derive(Debug)]
pub(crate) struct Follower {
    scope: Scope,
    place: Place,
    /// Whether it has had all that is before its place in the ring and nothing else, as others who are there have.
    in_step: bool,
    /// The partition that was read last.
    read: i32,
}

impl Follower {
    /// One that has had everything before these places. They must name each partition that it is of.
    pub(crate) const fn new(scope: Scope, places: OrderPlaces) -> Self {
        Self {
            scope,
            place: Place::Kept(places),
            in_step: false,
            read: -1,
        }
    }

    /// What it follows.
    pub(crate) const fn scope(&self) -> Scope {
        self.scope
    }

    /// Whether it has all that is kept.
    pub(crate) const fn is_live(&self) -> bool {
        !matches!(self.place, Place::Kept(_))
    }

    /// Where it stands: everything before was sent, and nothing else.
    pub(crate) fn places(&self) -> OrderPlaces {
        match &self.place {
            Place::Kept(places) => places.clone(),
            Place::Feed(cursor) => cursor.places().clone(),
            Place::Order(cursor) => cursor.places(),
        }
    }

    /// What comes next.
    pub(crate) fn step(&mut self, live: Live<'_>) -> Step {
        loop {
            let taken = match &mut self.place {
                Place::Feed(cursor) => {
                    let stood = (!self.in_step).then(|| cursor.places().clone());
                    live.take(cursor, TAKE_MAX)
                        .map(|events| next_of_feed(events, stood, &mut self.in_step))
                }
                Place::Order(cursor) => live.take_order(cursor, TAKE_MAX).map(|events| {
                    let alone = |event| Next { event, places: None };
                    events.into_iter().map(alone).collect()
                }),
                Place::Kept(places) => match come_in(self.scope, places, live) {
                    Ok(place) => {
                        self.place = place;
                        continue;
                    }
                    Err(Elsewhere::Ahead) => return Step::Wait,
                    Err(Elsewhere::Behind | Elsewhere::Anew) => {
                        let floors = live.floors();
                        let is_behind = |(partition, place): &(&i32, &i64)| {
                            floors.get(partition).is_some_and(|floor| *place < floor)
                        };
                        // One partition after the other, so that none waits for one that is late.
                        let mut behind = places.iter().filter(is_behind);
                        let next = behind.clone().find(|(partition, _)| **partition > self.read);
                        if let Some((&partition, &from)) = next.or_else(|| behind.next()) {
                            self.read = partition;
                            return Step::Read { partition, from };
                        }
                        continue;
                    }
                },
            };
            match taken {
                Ok(next) if next.is_empty() => return Step::Wait,
                Ok(next) => return Step::Send(next),
                Err(Elsewhere::Behind) => return Step::Dropped,
                Err(Elsewhere::Anew | Elsewhere::Ahead) => {
                    self.place = Place::Kept(self.places());
                    self.in_step = false;
                }
            }
        }
    }

    /// Takes in what was read, and gives it with where the stream stands after each.
    pub(crate) fn kept(&mut self, partition: i32, kept: Events) -> Vec<(HistoryEvent, OrderPlaces)> {
        let mut places = self.places();
        let mut next = Vec::with_capacity(kept.events.len());
        for event in kept.events {
            places.insert(partition, event.offset + 1);
            next.push((event, places.clone()));
        }
        let place = places.entry(partition).or_insert(kept.reached);
        *place = kept.reached.max(*place);
        self.place = Place::Kept(places);
        next
    }
}

/// Goes from what is kept into the ring.
fn come_in(scope: Scope, places: &OrderPlaces, live: Live<'_>) -> Result<Place, Elsewhere> {
    match scope {
        Scope::Feed => live.subscribe(places).map(Place::Feed),
        Scope::Order { id, partition } => {
            let place = places.get(&partition).copied().unwrap_or_default();
            live.subscribe_order(id, partition, place).map(Place::Order)
        }
    }
}

/// Events of the feed. While the follower stood elsewhere than others who have had what is before them, each comes with where he
/// stands after it.
fn next_of_feed(
    events: Vec<Arc<LiveEvent>>,
    mut stood: Option<OrderPlaces>,
    in_step: &mut bool,
) -> Vec<Next> {
    let mut next = Vec::with_capacity(events.len());
    for event in events {
        if let Some(stands) = &mut stood {
            stands.insert(event.partition, event.offset + 1);
            *in_step = event
                .after
                .iter()
                .all(|(partition, after)| stands.get(partition).is_some_and(|at| at <= after));
            if *in_step {
                stood = None;
            }
        }
        let places = stood.clone();
        next.push(Next { event, places });
    }
    next
}

#[cfg(test)]
mod tests;
