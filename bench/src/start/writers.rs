//! The writers of a service and their checkpoints, without Kafka.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use command_service::shop::{Key, Shop};
use command_service::store::{Identity, Store, transfer};
use command_service::writer::cold::{Cold, Delta};
use command_service::writer::{Core, Limits, Output};
use crossbeam_channel::{Receiver, Sender};
use eventlog::{LogRecord, Topic, TopicPartition};
use uuid::Uuid;

use super::history::{History, LOG, codec};

const LIMITS: Limits = Limits {
    in_flight_max: 2_000,
    waiting_max: 50_000,
    doubt_after_ms: 10_000,
    barrier_every_ms: 5,
};

/// As `engine` has them.
const CACHE_BYTES: usize = 256 << 20;
const HOT_COMMANDS: usize = 250_000;
const DURABLE_EVERY: Duration = Duration::from_secs(1);

/// Partitions that a service carries over at once.
const CARRIED_AT_ONCE: usize = 4;

/// Records after which a writer looks whether a checkpoint is due: as many as come at once from Kafka.
const BATCH: usize = 512;

type Job = (usize, Arc<Store<Shop>>, Delta<Shop>);
type Saved = (usize, u64, anyhow::Result<Arc<dyn Cold<Shop>>>);

struct Beside {
    stores: Vec<Arc<Store<Shop>>>,
    saving: Vec<bool>,
    jobs: Sender<Job>,
    saved: Receiver<Saved>,
    thread: JoinHandle<()>,
}

pub struct Writers {
    cores: Vec<Core<Shop, ()>>,
    beside: Option<Beside>,
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

impl Writers {
    pub fn without_store(partitions: i32, hot: usize) -> Self {
        let shop = Shop::new(Topic::Orders, Arc::new(codec()), LOG);
        Self {
            cores: (0..partitions).map(|_| Core::new(shop.clone(), LIMITS)).collect(),
            beside: None,
            since: (0..partitions).map(|_| 0).collect(),
            hot: hot.div_ceil(usize::try_from(partitions).unwrap_or(1)),
        }
    }

    /// Opens the checkpoints below a directory, two files at a time.
    pub fn open(partitions: i32, hot: usize, dir: &Path) -> anyhow::Result<Self> {
        let mut writers = Self::without_store(partitions, hot);
        let paths: Vec<PathBuf> = (0..writers.cores.len()).map(|n| identity(n).path(dir)).collect();
        let cache = CACHE_BYTES / paths.len();
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let numbered: Vec<_> = paths.iter().enumerate().collect();
        let mut opened = Vec::new();
        std::thread::scope(|scope| {
            let parts: Vec<_> = numbered
                .chunks(paths.len().div_ceil(threads))
                .map(|part| {
                    scope.spawn(move || -> Vec<_> {
                        part.iter()
                            .map(|(number, path)| Store::<Shop>::open(path, identity(*number), cache))
                            .collect()
                    })
                })
                .collect();
            for part in parts {
                opened.extend(part.join().unwrap_or_default());
            }
        });
        let shop = Shop::new(Topic::Orders, Arc::new(codec()), LOG);
        let mut stores = Vec::new();
        for (core, opened) in writers.cores.iter_mut().zip(opened) {
            let opened = opened.context("opening a checkpoint")?;
            ensure!(opened.discarded.is_none(), "{:?}", opened.discarded);
            stores.push(Arc::new(opened.store));
            if let Some(restored) = opened.restored {
                *core = Core::restore(shop.clone(), LIMITS, restored);
            }
        }
        let (jobs, inbox) = crossbeam_channel::unbounded::<Job>();
        let (outbox, saved) = crossbeam_channel::unbounded();
        let thread = std::thread::spawn(move || {
            for (slot, store, delta) in inbox {
                let cold = store.save(&delta, DURABLE_EVERY).context("writing a checkpoint");
                if outbox.send((slot, delta.number, cold)).is_err() {
                    return;
                }
            }
        });
        writers.beside = Some(Beside {
            saving: vec![false; stores.len()],
            stores,
            jobs,
            saved,
            thread,
        });
        Ok(writers)
    }

    /// The first offset that each has to read.
    pub fn next_offsets(&self) -> Vec<usize> {
        let next = |core: &Core<Shop, ()>| usize::try_from(core.fold().next_offset()).unwrap_or(0);
        self.cores.iter().map(next).collect()
    }

    pub fn hot(&self) -> usize {
        self.cores.iter().map(|core| core.fold().hot()).sum()
    }

