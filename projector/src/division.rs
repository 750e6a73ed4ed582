//! Which partitions this projector works on, where there are several: each comes to it by itself, from who is there.
//!
//! Projectors of the same models tell each other that they are there on the cluster topic (`word`), know who else is (`roster`),
//! and divide the partitions by rendezvous hashing. A partition number is divided as one: orders and stock go together.
//!
//! What it deliberately does not do: keep anybody out. Two projectors on one partition are slow, and the stores' compare-and-set
//! keeps them from being wrong. So there is no lease, and whoever cannot hear the others goes on with what it has.

mod roster;
mod word;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use eventlog::{Bulletin, BulletinReader, BulletinWriter, LogConfig, MemberId, Topic, TopicPartition};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::metrics;
use roster::Roster;
use word::{Models, Word};

/// How often a projector says that it is there.
const EVERY: Duration = Duration::from_millis(250);
/// How long the board is listened to at once.
const POLL: Duration = Duration::from_millis(50);
const BACK_OFF: Duration = Duration::from_millis(100);
/// Who has not heard the others by then works as if there were none. The topic may be missing, and the events be there.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the last word may take.
const LEAVE_WITHIN: Duration = Duration::from_millis(500);

/// The partitions that are a projector's, from one change to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    /// Counts the changes: a later one is larger.
    pub(crate) epoch: u64,
    numbers: Arc<BTreeSet<i32>>,
}

impl Share {
    pub(crate) fn new(epoch: u64, numbers: BTreeSet<i32>) -> Self {
        let numbers = Arc::new(numbers);
        Self { epoch, numbers }
    }

    /// Of both topics.
    pub(crate) fn partitions(&self) -> Vec<TopicPartition> {
        let of = |topic| {
            let numbers = self.numbers.iter();
            numbers.map(move |partition| TopicPartition {
                topic,
                partition: *partition,
            })
        };
        Topic::ALL.into_iter().flat_map(of).collect()
    }
}

/// The share as it is now.
#[derive(Clone, Debug)]
pub(crate) struct Shares(watch::Receiver<Option<Share>>);

impl Shares {
    /// Waits until it is known for the first time.
    pub(crate) async fn known(&mut self) -> Share {
        self.when(Option::is_some).await
    }

    /// Waits until it is another one.
    pub(crate) async fn other_than(&mut self, share: &Share) -> Share {
        self.when(|now| now.as_ref().is_some_and(|now| now != share))
            .await
    }

    /// Whether it is another one by now.
    pub(crate) fn has_left(&self, share: &Share) -> bool {
        self.0.borrow().as_ref() != Some(share)
    }

    async fn when(&mut self, is_so: impl FnMut(&Option<Share>) -> bool) -> Share {
        if let Ok(share) = self.0.wait_for(is_so).await
            && let Some(share) = share.as_ref()
        {
            return share.clone();
        }
        // The division is gone, and so nothing changes any more.
        std::future::pending().await
    }
}

/// This projector's part in the division.
pub(crate) struct Division {
    share: Arc<watch::Sender<Option<Share>>>,
    leaving: CancellationToken,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Division {
    /// Takes part from now on. `models` names what is projected into: only who projects into the same takes part.
    pub(crate) fn start(log: &LogConfig, models: &str, count: i32) -> anyhow::Result<Self> {
        let (reader, writer) = (BulletinReader::new(log)?, BulletinWriter::new(log)?);
        let me = MemberId::generate();
        let (share, leaving) = (Arc::new(watch::Sender::new(None)), CancellationToken::new());
        let board = Board {
            models: Models::named(models),
            me,
            count,
            roster: Roster::new(me),
            share: Arc::clone(&share),
            leaving: leaving.clone(),
        };
        tracing::info!(member = %me, "projector.division.joining");
        let thread = std::thread::Builder::new()
            .name("division".to_owned())
            .spawn(move || board.keep(reader, &writer))?;
        Ok(Self {
            share,
            leaving,
            thread: Mutex::new(Some(thread)),
        })
    }

    pub(crate) fn shares(&self) -> Shares {
        Shares(self.share.subscribe())
    }

    /// Tells the others that this projector works on nothing any more, so that they take over at once.
    pub(crate) async fn leave(&self) {
        self.leaving.cancel();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // It can only have panicked, and then the others find out by themselves.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

/// What the thread works with that speaks and listens.
struct Board {
    models: Models,
    me: MemberId,
    count: i32,
    roster: Roster,
    share: Arc<watch::Sender<Option<Share>>>,
    leaving: CancellationToken,
}

impl Board {
    fn keep(mut self, mut reader: BulletinReader, writer: &BulletinWriter) {
        let begun = Instant::now();
        let (mut spoken, mut failing) = (None::<Instant>, false);
        while !self.leaving.is_cancelled() {
            if spoken.is_none_or(|at| at.elapsed() >= EVERY) {
                self.say(writer, Word::Here(self.me));
                spoken = Some(Instant::now());
            }
            match reader.poll(POLL) {
                Ok(Some(bulletin)) => {
                    self.take(&bulletin);
                    failing = false;
                }
                Ok(None) => {}
                Err(error) => {
                    if failing {
                        tracing::debug!(%error, "projector.division.read");
                    } else {
                        tracing::warn!(%error, "projector.division.read: the last division stands");
                    }
                    failing = true;
                    std::thread::sleep(BACK_OFF);
                }
            }
            if !self.roster.is_settled() && begun.elapsed() > PATIENCE {
                tracing::warn!(
                    "projector.division.unheard: others cannot be heard; it goes on as if there were none"
                );
                self.roster.settle();
                self.divide();
            }
        }
        self.say(writer, Word::Gone(self.me));
        if let Err(error) = writer.flush(LEAVE_WITHIN) {
            tracing::warn!(%error, "projector.division.leave: the others find out by themselves");
        }
    }

    fn say(&self, writer: &BulletinWriter, word: Word) {
        if let Err(error) = writer.post(&word.key(self.models), None) {
            tracing::debug!(%error, "projector.division.say");
        }
        writer.tend();
    }

    fn take(&mut self, bulletin: &Bulletin) {
        match bulletin {
            Bulletin::CaughtUp => self.roster.catch_up(),
            Bulletin::Entry { key, .. } => match Word::read(key, self.models) {
                Some(word) => self.roster.hear(word),
                None => return,
            },
        }
        self.divide();
    }

    /// Works out the share again, and says so where it is another one.
    fn divide(&self) {
        if !self.roster.is_settled() {
            return;
        }
        let numbers = self.roster.share(self.count);
        self.share.send_if_modified(|share| {
            let epoch = match share {
                Some(share) if *share.numbers == numbers => return false,
                Some(share) => share.epoch + 1,
                None => 1,
            };
            let (had, projectors) = (numbers.len(), self.roster.others() + 1);
            tracing::info!(
                partitions = had,
                of = self.count,
                projectors,
                "projector.division.share"
            );
            for number in 0..self.count {
                metrics::assigned(number).set(if numbers.contains(&number) { 1.0 } else { 0.0 });
            }
            *share = Some(Share::new(epoch, numbers));
            true
        });
    }
}
