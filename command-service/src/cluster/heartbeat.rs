//! Telling the others, and hearing them: two threads around the cluster topic.

use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use eventlog::{Bulletin, BulletinReader, BulletinWriter, LogError};

use super::member::MemberId;
use super::shared::Shared;

/// How often a heartbeat is sent.
const EVERY: Duration = Duration::from_millis(250);

/// At least so long lies between two, though something changes: the changes of a moment share one.
const APART: Duration = Duration::from_millis(10);

/// How long the last word may take.
const LEAVE_WITHIN: Duration = Duration::from_millis(500);

/// Pause after an error of the reader.
const BACK_OFF: Duration = Duration::from_millis(100);

/// Where heartbeats are put up for the others to see.
pub(super) trait Board: Send + 'static {
    /// Puts up a member's heartbeat, or takes it down.
    fn post(&mut self, id: MemberId, value: Option<&[u8]>);
    /// Has a moment for itself, every so often.
    fn tend(&mut self) {}
    /// Waits until all is up, or the time is over.
    fn flush(&mut self, _timeout: Duration) {}
}

impl Board for BulletinWriter {
    fn post(&mut self, id: MemberId, value: Option<&[u8]>) {
        if let Err(error) = Self::post(self, id.to_string().as_bytes(), value) {
            tracing::debug!(%error, "cluster.heartbeat.post");
        }
    }

    fn tend(&mut self) {
        Self::tend(self);
    }

    fn flush(&mut self, timeout: Duration) {
        if let Err(error) = Self::flush(self, timeout) {
            tracing::warn!(%error, "cluster.heartbeat.leave: the others find out by themselves");
        }
    }
}

/// What the heartbeat's thread is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// Something changed that the others should know at once.
    Now,
    /// This instance leaves: take its heartbeat down, and end.
    Leave,
    /// End without a word, as a process does that is killed.
    #[cfg(test)]
    End,
}

/// Sends heartbeats and lets members expire, until told to leave or until the cluster is dropped.
pub(super) fn start_writing(
    shared: &Arc<Shared>,
    words: Receiver<Word>,
    board: impl Board,
) -> std::io::Result<JoinHandle<()>> {
    let (me, shared) = (shared.me(), Arc::downgrade(shared));
    std::thread::Builder::new()
        .name("heartbeat".to_owned())
        .spawn(move || write(me, &shared, &words, board))
}

fn write(me: MemberId, shared: &Weak<Shared>, words: &Receiver<Word>, mut board: impl Board) {
    loop {
        let beaten = Instant::now();
        let Some(cluster) = shared.upgrade() else { return };
        if let Some(heartbeat) = cluster.next_heartbeat()
            && let Ok(value) = serde_json::to_vec(&heartbeat)
        {
            board.post(me, Some(&value));
        }
        for buried in cluster.expire(Instant::now()) {
            board.post(buried, None);
        }
        drop(cluster);
        board.tend();
        match next_word(words, beaten) {
            Some(Word::Now) => {}
            Some(Word::Leave) => {
                board.post(me, None);
                board.flush(LEAVE_WITHIN);
                return;
            }
            #[cfg(test)]
            Some(Word::End) => return,
            None => return,
        }
    }
}

/// When to beat again, or what else to do; none where the cluster is dropped.
fn next_word(words: &Receiver<Word>, beaten: Instant) -> Option<Word> {
    match words.recv_timeout(EVERY) {
        Ok(Word::Now) => std::thread::sleep(APART.saturating_sub(beaten.elapsed())),
        Ok(word) => return Some(word),
        Err(RecvTimeoutError::Timeout) => return Some(Word::Now),
        Err(RecvTimeoutError::Disconnected) => return None,
    }
    // What changed meanwhile is in the same heartbeat.
    Some(
        words
            .try_iter()
            .find(|word| *word != Word::Now)
            .unwrap_or(Word::Now),
    )
}

/// Hears heartbeats, until the cluster is dropped.
pub(super) fn start_reading(shared: &Arc<Shared>, reader: BulletinReader) -> std::io::Result<()> {
    let shared = Arc::downgrade(shared);
    std::thread::Builder::new()
        .name("cluster-reader".to_owned())
        .spawn(move || read(&shared, reader))
        .map(|_| ())
}

fn read(shared: &Weak<Shared>, mut reader: BulletinReader) {
    let mut failing = false;
    while shared.strong_count() > 0 {
        match reader.poll(EVERY) {
            Ok(None) => {}
            Ok(Some(bulletin)) => {
                let Some(cluster) = shared.upgrade() else { return };
                match bulletin {
                    Bulletin::Entry { key, value } => cluster.hear(&key, value.as_deref(), Instant::now()),
                    Bulletin::CaughtUp => cluster.settle(),
                }
                failing = false;
            }
            Err(error) => {
                report(&error, failing);
                failing = true;
                std::thread::sleep(BACK_OFF);
            }
        }
    }
}

fn report(error: &LogError, again: bool) {
    if again {
        tracing::debug!(%error, "cluster.heartbeat.read");
    } else {
        tracing::warn!(%error, "cluster.heartbeat.read: the last view stands, and pings decide");
    }
}