    /// Folds logs, each from an offset on to its end or up to another one.
    pub fn fold(
        &mut self,
        logs: &[Vec<LogRecord>],
        from: &[usize],
        to: Option<&[usize]>,
    ) -> anyhow::Result<()> {
        for (slot, log) in logs.iter().enumerate() {
            let to = to.map_or(log.len(), |to| to[slot]);
            for record in &log[from[slot]..to] {
                self.record(slot, record)?;
            }
        }
        self.end();
        Ok(())
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
        let hot = self.hot;
        let Some(beside) = &mut self.beside else {
            return Ok(());
        };
        while let Ok(saved) = beside.saved.try_recv() {
            take(&mut self.cores, beside, saved)?;
        }
        // A writer whose checkpoints are behind waits.
        while beside.saving[slot] && self.cores[slot].fold().unstored() >= hot / 2 {
            let saved = beside.saved.recv().context("the checkpoint thread is gone")?;
            take(&mut self.cores, beside, saved)?;
        }
        let core = &mut self.cores[slot];
        if core.fold().unstored() >= (hot / 4).max(1_000) {
            begin(slot, core, beside)?;
        }
        core.evict(hot, HOT_COMMANDS / beside.stores.len());
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
        let Some(beside) = &mut self.beside else {
            return Ok(());
        };
        for last in [false, true] {
            while beside.saving.iter().any(|saving| *saving) {
                let saved = beside.saved.recv().context("the checkpoint thread is gone")?;
                take(&mut self.cores, beside, saved)?;
            }
            if !last {
                for (slot, core) in self.cores.iter_mut().enumerate() {
                    begin(slot, core, beside)?;
                }
            }
        }
        for store in &beside.stores {
            store.flush()?;
        }
        for core in &mut self.cores {
            for _ in 0..1_000 {
                core.evict(self.hot, HOT_COMMANDS / beside.stores.len());
            }
        }
        Ok(())
    }

    /// Makes files of a peer below a directory, of the streams of all checkpoints. Returns their size, in bytes.
    pub fn carry_over(&self, dir: &Path) -> anyhow::Result<u64> {
        let stores = &self.beside.as_ref().context("there are no checkpoints")?.stores;
        let numbered: Vec<_> = stores.iter().enumerate().collect();
        std::thread::scope(|scope| {
            let parts: Vec<_> = numbered
                .chunks(numbered.len().div_ceil(CARRIED_AT_ONCE))
                .map(|part| {
                    scope.spawn(move || -> anyhow::Result<u64> {
                        part.iter()
                            .map(|(number, store)| carry(store, identity(*number), dir))
                            .sum()
                    })
                })
                .collect();
            parts
                .into_iter()
                .map(|part| part.join().unwrap_or_else(|_| bail!("a thread panicked")))
                .sum()
        })
    }

    /// Compares some aggregates and commands with those of writers that folded everything.
    pub fn check(&mut self, logs: &[Vec<LogRecord>]) -> anyhow::Result<()> {
        let mut whole = Self::without_store(i32::try_from(logs.len())?, usize::MAX);
        whole.fold(logs, &vec![0; logs.len()], None)?;
        for (slot, core) in whole.cores.iter_mut().enumerate() {
            let ours = &mut self.cores[slot];
            ensure!(core.fold().checkpoint() == ours.fold().checkpoint());
            for record in logs[slot].iter().step_by(97) {
                let key = Key::Order(Uuid::try_parse_ascii(&record.key)?);
                ensure!(core.look_up(&key) == ours.look_up(&key));
                let command = record.headers.command.one().context("a command")?;
                let id = Uuid::from_slice(&command[..16])?;
                ensure!(core.fold().kept(id)? == ours.fold().kept(id)?);
            }
        }
        Ok(())
    }

    /// Looks random aggregates up: how long that took, and how many were there.
    pub fn look_up_some(&mut self, history: &History, count: usize) -> (Duration, usize) {
        let mut rng = fastrand::Rng::with_seed(1);
        let began = Instant::now();
        let mut found = 0;
        for _ in 0..count {
            let id = History::order_id(rng.u64(..history.aggregates()));
            let core = &mut self.cores[history.partition(id)];
            found += usize::from(core.look_up(&Key::Order(id)).is_some());
            core.evict(self.hot, HOT_COMMANDS);
        }
        (began.elapsed(), found)
    }
}

/// Makes one file of a peer. A second thread and a pipe take the network's part.
fn carry(store: &Store<Shop>, identity: Identity, dir: &Path) -> anyhow::Result<u64> {
    let (mut reader, mut writer) = std::io::pipe()?;
    std::thread::scope(|scope| {
        let export = scope.spawn(move || store.export(&mut writer));
        let carried = transfer::import::<Shop>(&identity.path(dir), identity, &mut reader)?;
        ensure!(matches!(export.join(), Ok(Ok(Some(exported))) if exported == carried));
        Ok(carried.bytes)
    })
}

fn begin(slot: usize, core: &mut Core<Shop, ()>, beside: &mut Beside) -> anyhow::Result<()> {
    if beside.saving[slot] {
        return Ok(());
    }
    let Some(delta) = core.delta() else { return Ok(()) };
    beside.saving[slot] = true;
    beside
        .jobs
        .send((slot, Arc::clone(&beside.stores[slot]), delta))
        .ok()
        .context("the checkpoint thread is gone")
}

fn take(
    cores: &mut [Core<Shop, ()>],
    beside: &mut Beside,
    (slot, number, cold): Saved,
) -> anyhow::Result<()> {
    ensure!(!beside.thread.is_finished(), "the checkpoint thread is gone");
    beside.saving[slot] = false;
    cores[slot].stored(number, Some(cold?));
    Ok(())
}
