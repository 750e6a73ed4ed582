//! Two models that share a reader, part and come together again. The test is the readers.

use std::collections::VecDeque;

use super::*;
use crate::feed::Missed;
use crate::step::samples::{A, B, before, chunk, poison, step};

/// The readers that were started: for whom, from where.
type Started = Arc<Mutex<VecDeque<(&'static str, i64, Publisher)>>>;

fn feeds() -> (Feeds, Started) {
    let started = Started::default();
    let readers = Arc::clone(&started);
    let feeds = Feeds::new(move |model, places, publisher| {
        let from = places[&A].next_offset;
        readers.lock().unwrap().push_back((model, from, publisher));
        Ok(())
    });
    (feeds, started)
}

fn reader(started: &Started) -> (&'static str, i64, Publisher) {
    started.lock().unwrap().pop_front().expect("a reader was started")
}

fn at(offset: i64) -> Places {
    Places::from([(A, before(offset))])
}

/// Publishes records, each a chunk.
fn read(publisher: &Publisher, offsets: std::ops::Range<i64>, bytes: usize) {
    for offset in offsets {
        publisher.publish(chunk(vec![step(A, offset)], bytes));
    }
}

/// The offsets that come next.
async fn taken(source: &mut Source) -> Vec<i64> {
    let chunks = source.subscription.next().await.unwrap();
    let fresh = source.subscription.fresh(&chunks);
    fresh.iter().map(|step| step.offset).collect()
}

#[tokio::test]
async fn two_models_at_the_same_place_share_a_reader_which_ends_with_the_last() {
    let (feeds, started) = feeds();
    let mut postgres = feeds.open("postgres", true, 1, &at(0)).unwrap();
    let mut redis = feeds.open("redis", true, 1, &at(0)).unwrap();
    let (name, _, publisher) = reader(&started);
    assert_eq!(name, "postgres");
    assert!(started.lock().unwrap().is_empty(), "one reader for both");
    read(&publisher, 0..3, 100);
    assert_eq!(taken(&mut redis).await, [0, 1, 2]);
    assert_eq!(taken(&mut postgres).await, [0, 1, 2]);
    drop(postgres);
    assert!(publisher.wanted(), "the other goes on");
    let mut postgres = feeds.open("postgres", true, 1, &at(2)).unwrap();
    assert_eq!(taken(&mut postgres).await, [2], "it comes back in the middle");
    drop((postgres, redis));
    assert!(!publisher.wanted());
    feeds.open("redis", true, 1, &at(3)).unwrap();
    assert_eq!(reader(&started).1, 3, "an ended reader is nobody's");
}

#[tokio::test]
async fn generations_that_are_filled_at_the_same_time_share_a_reader_of_their_own() {
    let (feeds, started) = feeds();
    let _live = feeds.open("postgres", true, 1, &at(100)).unwrap();
    let mut postgres = feeds.open("postgres-beside", false, 1, &at(0)).unwrap();
    let (_near, fill) = (reader(&started), reader(&started).2);
    read(&fill, 0..40, 100);
    assert_eq!(taken(&mut postgres).await.len(), 40);
    let mut redis = feeds.open("redis-beside", false, 1, &at(0)).unwrap();
    assert!(started.lock().unwrap().is_empty(), "one reader for both");
    assert_eq!(taken(&mut redis).await.len(), 40, "from the beginning on");
    let behind = feeds.open("redis", true, 1, &at(0)).unwrap();
    assert!(behind.is_far());
    assert_eq!(reader(&started).0, "redis", "who is read does not wait for them");
    feeds.retire();
    feeds.open("redis-beside", false, 1, &at(20)).unwrap();
    assert_eq!(reader(&started).1, 20, "nobody comes to what was of another log");
}

#[tokio::test]
async fn a_model_that_is_behind_reads_by_itself_until_it_has_caught_up() {
    let (feeds, started) = feeds();
    let mut postgres = feeds.open("postgres", true, 1, &at(100)).unwrap();
    let mut redis = feeds.open("redis", true, 1, &at(0)).unwrap();
    let (shared, own) = (reader(&started).2, reader(&started));
    assert_eq!((own.0, own.1), ("redis", 0));
    read(&shared, 100..110, 100);
    assert_eq!(taken(&mut postgres).await.len(), 10);
    read(&own.2, 0..50, 100);
    assert_eq!(taken(&mut redis).await.len(), 50);
    feeds.settle("redis", true, &mut redis, || at(50));
    assert!(own.2.wanted(), "not yet");
    read(&own.2, 50..105, 100);
    assert_eq!(taken(&mut redis).await.len(), 55);
    feeds.settle("redis", true, &mut redis, || at(105));
    assert!(!own.2.wanted(), "its own reader ends");
    read(&shared, 110..112, 100);
    assert_eq!(taken(&mut redis).await, (105..112).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_is_filled_beside_never_begins_the_shared_reader() {
    let (feeds, started) = feeds();
    let mut filled = feeds.open("postgres-beside", false, 1, &at(0)).unwrap();
    let own = reader(&started).2;
    let mut postgres = feeds.open("postgres", true, 1, &at(10)).unwrap();
    let shared = reader(&started);
    assert_eq!((shared.0, shared.1), ("postgres", 10));
    let _redis = feeds.open("redis", true, 1, &at(10)).unwrap();
    assert!(started.lock().unwrap().is_empty(), "the two share one");
    read(&shared.2, 10..12, 100);
    assert_eq!(taken(&mut postgres).await, [10, 11]);
    read(&own, 0..11, 100);
    assert_eq!(taken(&mut filled).await.len(), 11);
    feeds.settle("postgres-beside", false, &mut filled, || at(11));
    assert!(!own.wanted(), "it joins them when it has come so far");
    assert_eq!(taken(&mut filled).await, [11]);
}

#[tokio::test]
async fn a_model_that_falls_behind_does_not_hold_the_other_back() {
    let (feeds, started) = feeds();
    let mut postgres = feeds.open("postgres", true, 1, &at(0)).unwrap();
    let mut redis = feeds.open("redis", true, 1, &at(0)).unwrap();
    let publisher = reader(&started).2;
    for offset in 0..40 {
        assert!(publisher.wanted(), "the fast one sets the pace");
        read(&publisher, offset..offset + 1, 1 << 20);
        assert_eq!(taken(&mut redis).await, [offset]);
    }
    assert!(matches!(postgres.subscription.next().await, Err(Missed::Behind)));
    postgres = feeds.open("postgres", true, 1, &at(0)).unwrap();
    let own = reader(&started);
    assert_eq!((own.0, own.1), ("postgres", 0));
    read(&own.2, 0..40, 100);
    assert_eq!(taken(&mut postgres).await.len(), 40);
    feeds.settle("postgres", true, &mut postgres, || at(40));
    assert!(!own.2.wanted(), "they are together again");
}

#[tokio::test]
async fn a_model_with_another_chain_goes_on_by_itself() {
    let (feeds, started) = feeds();
    let _postgres = feeds.open("postgres", true, 1, &at(10)).unwrap();
    let other = Places::from([(
        A,
        eventlog::Checkpoint {
            link: before(7).link,
            ..before(10)
        },
    )]);
    let mut redis = feeds.open("redis", true, 1, &other).unwrap();
    let (shared, own) = (reader(&started).2, reader(&started).2);
    read(&own, 10..11, 100);
    assert_eq!(taken(&mut redis).await, [10]);
    read(&shared, 10..11, 100);
    feeds.settle("redis", true, &mut redis, || at(11));
    assert!(own.wanted(), "it is not tried again");
}

#[tokio::test]
async fn the_last_one_that_reads_by_itself_shares_its_reader() {
    let (feeds, started) = feeds();
    let postgres = feeds.open("postgres", true, 1, &at(10)).unwrap();
    let mut redis = feeds.open("redis", true, 1, &at(0)).unwrap();
    let (shared, own) = (reader(&started).2, reader(&started).2);
    drop(postgres);
    assert!(!shared.wanted());
    feeds.settle("redis", true, &mut redis, || {
        unreachable!("there is nothing to move to")
    });
    read(&own, 0..12, 100);
    let mut postgres = feeds.open("postgres", true, 1, &at(10)).unwrap();
    assert_eq!(taken(&mut postgres).await, [10, 11]);
}

#[tokio::test]
async fn what_was_read_of_a_log_that_is_gone_is_given_to_nobody() {
    let (feeds, started) = feeds();
    let mut postgres = feeds.open("postgres", true, 1, &at(0)).unwrap();
    let old = reader(&started).2;
    read(&old, 0..5, 100);
    assert_eq!(taken(&mut postgres).await.len(), 5);
    feeds.retire();
    feeds.settle("postgres", true, &mut postgres, || {
        unreachable!("there is nothing to move to")
    });
    let mut redis = feeds.open("redis", true, 1, &at(0)).unwrap();
    let new = reader(&started).2;
    read(&new, 0..5, 100);
    assert_eq!(taken(&mut redis).await.len(), 5);
    feeds.settle("postgres", true, &mut postgres, || at(5));
    assert!(
        !old.wanted(),
        "who read it moves over where the new one says the same"
    );
    read(&new, 5..6, 100);
    assert_eq!(taken(&mut postgres).await, [5]);
}

#[tokio::test]
async fn whoever_comes_after_poison_meets_it_by_itself_and_then_shares_the_rest() {
    let (feeds, started) = feeds();
    let _postgres = feeds.open("postgres", true, 1, &at(0)).unwrap();
    let shared = reader(&started).2;
    shared.publish(chunk(vec![step(A, 0), poison(A, 1)], 100));
    let mut redis = feeds.open("redis", true, 1, &at(1)).unwrap();
    let own = reader(&started).2;
    own.publish(chunk(vec![poison(A, 1)], 100));
    assert_eq!(taken(&mut redis).await, [1]);
    feeds.settle("redis", true, &mut redis, Places::new);
    assert!(!own.wanted());
}

#[tokio::test]
async fn a_reader_that_ends_is_noticed_by_all_once_they_took_what_it_read() {
    let (feeds, started) = feeds();
    let mut postgres = feeds.open("postgres", true, 1, &at(0)).unwrap();
    let mut redis = feeds.open("redis", true, 1, &at(0)).unwrap();
    let publisher = reader(&started).2;
    read(&publisher, 0..1, 100);
    publisher.fail(eventlog::LogError::Topic("the topic is gone".to_owned()));
    drop(publisher);
    for source in [&mut postgres, &mut redis] {
        assert_eq!(taken(source).await, [0]);
        let missed = source.subscription.next().await.unwrap_err();
        assert_eq!(missed.to_string(), "the topic is gone");
    }
}

#[tokio::test]
async fn a_reader_and_its_subscribers_wait_for_each_other_and_for_nobody_who_left() {
    let feeds = Feeds::new(|_, _, publisher| {
        std::thread::spawn(move || {
            for offset in 0.. {
                if !publisher.wanted() {
                    return;
                }
                read(&publisher, offset..offset + 1, 1 << 20);
            }
        });
        Ok(())
    });
    let mut postgres = feeds.open("postgres", true, 1, &at(0)).unwrap();
    let feed = Arc::downgrade(postgres.subscription.feed());
    let mut next = 0;
    while next < 1_000 {
        for offset in taken(&mut postgres).await {
            assert_eq!(offset, next);
            next += 1;
        }
    }
    drop(postgres);
    while feed.strong_count() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn where_the_division_changes_the_shared_reader_does_too() {
    let (feeds, started) = feeds();
    let both = Places::from([(A, before(0)), (B, before(0))]);
    let mut before_it = feeds.open("postgres", true, 1, &both).unwrap();
    let old = reader(&started).2;
    let mut postgres = feeds.open("postgres", true, 2, &at(0)).unwrap();
    let new = reader(&started).2;
    assert!(!postgres.is_far(), "it is the shared one from now on");
    let _redis = feeds.open("redis", true, 2, &at(0)).unwrap();
    assert!(started.lock().unwrap().is_empty(), "one reader for both");
    feeds.settle("postgres", true, &mut before_it, || unreachable!("it ends soon"));
    let late = feeds.open("redis", true, 1, &at(0)).unwrap();
    assert_eq!(
        reader(&started).0,
        "redis",
        "who has not heard of it reads by itself"
    );
    drop((before_it, late));
    assert!(!old.wanted());
    read(&new, 0..2, 100);
    assert_eq!(taken(&mut postgres).await, [0, 1]);
}

#[tokio::test]
async fn what_is_read_for_others_is_dropped() {
    let (feeds, started) = feeds();
    let both = Places::from([(A, before(0)), (B, before(0))]);
    let mut all = feeds.open("postgres", true, 1, &both).unwrap();
    let mut some = feeds.open("redis", true, 1, &at(0)).unwrap();
    let shared = reader(&started).2;
    shared.publish(chunk(vec![step(A, 0), step(B, 0), step(A, 1)], 100));
    assert_eq!(taken(&mut some).await, [0, 1]);
    assert_eq!(taken(&mut all).await.len(), 3);
}
