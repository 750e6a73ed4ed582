//! A stream as it is read: nothing is done for it but when its reader asks for more.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use read_model::StoreError;
use read_model::postgres::Events;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep};
use uuid::Uuid;

use super::follower::{Follower, Next, Scope, Step};
use super::{Open, frame};
use crate::http::Known;
use crate::tail::Text;

/// Kept events are read so many at a time.
const PAGE: u32 = 64;
/// How long to wait before Postgres is asked again, where it did not have more.
const PAUSE: Duration = Duration::from_millis(100);

/// The body of a stream.
pub(crate) fn body(open: Open, known: Arc<Known>, follower: Follower) -> Body {
    let first = frame::open(&frame::token(&known.identity.key, follower.places()));
    let order = follower.scope().order().map(|id| FollowedOrder::new(&known, id));
    let stream = Stream {
        order,
        moved: known.cache.tail().live().moved(),
        heartbeat: Box::pin(tokio::time::sleep(open.0.heartbeat)),
        open,
        known,
        follower,
        ready: [first].into(),
        has_ended: false,
    };
    Body::from_stream(futures::stream::unfold(stream, async |mut stream| {
        let next = stream.next().await?;
        Some((Ok::<_, Infallible>(next), stream))
    }))
}

struct Stream {
    open: Open,
    known: Arc<Known>,
    follower: Follower,
    moved: watch::Receiver<u64>,
    order: Option<FollowedOrder>,
    heartbeat: Pin<Box<Sleep>>,
    /// What goes out next.
    ready: VecDeque<Bytes>,
    has_ended: bool,
}

/// An order that this stream follows, until it is dropped.
struct FollowedOrder {
    known: Arc<Known>,
    id: Uuid,
    changed: watch::Receiver<i64>,
}

impl FollowedOrder {
    fn new(known: &Arc<Known>, id: Uuid) -> Self {
        Self {
            known: Arc::clone(known),
            id,
            changed: known.cache.tail().live().follow(id),
        }
    }
}

impl Drop for FollowedOrder {
    fn drop(&mut self) {
        self.known.cache.tail().live().leave(self.id);
    }
}

/// What came first.
enum Came {
    /// The tail has moved, or it is time to look again.
    Moved,
    Page(i32, Events),
    Heartbeat,
    Stopping,
}

impl Stream {
    async fn next(&mut self) -> Option<Bytes> {
        if self.has_ended {
            return None;
        }
        if self.open.0.shutdown.is_cancelled() {
            return Some(self.end(frame::stopping()));
        }
        loop {
            if let Some(ready) = self.ready.pop_front() {
                return Some(ready);
            }
            self.look();
            let came = match self.follower.step(self.known.cache.tail().live()) {
                Step::Send(next) => {
                    if let Err(error) = self.put(&next) {
                        return self.fail(&error);
                    }
                    continue;
                }
                Step::Dropped => {
                    self.open.0.metrics.dropped.increment(1);
                    let last = frame::dropped(&self.id());
                    return Some(self.end(last));
                }
                Step::Wait => tokio::select! {
                    () = moved(&self.follower, &mut self.moved, self.order.as_mut(), self.open.0.rest()) => Came::Moved,
                    () = &mut self.heartbeat => Came::Heartbeat,
                    () = self.open.0.shutdown.cancelled() => Came::Stopping,
                },
                Step::Read { partition, from } => tokio::select! {
                    page = read(&self.open, self.follower.scope(), partition, from) => match page {
                        Some(page) => Came::Page(partition, page),
                        None => Came::Moved,
                    },
                    () = &mut self.heartbeat => Came::Heartbeat,
                    () = self.open.0.shutdown.cancelled() => Came::Stopping,
                },
            };
            match came {
                Came::Moved => {}
                Came::Page(partition, page) => {
                    if let Err(error) = self.put_kept(partition, page) {
                        return self.fail(&error);
                    }
                }
                Came::Heartbeat => {
                    let next = Instant::now() + self.open.0.heartbeat;
                    self.heartbeat.as_mut().reset(next);
                    // Who follows one order looks only when it has an event: so that the id is where the log is.
                    if let Step::Send(next) = self.follower.step(self.known.cache.tail().live())
                        && let Err(error) = self.put(&next)
                    {
                        return self.fail(&error);
                    }
                    self.ready.push_back(frame::heartbeat(&self.id()));
                }
                Came::Stopping => return Some(self.end(frame::stopping())),
            }
        }
    }

    /// What moves from here on is looked at again.
    fn look(&mut self) {
        self.moved.borrow_and_update();
        if let Some(order) = &mut self.order {
            order.changed.borrow_and_update();
        }
    }

    fn id(&self) -> String {
        frame::token(&self.known.identity.key, self.follower.places())
    }

    fn put(&mut self, next: &[Next]) -> Result<(), StoreError> {
        let (key, prefix) = (&self.known.identity.key, &self.open.0.prefix);
        let text = match self.follower.scope() {
            Scope::Feed => Text::Feed,
            Scope::Order { .. } => Text::Order,
        };
        for Next { event, places } in next {
            let frame = match places {
                None => frame::shared(text, key, event, prefix)?,
                Some(places) => frame::live(&frame::token(key, places.clone()), event, prefix)?,
            };
            self.ready.push_back(frame);
        }
        self.open.0.metrics.of_ring.increment(next.len() as u64);
        Ok(())
    }

    fn put_kept(&mut self, partition: i32, page: Events) -> Result<(), StoreError> {
        let kept = self.follower.kept(partition, page);
        self.open.0.metrics.of_postgres.increment(kept.len() as u64);
        for (event, places) in kept {
            let id = frame::token(&self.known.identity.key, places);
            let frame = frame::kept(&id, &event, &self.open.0.prefix)?;
            self.ready.push_back(frame);
        }
        Ok(())
    }

    /// The last of the stream.
    fn end(&mut self, last: Bytes) -> Bytes {
        self.has_ended = true;
        self.ready.clear();
        last
    }

    /// Ends it without a word: nothing was said of the event that cannot be shown.
    fn fail(&mut self, error: &StoreError) -> Option<Bytes> {
        tracing::error!(%error, "query.stream.broken");
        self.has_ended = true;
        self.ready.clear();
        None
    }
}

/// Waits until there may be something new.
async fn moved(
    follower: &Follower,
    tail: &mut watch::Receiver<u64>,
    order: Option<&mut FollowedOrder>,
    rest: Duration,
) {
    match order {
        // An error says that its sender is gone, which lives as long as this.
        Some(order) if follower.is_live() => {
            let _ = order.changed.changed().await;
        }
        _ => {
            let rested = Instant::now() + rest;
            let _ = tail.changed().await;
            tokio::time::sleep_until(rested).await;
        }
    }
}

/// A page of what is kept; none, after a pause, where there is nothing new yet.
async fn read(open: &Open, scope: Scope, partition: i32, from: i64) -> Option<Events> {
    {
        let _turn = open.0.reading.acquire().await.ok()?;
        match open.0.models.events(scope.order(), partition, from, PAGE).await {
            Ok(page) if page.reached > from => return Some(page),
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "query.stream.wait"),
        }
    }
    tokio::time::sleep(PAUSE).await;
    None
}
