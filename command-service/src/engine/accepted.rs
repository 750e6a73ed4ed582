//! Accepted commands: durable in a topic of their own, carried out when their turn comes.
//!
//! A command's partition there is that of its aggregate's events, so the owner of a partition reads the one partition and
//! keeps its order. How far the topic is carried out is part of the folded state (`tw_source`), so a new owner goes on from
//! there; what it carries out twice is known by its command id.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use crossbeam_channel::{Receiver, Sender, TryRecvError};
use domain::Command;
use eventlog::{LogConfig, LogError, PlainReader, PlainRecord, PlainTopic};
use rustc_hash::FxHashMap;
use schemas::{Timestamp, Topic};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::messages::{Decision, Input, NotAnswered, Standing};
use super::slots::partition_for;
use crate::writer::{Expected, Request};

/// Commands that were read and are not carried out yet, at most: the topic keeps the rest, and whoever waits for an answer
/// does not wait for all of them.
const UNDER_WAY_MAX: usize = 256;

/// Commands that go to the writers at once.
const BATCH_RECORDS: usize = 128;

/// Pause after an error, and while enough are under way.
const BACK_OFF: Duration = Duration::from_millis(5);

/// A command as it lies in the topic: JSON, as nobody but this service reads it. Versioned by `v`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    v: u8,
    command_id: Uuid,
    /// Hex.
    fingerprint: String,
    /// Microseconds since the Unix epoch.
    accepted_at: i64,
    expected: Expected,
    /// Base64.
    causes: String,
    traceparent: Option<String>,
    command: Command,
}

const VERSION: u8 = 1;

/// A command's key and value in the topic.
pub(super) fn encode(request: &Request<Command>) -> (Vec<u8>, Vec<u8>) {
    let record = Record {
        v: VERSION,
        command_id: request.id,
        fingerprint: hex::encode(request.fingerprint),
        accepted_at: request.at.micros(),
        expected: request.expected.clone(),
        causes: BASE64.encode(&request.causes),
        traceparent: request.traceparent.as_deref().map(str::to_owned),
        command: request.command.clone(),
    };
    let key = request.command.target().key.into_bytes();
    (key, serde_json::to_vec(&record).unwrap_or_default())
}

/// The command of a record, as one that is carried out now; or why it is none.
pub(super) fn decode(
    record: &PlainRecord,
    partitions: i32,
    now: Timestamp,
) -> Result<Request<Command>, String> {
    let Record {
        v,
        command_id,
        fingerprint,
        accepted_at: _,
        expected,
        causes,
        traceparent,
        command,
    } = serde_json::from_slice(&record.value)
        .map_err(|error| format!("it is no accepted command: {error}"))?;
    if v != VERSION {
        return Err(format!("version {v} is not known"));
    }
    let mut print = [0; 16];
    hex::decode_to_slice(&fingerprint, &mut print).map_err(|error| format!("its fingerprint: {error}"))?;
    let causes = BASE64
        .decode(&causes)
        .map_err(|error| format!("its causes: {error}"))?;
    if command.target().key.as_bytes() != record.key
        || partition_for(&command, partitions).partition != record.partition
    {
        return Err("it lies under another key or in another partition than its aggregate".to_owned());
    }
    Ok(Request {
        id: command_id,
        fingerprint: print,
        at: now,
        expected,
        causes: causes.into(),
        traceparent: traceparent.map(Into::into),
        source: u64::try_from(record.offset).ok(),
        command,
    })
}

/// The topic whose writer sees to records of the commands topic that cannot be read.
pub(super) const UNREADABLE: Topic = Topic::Orders;

type Reply = oneshot::Sender<Decision>;

/// A command that was accepted, or is about to be.
struct Waiting {
    slot: usize,
    fingerprint: [u8; 16],
    /// Its partition and offset in the topic, once it is there.
    place: Option<(i32, i64)>,
    /// Who waits until it is there.
    replies: Vec<Reply>,
    /// Other requests under its key: which of them the key belongs to is for the log to say, so they wait until it has.
    others: Vec<Other>,
}

/// A request under the key of another one that is accepted.
pub(super) struct Other {
    pub slot: usize,
    pub request: Box<Request<Command>>,
    pub reply: Reply,
}

/// What an append was for.
enum Append {
    Command(Uuid),
    /// A record of the commands topic that could not be read.
    DeadLetter {
        slot: usize,
        source: u64,
    },
}

/// What became of an append.
pub(super) enum Appended {
    Nothing,
    /// A record that could not be read is kept among the dead letters.
    Buried {
        slot: usize,
        source: u64,
    },
    /// It may not be: it is to be tried again.
    NotBuried {
        slot: usize,
        source: u64,
    },
}

