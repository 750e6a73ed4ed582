//! The reading half of a projection: a thread that polls Kafka, applies the chain rule and decodes, once for all models
//! that read its feed.
//!
//! It takes what is there, and publishes it as one chunk: a single record when the log is idle, a thousand when there is a
//! backlog. The feed takes little more than what is asked of it, so Kafka's client holds what the stores are too slow for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use eventlog::{Chain, Fault, LogConfig, LogError, LogReader, LogRecord, TopicPartition, Verdict};
use schemas::{Codec, Event};

use crate::feed::Publisher;
use crate::metrics;
use crate::ring::Places;
use crate::step::{Chunk, Effect, Origin, Step};

const POLL: Duration = Duration::from_millis(100);
const CHUNK_STEPS_MAX: usize = 1_000;
const CHUNK_BYTES_MAX: usize = 1 << 20;
/// A chunk of so many records, below a full one, is followed by a pause: under load, fetches and commits are then fewer and
/// larger, and each costs Kafka and the store more than the records in it. Neither a quiet log nor a backlog waits.
const BUSY_STEPS: std::ops::Range<usize> = 48..CHUNK_STEPS_MAX;
const BUSY_PAUSE: Duration = Duration::from_millis(5);
/// Void records are logged at most this often.
const VOID_LOG_EVERY: Duration = Duration::from_mins(1);
const TROUBLE_LOG_EVERY: Duration = Duration::from_secs(10);

/// Reads from the checkpoints on until nobody subscribes any more. `name` is the model that it was started for.
pub(crate) fn spawn(
    name: &'static str,
    log: LogConfig,
    codec: Arc<Codec>,
    starts: Places,
    publisher: Publisher,
) -> std::io::Result<()> {
    std::thread::Builder::new()
        .name(format!("read-{name}"))
        .spawn(move || {
            let outcome = Reader::new(name, &log, codec, &starts, publisher.feed().is_far())
                .and_then(|mut reader| reader.run(&publisher));
            if let Err(error) = outcome {
                publisher.fail(error);
            }
        })?;
    Ok(())
}

struct Reader {
    name: &'static str,
    log: LogReader,
    codec: Arc<Codec>,
    chains: BTreeMap<TopicPartition, Chain>,
    voids: VoidLog,
    trouble_logged: Option<Instant>,
}

impl Reader {
    fn new(
        name: &'static str,
        log: &LogConfig,
        codec: Arc<Codec>,
        starts: &Places,
        is_far: bool,
    ) -> Result<Self, LogError> {
        let make = if is_far { LogReader::far } else { LogReader::new };
        let mut reader = make(log, &format!("projector-{name}"))?;
        let assigned: Vec<_> = starts
            .iter()
            .map(|(partition, start)| (*partition, start.next_offset))
            .collect();
        reader.assign(&assigned)?;
        let chains = starts
            .iter()
            .map(|(partition, start)| (*partition, Chain::from(*start)))
            .collect();
        Ok(Self {
            name,
            log: reader,
            codec,
            chains,
            voids: VoidLog::default(),
            trouble_logged: None,
        })
    }

    fn run(&mut self, publisher: &Publisher) -> Result<(), LogError> {
        while publisher.wanted() {
            let chunk = self.read()?;
            let busy = !publisher.feed().is_far() && BUSY_STEPS.contains(&chunk.steps.len());
            if !chunk.steps.is_empty() {
                publisher.publish(chunk);
            }
            if busy {
                std::thread::sleep(BUSY_PAUSE);
            }
        }
        Ok(())
    }

    /// Waits for the next record, and takes what else is there.
    fn read(&mut self) -> Result<Chunk, LogError> {
        let mut chunk = Chunk::default();
        let mut patience = POLL;
        while chunk.steps.len() < CHUNK_STEPS_MAX && chunk.bytes < CHUNK_BYTES_MAX {
            match self.log.poll(patience) {
                Ok(Some((partition, record))) => {
                    chunk.bytes += record.value.len() + 200;
                    chunk.steps.extend(self.take(partition, &record)?);
                    patience = Duration::ZERO;
                }
                Ok(None) => break,
                Err(error) if error.is_fatal() => return Err(error),
                Err(error) => {
                    if self
                        .trouble_logged
                        .is_none_or(|at| at.elapsed() > TROUBLE_LOG_EVERY)
                    {
                        tracing::warn!(reader = self.name, %error, "projector.log.wait");
                        self.trouble_logged = Some(Instant::now());
                    }
                    break;
                }
            }
        }
        Ok(chunk)
    }

    fn take(&mut self, partition: TopicPartition, record: &LogRecord) -> Result<Option<Step>, LogError> {
        // A partition that stopped has no chain any more; the client may still hold records of it.
        let Some(chain) = self.chains.get_mut(&partition) else {
            return Ok(None);
        };
        if record.offset < chain.checkpoint().next_offset {
            return Ok(None);
        }
        let before = chain.checkpoint();
        let verdict = chain.judge(record);
        let mut step = Step {
            partition,
            offset: record.offset,
            checkpoint: chain.checkpoint(),
            occurred_at: None,
            effect: Effect::None,
        };
        match verdict {
            Verdict::Void(fault) => self.voids.note(self.name, partition, record.offset, fault),
            Verdict::Effective(envelope) => match self.codec.decode(partition.topic, &record.value) {
                Ok(event) => {
                    step.occurred_at = Some(event.occurred_at());
                    step.effect = match event {
                        event if !event.changes_state() => Effect::None,
                        Event::Order(event) => {
                            let origin = Origin {
                                command_id: envelope.command_id,
                                causes: envelope.causes,
                            };
                            Effect::Order(Box::new(event), origin)
                        }
                        Event::Stock(event) => Effect::Stock(Box::new(event), envelope.causes),
                    };
                }
                Err(error) => {
                    step.effect = Effect::Poison(explain(&error));
                    step.checkpoint = before;
                    self.leave(partition)?;
                }
            },
        }
        Ok(Some(step))
    }

    /// Reads a partition no more.
    fn leave(&mut self, partition: TopicPartition) -> Result<(), LogError> {
        self.chains.remove(&partition);
        let rest: Vec<_> = self
            .chains
            .iter()
            .map(|(partition, chain)| (*partition, chain.checkpoint().next_offset))
            .collect();
        self.log.assign(&rest)
    }
}

/// An error with its causes, in one line.
fn explain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Counts void records, and says so now and then.
#[derive(Default)]
struct VoidLog {
    logged: Option<Instant>,
    unlogged: u64,
}

impl VoidLog {
    fn note(&mut self, reader: &'static str, partition: TopicPartition, offset: i64, fault: Fault) {
        metrics::void_records(partition, fault.label()).increment(1);
        self.unlogged += 1;
        if self.logged.is_none_or(|at| at.elapsed() > VOID_LOG_EVERY) {
            let (topic, partition) = (metrics::topic(partition), partition.partition);
            tracing::warn!(reader, topic, partition, offset, %fault, records = self.unlogged, "projector.record.void");
            (self.logged, self.unlogged) = (Some(Instant::now()), 0);
        }
    }
}
