//! What is around the writers: threads, Kafka, and the way in for HTTP.
//!
//! One thread runs the writers of all partitions ([`thread`]); two read the log for them ([`reading`]); the producer has a
//! thread of its own for delivery reports, and accepted commands are read by another ([`accepted`]). The process manager lives
//! on the writers' thread ([`process_manager`]), as what it does is derived from their state. Checkpoints are written by
//! another thread ([`checkpoints`]). Answers are given out by a task ([`answers`]).

mod accepted;
mod admission;
mod answers;
mod caller;
mod checkpoints;
mod handle;
mod messages;
mod process_manager;
pub(crate) mod questions;
mod readers;
mod reading;
mod slot;
pub(crate) mod slots;
mod thread;

use std::sync::Arc;
use std::thread::JoinHandle;

use eventlog::{LogConfig, LogError, LogId, LogReader, PlainReader, PlainTopic};
use schemas::Codec;
use tokio::sync::mpsc::UnboundedReceiver;

pub use admission::AdmissionLimits;
pub use checkpoints::{CheckpointConfig, SharedStore};
pub use handle::{Handle, Reading};
pub use messages::{Answered, Decision, Errand, ErrandStep, NotAnswered, Role, Standing, Submission};
pub use slots::slot_count;

use crate::writer::Limits;

/// How long a confirmed order may stay unpaid unless somebody says otherwise, in microseconds: a day.
pub const PAYMENT_WINDOW_MICROS: i64 = 24 * 60 * 60 * 1_000_000;

/// How the engine runs.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Where the log is.
    pub log: LogConfig,
    /// The log's identity, for the causes of records.
    pub log_id: LogId,
    /// Partitions of each event topic.
    pub partitions: i32,
    /// Bounds of each writer.
    pub limits: Limits,
    /// How long a confirmed order may stay unpaid, in microseconds.
    pub payment_window_micros: i64,
    /// How long a record is tried before it is in doubt, in milliseconds.
    pub append_timeout_ms: u64,
    /// Bounds of what is let in.
    pub admission: AdmissionLimits,
    /// Checkpoints on disk; none: the log is folded from its beginning at every start, and all state is in memory.
    pub checkpoints: Option<CheckpointConfig>,
}

impl EngineConfig {
    /// Sensible bounds.
    pub const fn new(log: LogConfig, log_id: LogId, partitions: i32) -> Self {
        Self {
            log,
            log_id,
            partitions,
            limits: Limits {
                in_flight_max: 2_000,
                waiting_max: 50_000,
                doubt_after_ms: 10_000,
                barrier_every_ms: 5,
                told_at_once: 100,
            },
            payment_window_micros: PAYMENT_WINDOW_MICROS,
            append_timeout_ms: 3_000,
            admission: AdmissionLimits {
                target_ms: 250,
                clients_max: 4_096,
                bytes_max: 64 * 1024 * 1024,
            },
            checkpoints: None,
        }
    }
}

/// A running engine.
pub struct Engine {
    /// The way in.
    pub handle: Handle,
    /// Steps of the process manager for other instances' partitions: each is to be decided there, and its outcome given to
    /// [`Handle::finish`].
    pub errands: UnboundedReceiver<Errand>,
    /// Runs until every [`Handle`] is dropped.
    pub thread: JoinHandle<()>,
}

/// Starts the writers of all partitions. They rest until [`Handle::set_roles`] says what this instance is to each.
///
/// # Panics
///
/// Outside of a tokio runtime: answers are given out on it.
pub fn start(config: EngineConfig, codec: Codec) -> Result<Engine, LogError> {
    let (inputs, inbox) = crossbeam_channel::unbounded();
    let (errands, errands_out) = tokio::sync::mpsc::unbounded_channel();
    let commands = PlainReader::new(&config.log, PlainTopic::Commands, "commands-end")?;
    let ends = LogReader::new(&config.log, "log-end")?;
    let shared = Arc::new(handle::Shared::new(&config, ends, commands));
    let readers = reading::start(&config.log, &inputs)?;
    let writers = thread::Writers::new(
        config,
        Arc::new(codec),
        Arc::clone(&shared),
        inputs.clone(),
        readers,
        errands,
        answers::Answers::on(&tokio::runtime::Handle::current()),
    )?;
    let handle = Handle::new(inputs, shared);
    let thread = std::thread::Builder::new()
        .name("writers".to_owned())
        .spawn(move || writers.run(&inbox))
        .map_err(|error| LogError::Topic(format!("the writers' thread cannot be started: {error}")))?;
    Ok(Engine {
        handle,
        errands: errands_out,
        thread,
    })
}
