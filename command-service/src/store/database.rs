//! Opening a snapshot's database, and writing the next snapshot.

use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use redb::{
    Database, DatabaseError, Durability, ReadTransaction, ReadableDatabase, ReadableTable,
    ReadableTableMetadata, WriteTransaction,
};

use super::filter::{Filter, Filters};
use super::format::{META, Meta, OPEN, OldCommand, STATES, decode, encode, seal, unseal};
use super::runs::{self, BLOCKS, Run};
use super::view::View;
use super::{Identity, StoreError, Stored};
use crate::writer::cold::{Cold, Delta, Restored};

/// A partition's snapshots. Dropping it closes its file, and what it restored or made cannot be read any more.
pub struct Store<D> {
    database: Database,
    identity: Identity,
    filters: Mutex<Filters>,
    durability: Mutex<Durable>,
    domain: PhantomData<fn() -> D>,
}

/// Which commits a crash leaves.
#[derive(Default)]
struct Durable {
    /// When the last one was.
    at: Option<Instant>,
    /// Whether there is a newer one that it does not leave.
    is_behind: bool,
}

/// A store that was opened.
pub struct Opened<D: Stored> {
    /// The store.
    pub store: Store<D>,
    /// The snapshot in it; none where it is new.
    pub restored: Option<Restored<D>>,
    /// Why what was there was thrown away.
    pub discarded: Option<String>,
}

