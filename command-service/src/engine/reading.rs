//! Reads the log for the writers: one thread, one consumer, as many partitions as ask at once.
//!
//! There are two of it: one for reads that end, which writers wait for, and one that follows other instances' writers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TryRecvError};
use eventlog::{LogConfig, LogError, LogReader, LogRecord, TopicPartition};
use rustc_hash::{FxHashMap, FxHashSet};

use super::messages::{Batch, Input, Job, Order, ReadEnd};
use crate::writer::Upto;

/// Records that go to the writers at once.
const BATCH_RECORDS: usize = 512;

/// How long the brokers may take to say where logs end.
const ENDS_TIMEOUT: Duration = Duration::from_secs(2);

/// Batches that the writers have not folded yet, at most: what is read faster than it is folded would pile up.
const QUEUED_MAX: usize = 64;

/// Pause while there are so many.
const QUEUED_PAUSE: Duration = Duration::from_millis(1);

/// How often progress is told, at most.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// After so long with nothing but errors, a new client is made.
const REMAKE_AFTER: Duration = Duration::from_secs(5);

/// Pause after an error.
const BACK_OFF: Duration = Duration::from_millis(50);

/// Pause after records where nobody waits for them: what is appended meanwhile comes with one fetch.
const FOLLOW_PAUSE: Duration = Duration::from_millis(5);

struct Active {
    job: Job,
    /// The next offset to read.
    next: i64,
    /// The first offset behind what was asked for; unknown until the broker was asked.
    until: Option<i64>,
    /// Whether a follower came there; it goes on.
    reached: bool,
    records: Vec<LogRecord>,
}

/// The two ways to read.
pub(super) struct Readers {
    /// For reads that end.
    pub hopping: Sender<Order>,
    /// For reads that do not.
    pub following: Sender<Order>,
}

/// Starts both threads. Each ends when its sender is dropped.
pub(super) fn start(config: &LogConfig, inputs: &Sender<Input>) -> Result<Readers, LogError> {
    Ok(Readers {
        hopping: spawn("writers-reader", config, hopping, inputs.clone(), Duration::ZERO)?,
        following: spawn("standbys-reader", config, following, inputs.clone(), FOLLOW_PAUSE)?,
    })
}

/// Makes a reader of one kind.
type Make = fn(&LogConfig) -> Result<LogReader, LogError>;

fn hopping(config: &LogConfig) -> Result<LogReader, LogError> {
    LogReader::hopping(config, "writer")
}

fn following(config: &LogConfig) -> Result<LogReader, LogError> {
    LogReader::new(config, "standby")
}

fn spawn(
    name: &str,
    config: &LogConfig,
    make: Make,
    inputs: Sender<Input>,
    pause: Duration,
) -> Result<Sender<Order>, LogError> {
    let (orders, inbox) = crossbeam_channel::unbounded();
    let mut reading = Reading {
        reader: make(config)?,
        config: config.clone(),
        make,
        failing_since: None,
        inputs,
        pause,
        active: FxHashMap::default(),
        assigned: FxHashSet::default(),
        stale: FxHashSet::default(),
        queued: Arc::new(()),
        progress: Progress::new(),
    };
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || reading.run(&inbox))
        .map_err(|error| LogError::Topic(format!("the reader's thread cannot be started: {error}")))?;
    Ok(orders)
}

struct Reading {
    reader: LogReader,
    config: LogConfig,
    make: Make,
    /// Since when nothing but errors came.
    failing_since: Option<Instant>,
    inputs: Sender<Input>,
    pause: Duration,
    active: FxHashMap<TopicPartition, Active>,
    /// What the consumer reads.
    assigned: FxHashSet<TopicPartition>,
    /// What it reads from a place that nobody wants any more.
    stale: FxHashSet<TopicPartition>,
    /// Shared with every batch that the writers have not folded yet.
    queued: Arc<()>,
    progress: Progress,
}

/// How far the reads have come that are under way, and when that was last told.
struct Progress {
    told: Instant,
    /// Records that are read since.
    since: u64,
    done: i64,
    total: i64,
}

impl Progress {
    fn new() -> Self {
        Self {
            told: Instant::now(),
            since: 0,
            done: 0,
            total: 0,
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "for people"
    )]
    fn tell(&mut self) {
        let elapsed = self.told.elapsed();
        if elapsed < TELL_EVERY || self.since == 0 {
            return;
        }
        tracing::info!(
            percent = self.done * 100 / self.total.max(1),
            records_left = self.total - self.done,
            records_per_second = (self.since as f64 / elapsed.as_secs_f64()) as u64,
            "writer.log.folding"
        );
        self.told = Instant::now();
        self.since = 0;
    }
}

impl Reading {
    fn run(&mut self, inbox: &Receiver<Order>) {
        loop {
            if self.active.is_empty() {
                self.rest();
                self.progress = Progress::new();
                let Ok(order) = inbox.recv() else { return };
                self.obey(order);
            }
            loop {
                match inbox.try_recv() {
                    Ok(order) => self.obey(order),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return,
                }
            }
            match self.step() {
                Ok(()) => self.failing_since = None,
                Err(error) => {
                    self.recover(&error);
                    self.rest();
                    std::thread::sleep(BACK_OFF);
                }
            }
        }
    }

