//! Snapshots of partitions on disk: one embedded database (redb) for each, under the service's data directory.
//!
//! What is in it is a copy of what the log says as of a checkpoint: aggregates, remembered commands, and which aggregates the
//! process manager has work for. Losing it costs time and nothing else, so whatever is wrong with a file, it is thrown away
//! and made anew from the log: a torn, truncated or altered one; one of another log, partition or layout. It is also where
//! cold aggregates and old commands are read from while the service runs ([`crate::writer::Cold`]).
//!
//! - [`Store`] opens one and writes snapshots; a snapshot's checkpoint is in the same transaction as its states.
//! - [`transfer`] turns a snapshot into a stream of bytes and back, for a peer.
//! - `format` is what the bytes are, `runs` how commands are kept, `view` what is read while running, `filter` what saves most of
//!   those reads.
//!
//! **What guards it.** redb keeps checksums of its pages; opening a file verifies all of them, so that altered keys and
//! branches are noticed, which a checksum of each value could not do. What is read later has a checksum of its own over key
//! and value. A commit swaps one root for another, so there is no torn state: a crash leaves the last durable one.
//!
//! It deliberately does not know Kafka: whether a checkpoint's record is in the log is for `engine` to ask.

mod database;
mod filter;
mod format;
mod runs;
#[cfg(test)]
mod tests;
pub mod transfer;
mod view;

use std::path::{Path, PathBuf};

use eventlog::{LogId, TopicPartition};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use database::{Opened, Store};

use crate::writer::Domain;

/// A domain whose states can be stored.
pub trait Stored:
    Domain<
        Key: Serialize + DeserializeOwned + Send + Sync,
        State: Serialize + DeserializeOwned + Send + Sync,
        Answer: Serialize + DeserializeOwned + Send + Sync,
    > + 'static
{
    /// The layout and the meaning of keys, states and answers. What was stored under another one is thrown away.
    const STORAGE_VERSION: u32;
}

/// Whose snapshot it is: one of anything else is thrown away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The log.
    pub log_id: LogId,
    /// The partition.
    pub partition: TopicPartition,
}

impl Identity {
    /// The file of its snapshot below a data directory.
    pub fn path(&self, data_dir: &Path) -> PathBuf {
        let topic = match self.partition.topic {
            eventlog::Topic::Orders => "orders",
            eventlog::Topic::Stock => "stock",
        };
        data_dir
            .join("state")
            .join(format!("{topic}-{}.redb", self.partition.partition))
    }
}

/// A snapshot cannot be opened, written or carried over.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has the file: two services share a data directory.
    #[error("the snapshot is in use by another process")]
    InUse,
    /// It is no snapshot of this partition that this program can use.
    #[error("not a usable snapshot: {0}")]
    Unusable(String),
    /// The database says no.
    #[error("the snapshot's database")]
    Database(#[source] Box<redb::Error>),
    /// The file system says no.
    #[error("the snapshot's file")]
    Io(#[from] std::io::Error),
}

impl StoreError {
    fn database(error: impl Into<redb::Error>) -> Self {
        Self::Database(Box::new(error.into()))
    }
}