impl<D: Stored> Store<D> {
    /// Opens a partition's snapshot, after verifying every page of it; takes time in proportion to its size. What cannot be
    /// used is thrown away. `cache_bytes` bounds what it keeps of the file in memory.
    pub fn open(path: &Path, identity: Identity, cache_bytes: usize) -> Result<Opened<D>, StoreError> {
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir)?;
        }
        let why = match Self::try_open(path, identity, cache_bytes) {
            Ok((store, restored)) => {
                return Ok(Opened {
                    store,
                    restored,
                    discarded: None,
                });
            }
            Err(StoreError::Unusable(why)) => why,
            Err(error) => return Err(error),
        };
        std::fs::remove_file(path)?;
        let (store, restored) = Self::try_open(path, identity, cache_bytes)?;
        Ok(Opened {
            store,
            restored,
            discarded: Some(why),
        })
    }

    fn try_open(
        path: &Path,
        identity: Identity,
        cache_bytes: usize,
    ) -> Result<(Self, Option<Restored<D>>), StoreError> {
        // Whatever a file holds, the worst that it may do is to be thrown away.
        catch_unwind(AssertUnwindSafe(|| {
            let database = open_database(path, cache_bytes)?;
            let store = Self {
                database,
                identity,
                filters: Mutex::default(),
                durability: Mutex::default(),
                domain: PhantomData,
            };
            let restored = store.restore()?;
            Ok((store, restored))
        }))
        .unwrap_or_else(|_| Err(StoreError::Unusable("the database gave up on it".to_owned())))
    }

    /// What is in it.
    fn restore(&self) -> Result<Option<Restored<D>>, StoreError> {
        let read = self.read()?;
        let Some(meta) = meta(&read)? else {
            return Ok(None);
        };
        if let Some(why) = meta.unusable::<D>(self.identity) {
            return Err(StoreError::Unusable(why));
        }
        let mut open = Vec::new();
        for entry in read
            .open_table(OPEN)
            .map_err(unusable)?
            .iter()
            .map_err(unusable)?
        {
            let (key, work) = entry.map_err(unusable)?;
            let key = decode(key.value()).map_err(unusable)?;
            open.push((key, decode(work.value()).map_err(unusable)?));
        }
        self.fill_commands(&read, &meta.runs, 0).map_err(unusable)?;
        self.fill_states(&read, 0).map_err(unusable)?;
        Ok(Some(Restored {
            checkpoint: meta.checkpoint(),
            log_time: meta.log_time,
            carried_out: meta.carried_out,
            open,
            cold: self.view()?,
        }))
    }

    pub(super) fn read(&self) -> Result<ReadTransaction, StoreError> {
        self.database.begin_read().map_err(StoreError::database)
    }

    pub(super) const fn identity(&self) -> Identity {
        self.identity
    }

    fn filters(&self) -> Filters {
        self.filters
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Makes the filter of the commands anew, of all that there are, with room for more.
    fn fill_commands(&self, read: &ReadTransaction, runs: &[Run], more: usize) -> Result<(), StoreError> {
        let count: u64 = runs.iter().map(|run| run.count).sum();
        let filter = Filter::for_twice(usize::try_from(count).unwrap_or(0) + more);
        if let Some(blocks) = existing(read.open_table(BLOCKS))? {
            runs::each_id::<D::Answer>(&blocks, |id| filter.insert(&id))?;
        }
        self.filters
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .commands = Arc::new(filter);
        Ok(())
    }

    /// Makes the filter of the aggregates anew, of all that there are, with room for more.
    fn fill_states(&self, read: &ReadTransaction, more: usize) -> Result<(), StoreError> {
        let table = existing(read.open_table(STATES))?;
        let rows = table.as_ref().map_or(Ok(0), ReadableTableMetadata::len);
        let rows = usize::try_from(rows.map_err(StoreError::database)?).unwrap_or(0);
        let filter = Filter::for_twice(rows + more);
        if let Some(table) = table {
            for entry in table.iter().map_err(StoreError::database)? {
                filter.insert(entry.map_err(StoreError::database)?.0.value());
            }
        }
        self.filters.lock().unwrap_or_else(PoisonError::into_inner).states = Arc::new(filter);
        Ok(())
    }

    /// Puts what comes into the filters.
    fn filter(&self, read: &ReadTransaction, runs: &[Run], delta: &Delta<D>) -> Result<(), StoreError> {
        if delta.from_nothing {
            *self.filters.lock().unwrap_or_else(PoisonError::into_inner) = Filters {
                commands: Arc::new(Filter::for_twice(delta.commands.len())),
                states: Arc::new(Filter::for_twice(delta.states.len())),
            };
        }
        let now = self.filters();
        if !now.commands.has_room_for(delta.commands.len()) {
            self.fill_commands(read, runs, delta.commands.len())?;
        }
        if !now.states.has_room_for(delta.states.len()) {
            self.fill_states(read, delta.states.len())?;
        }
        let filters = self.filters();
        for (id, _) in &delta.commands {
            filters.commands.insert(id);
        }
        for changed in &delta.states {
            filters.states.insert(encode(&changed.key).as_slice());
        }
        Ok(())
    }

    /// The last snapshot.
    fn view(&self) -> Result<Arc<dyn Cold<D>>, StoreError> {
        let read = self.read()?;
        let runs = meta(&read)?.map_or_else(Vec::new, |meta| meta.runs);
        Ok(Arc::new(View::<D>::new(&read, self.filters(), runs)?))
    }

    /// Makes the next snapshot, in one transaction. It is on disk when this returns if the last one that was is older than
    /// `durable_every`; else it is read from here, and a crash of the machine or of the service leaves the one before.
    pub fn save(&self, delta: &Delta<D>, durable_every: Duration) -> Result<Arc<dyn Cold<D>>, StoreError> {
        let mut durability = self.durability.lock().unwrap_or_else(PoisonError::into_inner);
        let durable = durability.at.is_none_or(|at| at.elapsed() >= durable_every);
        let mut write = self.database.begin_write().map_err(StoreError::database)?;
        write
            .set_durability(if durable {
                Durability::Immediate
            } else {
                Durability::None
            })
            .map_err(StoreError::database)?;
        // Before the commit: whoever sees the commit must see them.
        let read = self.read()?;
        // What is damaged is not read where all of it goes.
        let before = if delta.from_nothing { None } else { meta(&read)? };
        let runs = before.map_or_else(Vec::new, |meta| meta.runs);
        self.filter(&read, &runs, delta)?;
        self.write(&write, &read, runs, delta)?;
        write.commit().map_err(StoreError::database)?;
        durability.is_behind = !durable;
        if durable {
            durability.at = Some(Instant::now());
        }
        self.view()
    }

    /// Makes all stored commands unreadable.
    #[cfg(test)]
    pub(super) fn damage_commands(&self) {
        let write = self.database.begin_write().unwrap();
        let mut blocks = write.open_table(BLOCKS).unwrap();
        let keys: Vec<_> = blocks
            .iter()
            .unwrap()
            .map(|entry| entry.unwrap().0.value())
            .collect();
        for key in keys {
            blocks.insert(key, [0_u8; 9].as_slice()).unwrap();
        }
        drop(blocks);
        write.commit().unwrap();
    }

    /// Has the last snapshot on disk when it returns.
    pub fn flush(&self) -> Result<(), StoreError> {
        let mut durability = self.durability.lock().unwrap_or_else(PoisonError::into_inner);
        if durability.is_behind {
            let write = self.database.begin_write().map_err(StoreError::database)?;
            write.commit().map_err(StoreError::database)?;
            *durability = Durable {
                at: Some(Instant::now()),
                is_behind: false,
            };
        }
        Ok(())
    }

    fn write(
        &self,
        write: &WriteTransaction,
        read: &ReadTransaction,
        runs: Vec<Run>,
        delta: &Delta<D>,
    ) -> Result<(), StoreError> {
        if delta.from_nothing {
            write.delete_table(STATES).map_err(StoreError::database)?;
            write.delete_table(OPEN).map_err(StoreError::database)?;
            write.delete_table(BLOCKS).map_err(StoreError::database)?;
        }
        write_states(write, delta).map_err(StoreError::database)?;
        let commands = delta.commands.iter().map(|(id, old)| {
            let (at, kept) = (old.at, old.kept.clone());
            (*id, OldCommand { at, kept })
        });
        let before = existing(read.open_table(BLOCKS))?;
        let mut blocks = write.open_table(BLOCKS).map_err(StoreError::database)?;
        let runs = runs::add(
            &mut blocks,
            before.as_ref(),
            runs,
            commands.collect(),
            delta.forget_before(),
        )?;
        drop(blocks);
        write_meta(write, self.identity, runs, delta).map_err(StoreError::database)
    }
}

