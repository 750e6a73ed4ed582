//! What is around the writers: threads, Kafka, and the way in for HTTP.
//!
//! One thread runs the writers of all partitions ([`thread`]); one reads the log for them ([`reading`]); the producer has a
//! thread of its own for delivery reports. The process manager lives on the writers' thread ([`process_manager`]), as what
//! it does is derived from their state.

mod handle;
mod messages;
mod process_manager;
mod reading;
pub(crate) mod slots;
mod thread;

use std::sync::Arc;
use std::thread::JoinHandle;

use eventlog::{LogConfig, LogError, LogId};
use schemas::Codec;

pub use handle::Handle;
pub use messages::{Answered, NotAnswered};

use crate::writer::Limits;

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
    /// How long a record is tried before it is in doubt, in milliseconds.
    pub append_timeout_ms: u64,
    /// Commands of clients that may wait for their answer at once; more are turned away.
    pub clients_max: usize,
    /// Steps of the process manager that may be open before clients are turned away: an order that was let in is carried
    /// through, so what is let in must be bounded.
    pub steps_max: usize,
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
            },
            append_timeout_ms: 3_000,
            clients_max: 4_096,
            steps_max: 40_000,
        }
    }
}

/// Starts the writers of all partitions. They run until every [`Handle`] is dropped.
pub fn start(config: EngineConfig, codec: Codec) -> Result<(Handle, JoinHandle<()>), LogError> {
    let (inputs, inbox) = crossbeam_channel::unbounded();
    let shared = Arc::new(handle::Shared::new(&config));
    let reading = reading::start(&config.log, inputs.clone())?;
    let writers = thread::Writers::new(
        config,
        &Arc::new(codec),
        Arc::clone(&shared),
        inputs.clone(),
        reading,
    )?;
    let handle = Handle::new(inputs, shared);
    let thread = std::thread::Builder::new()
        .name("writers".to_owned())
        .spawn(move || writers.run(&inbox))
        .map_err(|error| LogError::Topic(format!("the writers' thread cannot be started: {error}")))?;
    Ok((handle, thread))
}