/// The accepted commands that this instance knows of.
pub(super) struct Accepted {
    waiting: FxHashMap<Uuid, Waiting>,
    appends: FxHashMap<usize, Append>,
    next_ticket: usize,
    assign: Sender<Vec<(i32, i64)>>,
    assigned: Vec<(i32, i64)>,
    under_way: Arc<AtomicUsize>,
}

impl Accepted {
    /// Starts the thread that reads the topic.
    pub fn start(config: &LogConfig, inputs: Sender<Input>) -> Result<Self, LogError> {
        let (assign, inbox) = crossbeam_channel::unbounded();
        let under_way = Arc::new(AtomicUsize::new(0));
        let reading = Reading {
            reader: PlainReader::new(config, PlainTopic::Commands, "commands")?,
            inputs,
            under_way: Arc::clone(&under_way),
        };
        std::thread::Builder::new()
            .name("commands-reader".to_owned())
            .spawn(move || reading.run(&inbox))
            .map_err(|error| LogError::Topic(format!("the reader's thread cannot be started: {error}")))?;
        Ok(Self {
            waiting: FxHashMap::default(),
            appends: FxHashMap::default(),
            next_ticket: 0,
            assign,
            assigned: Vec::new(),
            under_way,
        })
    }

    /// Reads these partitions from these offsets on, and no others.
    pub fn read(&mut self, partitions: Vec<(i32, i64)>) {
        if partitions != self.assigned {
            self.assigned.clone_from(&partitions);
            // The thread lives as long as this.
            let _ = self.assign.send(partitions);
        }
    }

    /// Reads the same again, should it be asked for the same: some of it was not taken.
    pub fn read_again(&mut self) {
        self.assigned.clear();
    }

    /// How a command stands that was accepted here.
    pub fn find(&self, id: Uuid) -> Option<Standing> {
        let waiting = self.waiting.get(&id)?;
        Some(Standing::Accepted(waiting.place))
    }

    /// A caller waits for a command to be durable. None where somebody else had it appended before; else the ticket to append
    /// it under.
    pub fn expect(&mut self, slot: usize, request: &Request<Command>, reply: Reply) -> Option<usize> {
        if let Some(waiting) = self.waiting.get_mut(&request.id) {
            if waiting.place.is_some() {
                let _ = reply.send(Ok(Standing::Accepted(waiting.place)));
            } else {
                waiting.replies.push(reply);
            }
            return None;
        }
        self.waiting.insert(
            request.id,
            Waiting {
                slot,
                fingerprint: request.fingerprint,
                place: None,
                replies: vec![reply],
                others: Vec::new(),
            },
        );
        Some(self.ticket(Append::Command(request.id)))
    }

    /// The ticket under which a record that cannot be read goes to the dead letters.
    pub fn bury(&mut self, slot: usize, source: u64) -> usize {
        self.ticket(Append::DeadLetter { slot, source })
    }

    fn ticket(&mut self, append: Append) -> usize {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.appends.insert(ticket, append);
        ticket
    }

    /// What became of an append.
    pub fn appended(&mut self, ticket: usize, offset: Option<i64>, partitions: i32) -> Appended {
        match self.appends.remove(&ticket) {
            None => Appended::Nothing,
            Some(Append::DeadLetter { slot, source }) if offset.is_some() => {
                Appended::Buried { slot, source }
            }
            Some(Append::DeadLetter { slot, source }) => Appended::NotBuried { slot, source },
            Some(Append::Command(id)) => {
                let Some(waiting) = self.waiting.get_mut(&id) else {
                    return Appended::Nothing;
                };
                let partition = i32::try_from(waiting.slot).unwrap_or(0) % partitions;
                waiting.place = waiting.place.or(offset.map(|offset| (partition, offset)));
                let replies = std::mem::take(&mut waiting.replies);
                let standing = waiting.place.map(|place| Standing::Accepted(Some(place)));
                if standing.is_none() {
                    // Nobody knows whether it is there; if it is, the reader finds it.
                    self.waiting.remove(&id);
                }
                for reply in replies {
                    // A client that gave up asks again with the same key.
                    let _ = reply.send(standing.clone().ok_or(NotAnswered::Unavailable));
                }
                Appended::Nothing
            }
        }
    }

    /// A command was read from the topic, and is about to be carried out.
    pub fn begin(&mut self, slot: usize, request: &Request<Command>, place: (i32, i64)) {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        let waiting = self.waiting.entry(request.id).or_insert_with(|| Waiting {
            slot,
            fingerprint: request.fingerprint,
            place: None,
            replies: Vec::new(),
            others: Vec::new(),
        });
        waiting.place = Some(place);
    }

    /// A command that was begun has its answer, or found no writer. Returns who waited to know whose its key is.
    pub fn end(&mut self, id: Uuid, is_answered: bool) -> Vec<Other> {
        self.under_way.fetch_sub(1, Ordering::Relaxed);
        if !is_answered {
            return Vec::new();
        }
        let Some(waiting) = self.waiting.get_mut(&id) else {
            return Vec::new();
        };
        let others = std::mem::take(&mut waiting.others);
        if waiting.replies.is_empty() {
            self.waiting.remove(&id);
        }
        others
    }

