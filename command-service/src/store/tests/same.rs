//! A writer with next to nothing in memory does what a writer with everything in memory does.

use std::sync::Arc;
use std::time::Duration;

use eventlog::Topic;
use fastrand::Rng;

use super::driven::{Commands, Driven};
use super::*;
use crate::writer::ColdError;
use crate::writer::cold::{Cold, Old};

const MINUTE: i64 = 60_000_000;

/// Two writers on equal logs: one has everything in memory, the other one snapshots, evictions and restarts.
struct Pair {
    topic: Topic,
    whole: Driven,
    stored: Driven,
    store: Option<Store<Shop>>,
    path: PathBuf,
    rng: Rng,
}

/// Where a start found something.
#[derive(Debug, Default)]
struct Seen {
    saved: usize,
    evicted: usize,
    resumed: usize,
    forgotten: usize,
}

impl Pair {
    fn new(topic: Topic, seed: u64, folder: &Folder) -> Self {
        let path = folder.file(&format!("{topic:?}-{seed}.redb"));
        Self {
            topic,
            whole: Driven::new(topic),
            stored: Driven::new(topic),
            store: Some(open(&path, topic).store),
            path,
            rng: Rng::with_seed(seed),
        }
    }

    /// Makes a snapshot while the writer goes on with `meanwhile`; now and then it cannot be stored.
    fn save(&mut self, meanwhile: impl FnOnce(&mut Self)) -> bool {
        let Some(delta) = self.stored.core.delta() else {
            return false;
        };
        meanwhile(self);
        let number = delta.number;
        if self.rng.u8(0..10) == 0 {
            self.stored.core.stored(number, None);
            return false;
        }
        let durable_every = Duration::from_secs(if self.rng.u8(0..4) == 0 { 0 } else { 3_600 });
        let cold = self.store.as_ref().unwrap().save(&delta, durable_every).unwrap();
        self.stored.core.stored(number, Some(cold));
        true
    }

    fn restart(&mut self) -> bool {
        // As the process dies: what was not made durable may be gone.
        if self.rng.bool() {
            let copy = self.path.with_extension(format!("copy-{}", self.rng.u32(..)));
            std::fs::copy(&self.path, &copy).unwrap();
            self.store = None;
            self.path = copy;
        } else {
            self.store.take().unwrap().flush().unwrap();
        }
        let opened = open(&self.path, self.topic);
        assert_eq!(opened.discarded, None);
        self.store = Some(opened.store);
        let resumed = opened.restored.is_some();
        self.stored.restart(opened.restored);
        resumed
    }

    /// Both have the same.
    fn compare(&mut self, commands: &Commands, aggregates: u64) -> usize {
        assert_eq!(self.whole.log, self.stored.log);
        let whole = self.whole.core.fold();
        assert_eq!(whole.checkpoint(), self.stored.core.fold().checkpoint());
        assert_eq!(whole.carried_out(), self.stored.core.fold().carried_out());
        let mut forgotten = 0;
        for request in commands.sent() {
            let kept = whole.kept(request.id).unwrap();
            assert_eq!(kept, self.stored.core.fold().kept(request.id).unwrap());
            forgotten += usize::from(kept.is_none());
        }
        for number in 0..aggregates {
            let id = commands.aggregate(number);
            let key = match self.topic {
                Topic::Orders => Key::Order(id),
                Topic::Stock => Key::Stock(format!("sku-{number}").into()),
            };
            let state = self.whole.core.fold().state(&key);
            assert_eq!(state, self.stored.core.look_up(&key));
        }
        forgotten
    }

    fn run(&mut self, seed: u64, steps: usize, aggregates: u64, step_max: i64) -> Seen {
        let mut commands = Commands::new(self.topic, seed, aggregates, step_max);
        let mut counts = Seen::default();
        for _ in 0..steps {
            let request = commands.next();
            assert_eq!(self.whole.ask(&request), self.stored.ask(&request));
            match self.rng.u8(0..40) {
                0 | 1 => {
                    let meanwhile = self.rng.usize(0..4);
                    counts.saved += usize::from(self.save(|pair| {
                        for _ in 0..meanwhile {
                            let request = commands.next();
                            assert_eq!(pair.whole.ask(&request), pair.stored.ask(&request));
                        }
                    }));
                }
                2..=9 => counts.evicted += self.stored.core.evict(2, 1),
                10 => {
                    let resumed = self.restart();
                    counts.resumed += usize::from(resumed);
                }
                _ => {}
            }
        }
        counts.forgotten = self.compare(&commands, aggregates);
        counts
    }
}

