//! One fill at a time for each key, shared by all who wait for it.
//!
//! A fill is a task of its own, so that nobody who goes away takes it with him. Whoever asks while one is under way joins it, and
//! looks at each result as it comes: what is good enough for one may not be for the other. Those who join say what they want,
//! so that the fill goes on to the next model for them. Who is not served by it, as he came too late for that, begins or
//! joins the next.
//!
//! No lock is held while anybody waits.

use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use eventlog::Positions;
use rustc_hash::FxHashMap;
use tokio::sync::watch;

/// What a fill came to, or has come to so far.
#[derive(Clone, Debug)]
pub(crate) struct Round<T> {
    /// The furthest answer; none where nobody answered.
    pub(crate) best: Option<T>,
    /// It is over, and this is what it had been asked for by then. None while it goes on.
    pub(crate) judged: Option<Positions>,
}

impl<T> Default for Round<T> {
    fn default() -> Self {
        Self {
            best: None,
            judged: None,
        }
    }
}

/// What those who share a fill want, all together.
#[derive(Debug, Default)]
pub(crate) struct Wanted(Mutex<Positions>);

impl Wanted {
    fn merge(&self, more: &Positions) {
        lock(&self.0).merge(more);
    }

    /// All of it, up to now.
    pub(crate) fn get(&self) -> Positions {
        lock(&self.0).clone()
    }
}

#[derive(Debug)]
struct Flight<T> {
    wanted: Arc<Wanted>,
    round: watch::Receiver<Round<T>>,
}

/// The fills that are under way.
#[derive(Debug)]
pub(crate) struct Flights<K, T>(Arc<Mutex<FxHashMap<K, Flight<T>>>>);

impl<K, T> Default for Flights<K, T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

/// Takes a flight out of the table, also where its task panics or is thrown away.
struct Landing<K: Eq + Hash, T>(Arc<Mutex<FxHashMap<K, Flight<T>>>>, K);

impl<K: Eq + Hash, T> Drop for Landing<K, T> {
    fn drop(&mut self) {
        lock(&self.0).remove(&self.1);
    }
}

