//! The tail's thread: polls Kafka, applies the chain rule, decodes, and says what changed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use eventlog::{
    Chain, Checkpoint, Envelope, Fault, LogConfig, LogError, LogReader, LogRecord, TopicPartition, Verdict,
};
use schemas::{Codec, Event, OrderEvent, StockEvent};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::{LiveEvent, Tail};
use crate::cache::tags::{Tag, Tags};
use crate::metrics;

/// Where partitions are read up to.
pub(crate) type Places = BTreeMap<TopicPartition, Checkpoint>;

const POLL: Duration = Duration::from_millis(100);
/// So many records are taken in before it is said that they are: a move costs those who wait more than a record does.
const CHUNK_RECORDS_MAX: usize = 256;
/// Pause after fewer records than that. What is appended meanwhile comes with one fetch, which costs the broker more than the
/// records in it; and nobody waits for the tail but streams: who names a position is answered by a model until it is here.
const REST: Duration = Duration::from_millis(5);
/// The log is looked at again, as to whether it is still the same, at most this often.
const SUSPECT_EVERY: Duration = Duration::from_secs(30);
const TROUBLE_LOG_EVERY: Duration = Duration::from_secs(10);

/// Why following ended, beside being told to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    #[error("the service stops")]
    Stopped,
    #[error(
        "a record does not come after the last effective one: somebody else's, or the log is another one"
    )]
    Suspect,
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("the thread of the tail cannot be started, or panicked")]
    Thread,
}

/// Follows from these places on, on a thread of its own, until something is wrong or it is told to stop. Says why, and how far
/// it came.
pub(crate) fn spawn(
    log: LogConfig,
    codec: Arc<Codec>,
    places: Places,
    tail: Arc<Tail>,
    stop: CancellationToken,
) -> oneshot::Receiver<(Ended, Places)> {
    let (say, ended) = oneshot::channel();
    let thread = std::thread::Builder::new().name("tail".to_owned());
    // Where there is no thread, what it would have sent by is dropped, which says so.
    let _ = thread.spawn(move || {
        let mut follower = Follower {
            tail,
            codec,
            chains: places
                .iter()
                .map(|(partition, place)| (*partition, Chain::from(*place)))
                .collect(),
            begun: Instant::now(),
            trouble_logged: None,
        };
        let ended = follower.run(&log, &places, &stop).unwrap_or_else(Ended::Log);
        let _ = say.send((ended, follower.places()));
    });
    ended
}

struct Follower {
    tail: Arc<Tail>,
    codec: Arc<Codec>,
    chains: BTreeMap<TopicPartition, Chain>,
    begun: Instant,
    trouble_logged: Option<Instant>,
}

impl Follower {
    fn places(&self) -> Places {
        self.chains
            .iter()
            .map(|(partition, chain)| (*partition, chain.checkpoint()))
            .collect()
    }

    fn run(&mut self, log: &LogConfig, places: &Places, stop: &CancellationToken) -> Result<Ended, LogError> {
        let mut reader = LogReader::new(log, "query-tail")?;
        let assigned: Vec<_> = places
            .iter()
            .map(|(partition, place)| (*partition, place.next_offset))
            .collect();
        reader.assign(&assigned)?;
        let mut suspect = false;
        while !stop.is_cancelled() {
            suspect |= self.take_in(&mut reader)?;
            if suspect && self.begun.elapsed() > SUSPECT_EVERY {
                return Ok(Ended::Suspect);
            }
        }
        Ok(Ended::Stopped)
    }

    /// Waits for the next record, takes in what else is there, and says so. Whether something was odd.
    fn take_in(&mut self, reader: &mut LogReader) -> Result<bool, LogError> {
        let mut moved: BTreeMap<TopicPartition, i64> = BTreeMap::new();
        let (mut records, mut patience, mut odd) = (0, POLL, false);
        while records < CHUNK_RECORDS_MAX {
            match reader.poll(patience) {
                Ok(Some((partition, record))) => {
                    records += 1;
                    patience = Duration::ZERO;
                    odd |= self.take(partition, &record);
                    moved.insert(partition, record.offset + 1);
                }
                Ok(None) => break,
                Err(error) if error.is_fatal() => return Err(error),
                Err(error) => {
                    self.note_trouble(&error);
                    break;
                }
            }
        }
        if !moved.is_empty() {
            let mut ring = self.tail.ring();
            for (partition, next_offset) in &moved {
                if partition.topic == eventlog::Topic::Orders {
                    ring.advance(partition.partition, *next_offset);
                }
            }
            drop(ring);
            // Last: who sees the position must find the tags raised and the events in the ring.
            for (partition, next_offset) in moved {
                self.tail.tags().publish(partition, next_offset);
            }
            metrics::tail_records(records);
            self.tail.say_moved();
        }
        if (1..CHUNK_RECORDS_MAX).contains(&records) {
            std::thread::sleep(REST);
        }
        Ok(odd)
    }