#[test]
fn a_writer_with_a_store_answers_as_one_with_everything_in_memory() {
    let folder = Folder::new();
    for topic in Topic::ALL {
        for seed in 0..6 {
            let mut pair = Pair::new(topic, seed, &folder);
            let seen = pair.run(seed, 500, 30, MINUTE);
            assert!(
                seen.saved > 5 && seen.evicted > 20 && seen.resumed > 1,
                "{seen:?}"
            );
        }
    }
}

#[test]
fn commands_are_forgotten_after_a_day_of_log_time_wherever_they_are() {
    let folder = Folder::new();
    let mut pair = Pair::new(Topic::Orders, 1, &folder);
    let seen = pair.run(1, 12_000, 50, 2 * MINUTE);
    assert!(seen.forgotten > 500, "{seen:?}");
    // And they go from the disk.
    while !pair.save(|_| {}) {
        let mut commands = Commands::new(Topic::Orders, 77, 50, 1);
        let request = crate::writer::Request {
            id: Uuid::from_u128(pair.rng.u128(..)),
            ..commands.next()
        };
        pair.stored.ask(&request);
    }
    let read = pair.store.as_ref().unwrap().read().unwrap();
    let meta = crate::store::database::meta(&read).unwrap().unwrap();
    let commands: u64 = meta.runs.iter().map(|run| run.count).sum();
    // A day has about 1,440 of them, and a run goes once all of it is forgotten.
    assert!(commands < 3 * 1_440, "{commands}");
}

#[test]
fn what_the_process_manager_has_to_do_is_told_after_a_start() {
    let folder = Folder::new();
    let mut pair = Pair::new(Topic::Orders, 5, &folder);
    let mut commands = Commands::new(Topic::Orders, 5, 40, MINUTE);
    for _ in 0..300 {
        let request = commands.next();
        pair.whole.ask(&request);
        pair.stored.ask(&request);
    }
    while !pair.save(|_| {}) {}
    for _ in 0..30 {
        let request = commands.next();
        pair.whole.ask(&request);
        pair.stored.ask(&request);
    }
    (pair.whole.announced, pair.stored.announced) = (0, 0);
    pair.whole.restart(None);
    assert!(pair.restart());
    assert!(pair.whole.announced > 5);
    assert_eq!(pair.whole.announced, pair.stored.announced);
}

/// Reads fail.
struct Unreadable;

impl Cold<Shop> for Unreadable {
    fn state(&self, _: &Key) -> Result<Option<Arc<Aggregate>>, ColdError> {
        Err(ColdError("unreadable".to_owned()))
    }
    fn kept(&self, _: Uuid) -> Result<Option<Old<Answer>>, ColdError> {
        Err(ColdError("unreadable".to_owned()))
    }
}

#[test]
fn a_store_that_cannot_be_read_costs_the_fold_and_nothing_else() {
    let folder = Folder::new();
    let mut pair = Pair::new(Topic::Orders, 6, &folder);
    let mut commands = Commands::new(Topic::Orders, 6, 40, MINUTE);
    for _ in 0..300 {
        let request = commands.next();
        assert_eq!(pair.whole.ask(&request), pair.stored.ask(&request));
    }
    let delta = pair.stored.core.delta().unwrap();
    pair.stored.core.stored(delta.number, Some(Arc::new(Unreadable)));
    pair.stored.core.evict(0, 0);
    pair.stored.core.evict(0, 0);
    for _ in 0..50 {
        let request = commands.next();
        assert_eq!(pair.whole.ask(&request), pair.stored.ask(&request));
    }
    assert_eq!(pair.stored.lost, 1);
    // The next snapshot is one of the whole history, whatever was there before.
    let first = pair.stored.core.delta().unwrap();
    assert!(first.from_nothing);
    let cold = pair.store.as_ref().unwrap().save(&first, Duration::ZERO).unwrap();
    pair.stored.core.stored(first.number, Some(cold));
    assert!(pair.restart());
    pair.compare(&commands, 40);
}