impl<K, T> Flights<K, T>
where
    K: Clone + Eq + Hash + Send + 'static,
    T: Clone + Send + Sync + 'static,
{
    /// Joins the fill of this key, or begins one, and waits until it is over or has an answer that is `enough`. Says whether it
    /// was another one's. `fill` gets what is wanted and a way to tell of answers on the way, and gives the last one; what it
    /// keeps, it must have kept when it ends, so that who comes then finds it.
    pub(crate) async fn share<F, R>(
        &self,
        key: &K,
        wanted: &Positions,
        enough: impl Fn(&T) -> bool,
        fill: F,
    ) -> (Round<T>, bool)
    where
        F: FnOnce(Arc<Wanted>, watch::Sender<Round<T>>) -> R,
        R: Future<Output = Round<T>> + Send + 'static,
    {
        let (mut round, joined) = self.board(key, wanted, fill);
        loop {
            {
                let now = round.borrow_and_update();
                if now.judged.is_some() || now.best.as_ref().is_some_and(&enough) {
                    return (now.clone(), joined);
                }
            }
            if round.changed().await.is_err() {
                // It panicked, or the process stops. What it had is what there is; whoever asks again begins another.
                return (round.borrow().clone(), joined);
            }
        }
    }

    fn board<F, R>(&self, key: &K, wanted: &Positions, fill: F) -> (watch::Receiver<Round<T>>, bool)
    where
        F: FnOnce(Arc<Wanted>, watch::Sender<Round<T>>) -> R,
        R: Future<Output = Round<T>> + Send + 'static,
    {
        let mut flights = lock(&self.0);
        if let Some(flight) = flights.get(key) {
            flight.wanted.merge(wanted);
            return (flight.round.clone(), true);
        }
        let (say, round) = watch::channel(Round::default());
        let all = Arc::new(Wanted::default());
        all.merge(wanted);
        let flight = Flight {
            wanted: Arc::clone(&all),
            round: round.clone(),
        };
        flights.insert(key.clone(), flight);
        drop(flights);
        let landing = Landing(Arc::clone(&self.0), key.clone());
        let filling = fill(all, say.clone());
        tokio::spawn(async move {
            let last = filling.await;
            // Out of the table first: who comes after that finds what was kept, or begins anew.
            drop(landing);
            say.send_replace(last);
        });
        (round, false)
    }

    /// How many are under way.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        lock(&self.0).len()
    }
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use eventlog::{Topic, TopicPartition};
    use tokio::sync::Semaphore;

    use super::*;

    fn at(offset: i64) -> Positions {
        let partition = TopicPartition {
            topic: Topic::Orders,
            partition: 0,
        };
        [(partition, offset)].into_iter().collect()
    }

    fn over(answer: u32, judged: Positions) -> Round<u32> {
        Round {
            best: Some(answer),
            judged: Some(judged),
        }
    }

    #[tokio::test]
    async fn all_who_come_while_a_fill_is_under_way_share_it() {
        let flights: Arc<Flights<u8, u32>> = Arc::default();
        let (fills, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
        let readers: Vec<_> = (0..100)
            .map(|reader| {
                let (flights, fills, gate) = (Arc::clone(&flights), Arc::clone(&fills), Arc::clone(&gate));
                tokio::spawn(async move {
                    let fill = |wanted: Arc<Wanted>, _| async move {
                        fills.fetch_add(1, Ordering::Relaxed);
                        let _open = gate.acquire().await;
                        over(7, wanted.get())
                    };
                    flights.share(&1, &at(reader), |_| false, fill).await.0
                })
            })
            .collect();
        while fills.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        tokio::task::yield_now().await;
        gate.add_permits(1);
        for reader in readers {
            let round = reader.await.unwrap();
            assert_eq!(round.best, Some(7));
        }
        assert_eq!((fills.load(Ordering::Relaxed), flights.len()), (1, 0));
    }

    #[tokio::test]
    async fn who_goes_away_takes_nothing_with_him() {
        let flights: Flights<u8, u32> = Flights::default();
        let gate = Arc::new(Semaphore::new(0));
        let opened = Arc::clone(&gate);
        let wanted = at(1);
        let first = flights.share(
            &1,
            &wanted,
            |_| false,
            |wanted, _| async move {
                let _open = opened.acquire().await;
                over(7, wanted.get())
            },
        );
        assert!(
            tokio::time::timeout(std::time::Duration::from_millis(1), first)
                .await
                .is_err(),
            "it is cancelled while it waits"
        );
        assert_eq!(flights.len(), 1, "the fill goes on");
        gate.add_permits(1);
        let unused = |_, _| async { unreachable!("there is a fill") };
        let (round, joined) = flights.share(&1, &at(5), |_| false, unused).await;
        assert_eq!((round.best, joined), (Some(7), true));
        assert_eq!(round.judged, Some(at(5)), "the second was heard");
        assert_eq!(flights.len(), 0);
    }

    #[tokio::test]
    async fn an_answer_on_the_way_serves_those_for_whom_it_is_enough() {
        let flights: Flights<u8, u32> = Flights::default();
        let fill = |wanted: Arc<Wanted>, say: watch::Sender<Round<u32>>| async move {
            say.send_replace(Round {
                best: Some(1),
                judged: None,
            });
            tokio::task::yield_now().await;
            over(2, wanted.get())
        };
        let (round, joined) = flights.share(&1, &at(9), |answer| *answer == 2, fill).await;
        assert_eq!((round.best, joined), (Some(2), false));
        let fill = |_, say: watch::Sender<Round<u32>>| async move {
            say.send_replace(Round {
                best: Some(1),
                judged: None,
            });
            std::future::pending().await
        };
        let (round, _) = flights.share(&1, &at(0), |_| true, fill).await;
        assert_eq!(round.best, Some(1), "though it never ends");
    }

    #[tokio::test]
    async fn a_fill_that_panics_leaves_nothing_locked() {
        let flights: Flights<u8, u32> = Flights::default();
        let (round, _) = flights
            .share(&1, &at(0), |_| true, |_, _| async { panic!("a test's panic") })
            .await;
        assert!(round.best.is_none() && round.judged.is_none());
        let fill = |wanted: Arc<Wanted>, _| async move { over(3, wanted.get()) };
        let (round, joined) = flights.share(&1, &at(0), |_| true, fill).await;
        assert_eq!((round.best, joined), (Some(3), false));
    }
}