    /// Judges a record, raises what it touches and puts it into the ring. Whether it is odd.
    fn take(&mut self, partition: TopicPartition, record: &LogRecord) -> bool {
        let Some(chain) = self.chains.get_mut(&partition) else {
            return false;
        };
        if record.offset < chain.checkpoint().next_offset {
            return false;
        }
        match chain.judge(record) {
            Verdict::Void(fault) => fault == Fault::After,
            Verdict::Effective(envelope) => {
                self.take_effective(partition, record, envelope);
                false
            }
        }
    }

    fn take_effective(&self, partition: TopicPartition, record: &LogRecord, envelope: Envelope) {
        let (tags, next_offset) = (self.tail.tags(), record.offset + 1);
        let event = match self.codec.decode(partition.topic, &record.value) {
            Ok(event) => event,
            Err(error) => {
                // It counts, and nobody here knows what it changes: so everything.
                tracing::warn!(?partition, offset = record.offset, %error, "query.tail.undecodable");
                tags.touch_all(partition, next_offset);
                if partition.topic == eventlog::Topic::Orders {
                    self.tail.ring().skip(partition.partition, next_offset);
                }
                return;
            }
        };
        if !event.changes_state() {
            return;
        }
        touch(tags, partition, &event, next_offset);
        if let Event::Order(event) = event
            && let Some(order_id) = event.order_id()
        {
            self.tail.ring().push(LiveEvent {
                partition: partition.partition,
                offset: record.offset,
                order_id,
                sequence: envelope.sequence.unwrap_or_default(),
                command_id: envelope.command_id,
                causes: envelope.causes,
                event,
                record_bytes: record.value.len(),
                after: Box::default(),
                previous: None,
                texts: Default::default(),
            });
        }
    }

    fn note_trouble(&mut self, error: &LogError) {
        if self
            .trouble_logged
            .is_none_or(|at| at.elapsed() > TROUBLE_LOG_EVERY)
        {
            tracing::warn!(%error, "query.tail.wait");
            self.trouble_logged = Some(Instant::now());
        }
    }
}

/// Raises the tags of an event.
pub(crate) fn touch(tags: &Tags, partition: TopicPartition, event: &Event, next_offset: i64) {
    match event {
        Event::Order(event) => {
            if let Some(id) = event.order_id() {
                tags.touch(partition, &Tag::Order(id), next_offset);
            }
            if let OrderEvent::Placed(placed) = event {
                tags.touch(partition, &Tag::Customer(&placed.customer_id), next_offset);
            }
            if changes_sales(event) {
                tags.touch(partition, &Tag::Sales, next_offset);
            }
        }
        Event::Stock(event) => {
            if let Some(sku) = event.sku() {
                tags.touch(partition, &Tag::Sku(sku), next_offset);
            }
            debug_assert!(
                event.sku().is_some()
                    || matches!(event, StockEvent::CommandRejected(_) | StockEvent::Barrier(_))
            );
        }
    }
}

/// Whether an event can change what is sold: an order counts while it is confirmed, paid or shipped.
const fn changes_sales(event: &OrderEvent) -> bool {
    match event {
        OrderEvent::Confirmed(_)
        | OrderEvent::Paid(_)
        | OrderEvent::Shipped(_)
        | OrderEvent::Cancelled(_)
        | OrderEvent::Expired(_) => true,
        OrderEvent::Placed(_)
        | OrderEvent::LineReserved(_)
        | OrderEvent::LineRefused(_)
        | OrderEvent::Rejected(_)
        | OrderEvent::LineReleased(_)
        | OrderEvent::LineShipped(_)
        | OrderEvent::NoteAdded(_)
        | OrderEvent::CommandRejected(_)
        | OrderEvent::Barrier(_) => false,
    }
}