/// What the snapshot is; none where there is none yet.
pub(super) fn meta(read: &ReadTransaction) -> Result<Option<Meta>, StoreError> {
    let Some(table) = existing(read.open_table(META))? else {
        return Ok(None);
    };
    let sealed = table.get([].as_slice()).map_err(unusable)?;
    let sealed = sealed.ok_or_else(|| StoreError::Unusable("it does not say what it is".to_owned()))?;
    unseal(&[], sealed.value()).map(Some).map_err(unusable)
}

/// None where nothing was ever written to the table.
fn existing<T>(table: Result<T, redb::TableError>) -> Result<Option<T>, StoreError> {
    match table {
        Ok(table) => Ok(Some(table)),
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(StoreError::database(error)),
    }
}

fn write_meta<D: Stored>(
    write: &WriteTransaction,
    identity: Identity,
    runs: Vec<Run>,
    delta: &Delta<D>,
) -> Result<(), redb::Error> {
    let mut meta = Meta::new::<D>(identity, delta.checkpoint);
    meta.runs = runs;
    meta.log_time = delta.log_time;
    meta.carried_out = delta.carried_out;
    write
        .open_table(META)?
        .insert([].as_slice(), seal(&[], &meta).as_slice())?;
    Ok(())
}

fn write_states<D: Stored>(write: &WriteTransaction, delta: &Delta<D>) -> Result<(), redb::Error> {
    let mut sorted: Vec<_> = delta
        .states
        .iter()
        .map(|changed| (encode(&changed.key), changed))
        .collect();
    // Neighbours in the tree one after the other.
    sorted.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    let mut states = write.open_table(STATES)?;
    let mut open = write.open_table(OPEN)?;
    for (key, changed) in &sorted {
        states.insert(key.as_slice(), seal(key, &changed.state).as_slice())?;
        match changed.work {
            Some(work) => open.insert(key.as_slice(), encode(&work).as_slice())?,
            None => open.remove(key.as_slice())?,
        };
    }
    Ok(())
}

pub(super) fn open_database(path: &Path, cache_bytes: usize) -> Result<Database, StoreError> {
    let opened = redb::Builder::new()
        .set_cache_size(cache_bytes)
        .set_check_integrity_on_open(true)
        .create(path);
    opened.map_err(|error| match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => StoreError::InUse,
        DatabaseError::Storage(redb::StorageError::Io(error))
            if !matches!(
                error.kind(),
                std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof
            ) =>
        {
            StoreError::Io(error)
        }
        error => unusable(error),
    })
}

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn unusable(error: impl ToString) -> StoreError {
    StoreError::Unusable(error.to_string())
}
