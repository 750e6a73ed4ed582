//! Kafka as an event log.
//!
//! - [`Chain`] is the chain rule: which records of a partition count. Every reader applies it, nothing else decides.
//! - [`Positions`] says how far something has come over the partitions; [`TokenKey`] seals it into a `Consistency-Token`.
//! - [`LogReader`] and [`Appender`] are the two ways to and from Kafka; [`topics`] and [`registry`] look after
//!   the topics and the schema ids.
//! - [`BulletinWriter`] and [`BulletinReader`] are the cluster topic, where instances tell each other that they are there;
//!   [`rendezvous`] is how those who know each other divide the work.
//! - [`internal`] is what services ask the writers for, outside the API.
//! - [`bugs`] are mistakes that the simulation puts in to show that it finds them.
//!
//! What it deliberately does not do: decide commands (crate `command-service`), fold events (`domain`, `read-model`).

mod appender;
pub mod bugs;
mod bulletin;
mod chain;
mod config;
mod error;
pub mod internal;
mod introduced;
mod link;
mod member;
mod partitioner;
mod plain;
mod positions;
mod reader;
mod record;
pub mod registry;
pub mod rendezvous;
mod token;
pub mod topics;

pub use appender::{Appender, Outcome, PlainNew, Report};
pub use bulletin::{Bulletin, BulletinReader, BulletinWriter};
pub use chain::{Chain, Checkpoint, Fault, Verdict};
pub use config::LogConfig;
pub use error::LogError;
pub use link::Link;
pub use member::MemberId;
pub use partitioner::partition_of;
pub use plain::{PlainReader, PlainRecord, PlainTopic};
pub use positions::{LogId, Positions, PositionsError, TopicPartition};
pub use reader::LogReader;
pub use record::{Envelope, Headers, LogRecord, NewRecord, Slot};
pub use schemas::Topic;
pub use token::{TokenError, TokenKey};