    /// Tries again, after a while with a new client: one may hold on to what a broker said that had just started.
    fn recover(&mut self, error: &LogError) {
        let since = *self.failing_since.get_or_insert_with(Instant::now);
        if since.elapsed() < REMAKE_AFTER {
            tracing::debug!(%error, "writer.log.read: trying again");
            return;
        }
        tracing::warn!(%error, "writer.log.read: trying again with a new client");
        self.failing_since = None;
        match (self.make)(&self.config) {
            Ok(reader) => self.reader = reader,
            Err(error) => tracing::warn!(%error, "writer.log.reader.make"),
        }
    }

    /// Fetches nothing while nobody asks: an assigned consumer reads ahead whatever is appended.
    fn rest(&mut self) {
        if let Err(error) = self.reader.assign(&[]) {
            tracing::warn!(%error, "writer.log.unassign");
        }
        self.assigned.clear();
        self.stale.clear();
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Read(job) => self.begin(job),
            Order::Stop(partition) => {
                self.active.remove(&partition);
                self.stale.insert(partition);
            }
        }
    }

    fn begin(&mut self, job: Job) {
        let until = match job.upto {
            Upto::Offset(offset) => Some(offset + 1),
            Upto::End | Upto::Ever => None,
        };
        self.active.insert(
            job.partition,
            Active {
                job,
                next: job.from,
                until,
                reached: false,
                records: Vec::new(),
            },
        );
        self.stale.insert(job.partition);
    }

    fn step(&mut self) -> Result<(), LogError> {
        self.find_ends()?;
        if self.active.is_empty() {
            return Ok(());
        }
        self.assign()?;
        if self.active.values().any(|read| !read.reached) {
            self.progress.tell();
        }
        if Arc::strong_count(&self.queued) > QUEUED_MAX {
            std::thread::sleep(QUEUED_PAUSE);
            return Ok(());
        }
        let mut timeout = Duration::from_millis(20);
        let mut taken = 0;
        while taken < BATCH_RECORDS {
            let Some((partition, record)) = self.reader.poll(timeout)? else {
                break;
            };
            timeout = Duration::ZERO;
            self.take(partition, record);
            taken += 1;
        }
        if (1..BATCH_RECORDS).contains(&taken) {
            std::thread::sleep(self.pause);
        }
        for read in self.active.values_mut().filter(|read| !read.records.is_empty()) {
            send(&self.inputs, &self.queued, read, ReadEnd::More);
        }
        Ok(())
    }

    /// Has the consumer read what is active, and nothing else. What goes on is not touched: a new assignment of all would throw
    /// away what is fetched, and many writers read at once where ownership changes hands.
    fn assign(&mut self) -> Result<(), LogError> {
        let gone: Vec<_> = self
            .stale
            .drain()
            .filter(|partition| self.assigned.remove(partition))
            .collect();
        if !gone.is_empty() {
            self.reader.remove(&gone)?;
        }
        let missing = self
            .active
            .values()
            .filter(|read| !self.assigned.contains(&read.job.partition));
        let missing: Vec<_> = missing.map(|read| (read.job.partition, read.next)).collect();
        if !missing.is_empty() {
            self.reader.add(&missing)?;
            self.assigned
                .extend(missing.iter().map(|(partition, _)| *partition));
        }
        Ok(())
    }

    /// Asks the broker where each log ends that is to be read up to its end.
    fn find_ends(&mut self) -> Result<(), LogError> {
        let unknown = self.active.values().filter(|read| read.until.is_none());
        let unknown: Vec<_> = unknown.map(|read| read.job.partition).collect();
        let ends = self.reader.ends(unknown, ENDS_TIMEOUT)?;
        let mut done = Vec::new();
        for (partition, high) in ends {
            let Some(read) = self.active.get_mut(&partition) else {
                continue;
            };
            read.until = Some(high);
            self.progress.total += (high - read.next).max(0);
            if high < read.next {
                send(&self.inputs, &self.queued, read, ReadEnd::Truncated);
                done.push(partition);
            } else if high == read.next {
                send(&self.inputs, &self.queued, read, ReadEnd::Reached);
                read.reached = true;
                if read.job.upto != Upto::Ever {
                    done.push(partition);
                }
            }
        }
        for partition in done {
            self.active.remove(&partition);
            self.stale.insert(partition);
        }
        Ok(())
    }

    fn take(&mut self, partition: TopicPartition, record: LogRecord) {
        let Some(read) = self.active.get_mut(&partition) else {
            return;
        };
        if record.offset < read.next {
            return;
        }
        self.progress.done += record.offset + 1 - read.next;
        self.progress.since += 1;
        read.next = record.offset + 1;
        read.records.push(record);
        if !read.reached && read.until.is_some_and(|until| read.next >= until) {
            send(&self.inputs, &self.queued, read, ReadEnd::Reached);
            read.reached = true;
            if read.job.upto != Upto::Ever {
                self.active.remove(&partition);
                self.stale.insert(partition);
            }
        }
    }
}

fn send(inputs: &Sender<Input>, queued: &Arc<()>, read: &mut Active, end: ReadEnd) {
    let Job { slot, generation, .. } = read.job;
    let batch = Batch {
        slot,
        generation,
        records: std::mem::take(&mut read.records),
        end,
        _queued: Arc::clone(queued),
    };
    // A closed inbox means that the writers are gone, and so is whoever sends jobs.
    let _ = inputs.send(Input::Read(batch));
}