    /// Whether another request is accepted under this one's key.
    pub fn is_another(&self, request: &Request<Command>) -> bool {
        let waiting = self.waiting.get(&request.id);
        waiting.is_some_and(|waiting| waiting.fingerprint != request.fingerprint)
    }

    /// A request under the key of another one, which is accepted, waits until the log says whose the key is.
    pub fn wait_for_another(&mut self, other: Other) {
        if let Some(waiting) = self.waiting.get_mut(&other.request.id) {
            waiting.others.push(other);
        }
    }

    /// Another instance sees to this partition from now on.
    pub fn forget(&mut self, slot: usize) {
        self.waiting
            .retain(|_, waiting| waiting.slot != slot || !waiting.replies.is_empty());
    }
}

struct Reading {
    reader: PlainReader,
    inputs: Sender<Input>,
    under_way: Arc<AtomicUsize>,
}

impl Reading {
    fn run(mut self, inbox: &Receiver<Vec<(i32, i64)>>) {
        let mut assigned: Vec<(i32, i64)> = Vec::new();
        loop {
            let mut newest = None;
            if assigned.is_empty() {
                match inbox.recv() {
                    Ok(next) => newest = Some(next),
                    Err(_) => return,
                }
            }
            loop {
                match inbox.try_recv() {
                    Ok(next) => newest = Some(next),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return,
                }
            }
            if let Some(next) = newest {
                if let Err(error) = self.reader.assign(&next) {
                    tracing::warn!(%error, "commands.assign: trying again");
                    std::thread::sleep(BACK_OFF);
                    continue;
                }
                assigned = next;
            }
            if self.under_way.load(Ordering::Relaxed) >= UNDER_WAY_MAX {
                std::thread::sleep(BACK_OFF);
                continue;
            }
            match self.batch() {
                Ok(records) if records.is_empty() => {}
                Ok(records) => {
                    if self.inputs.send(Input::Accepted(records)).is_err() {
                        return;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "commands.read: trying again");
                    std::thread::sleep(BACK_OFF);
                }
            }
        }
    }

    fn batch(&mut self) -> Result<Vec<PlainRecord>, LogError> {
        let mut timeout = Duration::from_millis(20);
        let mut records = Vec::new();
        while records.len() < BATCH_RECORDS {
            let Some(record) = self.reader.poll(timeout)? else {
                break;
            };
            timeout = Duration::ZERO;
            records.push(record);
        }
        Ok(records)
    }
}

#[cfg(test)]
mod tests {
    use domain::StockCommand;

    use super::*;

    fn request() -> Request<Command> {
        Request {
            id: Uuid::from_u128(7),
            fingerprint: [9; 16],
            at: Timestamp(1),
            expected: Expected::OneOf(vec![3]),
            causes: [1, 2, 3].into(),
            traceparent: Some("00-1-2-01".into()),
            source: None,
            command: StockCommand::Receive {
                sku: "85123A".to_owned(),
                quantity: 4,
            }
            .into(),
        }
    }

    fn record(request: &Request<Command>) -> PlainRecord {
        let (key, value) = encode(request);
        PlainRecord {
            partition: partition_for(&request.command, 12).partition,
            offset: 5,
            key,
            value,
        }
    }

    #[test]
    fn a_command_comes_out_as_it_went_in_but_later_and_with_its_offset() {
        let before = request();
        let after = decode(&record(&before), 12, Timestamp(2)).unwrap();
        assert_eq!(
            (
                after.id,
                after.fingerprint,
                after.expected,
                after.causes,
                after.traceparent
            ),
            (
                before.id,
                before.fingerprint,
                before.expected,
                before.causes,
                before.traceparent
            )
        );
        assert_eq!(after.command, before.command);
        assert_eq!((after.at, after.source), (Timestamp(2), Some(5)));
    }

    #[test]
    fn what_is_no_command_or_lies_elsewhere_is_told() {
        let good = record(&request());
        let with = |change: &dyn Fn(&mut PlainRecord)| {
            let mut record = good.clone();
            change(&mut record);
            decode(&record, 12, Timestamp(2)).unwrap_err()
        };
        assert!(with(&|record| record.value = b"{".to_vec()).starts_with("it is no accepted command"));
        assert!(with(&|record| record.key = b"22423".to_vec()).contains("another key"));
        assert!(with(&|record| record.partition += 1).contains("another partition"));
        let newer = |record: &mut PlainRecord| {
            let text = String::from_utf8(record.value.clone()).unwrap();
            record.value = text.replace("\"v\":1", "\"v\":2").into_bytes();
        };
        assert_eq!(with(&newer), "version 2 is not known");
    }
}
