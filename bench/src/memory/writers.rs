//! The writers of one topic and their checkpoints, without Kafka.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use command_service::shop::{Key, Shop};
use command_service::store::{Identity, Store};
use command_service::writer::cold::{Cold, Delta};
use command_service::writer::{Core, Limits, Output};
use crossbeam_channel::{Receiver, Sender};
use eventlog::{LogId, LogRecord, Topic, TopicPartition};
use schemas::Codec;

use crate::history::History;

const LIMITS: Limits = Limits {
    in_flight_max: 2_000,
    waiting_max: 50_000,
    doubt_after_ms: 10_000,
    barrier_every_ms: 5,
    told_at_once: 100,
};

/// As `engine` has them.
const CACHE_BYTES: usize = 256 << 20;
const HOT_COMMANDS: usize = 250_000;
const DURABLE_EVERY: Duration = Duration::from_secs(1);

/// Records after which a writer looks whether a checkpoint is due: as many as come at once from Kafka.
const BATCH: usize = 512;

type Job = (usize, Arc<Store<Shop>>, Delta<Shop>);
type Saved = (usize, u64, anyhow::Result<Arc<dyn Cold<Shop>>>);

/// The log of everything here.
const LOG: LogId = LogId([7; 8]);

pub struct Writers {
    cores: Vec<Core<Shop, ()>>,
    stores: Vec<Arc<Store<Shop>>>,
    saving: Vec<bool>,
    jobs: Sender<Job>,
    saved: Receiver<Saved>,
    since: Vec<usize>,
    hot: usize,
}

fn identity(partition: usize) -> Identity {
    Identity {
        log_id: LOG,
        partition: TopicPartition {
            topic: Topic::Orders,
            partition: i32::try_from(partition).unwrap_or(0),
        },
    }
}

/// Ids as a registry gives them out.
fn codec() -> anyhow::Result<Codec> {
    Ok(Codec::new(schemas::all().iter().zip(1..))?)
}

impl Writers {
    /// Writers that know nothing, and empty stores below a directory.
    pub fn open(partitions: i32, hot: usize, dir: &Path) -> anyhow::Result<Self> {
        let count = usize::try_from(partitions)?;
        let shop = Shop::new(Topic::Orders, Arc::new(codec()?), LOG);
        let cores: Vec<_> = (0..count).map(|_| Core::new(shop.clone(), LIMITS)).collect();
        let mut stores = Vec::new();
        for number in 0..count {
            let opened =
                Store::<Shop>::open(&identity(number).path(dir), identity(number), CACHE_BYTES / count)?;
            stores.push(Arc::new(opened.store));
        }
        let (jobs, inbox) = crossbeam_channel::unbounded::<Job>();
        let (outbox, saved) = crossbeam_channel::unbounded();
        std::thread::spawn(move || {
            for (slot, store, delta) in inbox {
                let cold = store.save(&delta, DURABLE_EVERY).context("writing a checkpoint");
                if outbox.send((slot, delta.number, cold)).is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            cores,
            saving: vec![false; stores.len()],
            stores,
            jobs,
            saved,
            since: vec![0; count],
            hot: hot.div_ceil(count.max(1)),
        })
    }

    /// A log for them.
    pub fn history(&self, aggregates: u64, events_each: u64) -> anyhow::Result<History> {
        let partitions = i32::try_from(self.cores.len())?;
        Ok(History::new(codec()?, LOG, partitions, aggregates, events_each))
    }

    pub fn hot(&self) -> usize {
        self.cores.iter().map(|core| core.fold().hot()).sum()
    }

    /// Folds one record of a partition.
    pub fn record(&mut self, slot: usize, record: &LogRecord) -> anyhow::Result<()> {
        self.cores[slot].record(record);
        self.since[slot] += 1;
        if self.since[slot] < BATCH {
            return Ok(());
        }
        self.since[slot] = 0;
        if let Some(output) = self.cores[slot].next_output()
            && !matches!(output, Output::Read { .. })
        {
            bail!("{output:?}");
        }
        self.look(slot)
    }

    /// As the service does after a batch.
    fn look(&mut self, slot: usize) -> anyhow::Result<()> {
        while let Ok(saved) = self.saved.try_recv() {
            self.take(saved)?;
        }
        // A writer whose checkpoints are behind waits.
        while self.saving[slot] && self.cores[slot].fold().unstored() >= self.hot / 2 {
            self.wait()?;
        }
        if self.cores[slot].fold().unstored() >= (self.hot / 4).max(1_000) {
            self.begin(slot)?;
        }
        self.cores[slot].evict(self.hot, HOT_COMMANDS / self.stores.len());
        Ok(())
    }

    /// All logs are read.
    pub fn end(&mut self) {
        for core in &mut self.cores {
            core.reached_end();
            while core.next_output().is_some() {}
        }
    }

    /// Writes the last checkpoints.
    pub fn finish(&mut self) -> anyhow::Result<()> {
        for last in [false, true] {
            while self.saving.iter().any(|saving| *saving) {
                self.wait()?;
            }
            if !last {
                for slot in 0..self.cores.len() {
                    self.begin(slot)?;
                }
            }
        }
        for store in &self.stores {
            store.flush()?;
        }
        for core in &mut self.cores {
            for _ in 0..1_000 {
                core.evict(self.hot, HOT_COMMANDS / self.stores.len());
            }
        }
        Ok(())
    }

    fn begin(&mut self, slot: usize) -> anyhow::Result<()> {
        if self.saving[slot] {
            return Ok(());
        }
        let Some(delta) = self.cores[slot].delta() else {
            return Ok(());
        };
        self.saving[slot] = true;
        let job = (slot, Arc::clone(&self.stores[slot]), delta);
        self.jobs.send(job).ok().context("the checkpoint thread is gone")
    }

    fn wait(&mut self) -> anyhow::Result<()> {
        let saved = self.saved.recv().context("the checkpoint thread is gone")?;
        self.take(saved)
    }

    fn take(&mut self, (slot, number, cold): Saved) -> anyhow::Result<()> {
        self.saving[slot] = false;
        self.cores[slot].stored(number, Some(cold?));
        Ok(())
    }

    /// Looks random aggregates up: how long that took, and how many were there.
    pub fn look_up_some(&mut self, history: &History, aggregates: u64, count: u32) -> (Duration, u32) {
        let mut rng = fastrand::Rng::with_seed(1);
        let began = Instant::now();
        let mut found = 0;
        for _ in 0..count {
            let id = History::order_id(rng.u64(..aggregates));
            let core = &mut self.cores[history.partition(id)];
            found += u32::from(core.look_up(&Key::Order(id)).is_some());
            core.evict(self.hot, HOT_COMMANDS);
        }
        (began.elapsed(), found)
    }
}
