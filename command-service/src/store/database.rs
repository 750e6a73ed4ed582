//! Opening a snapshot's database, and writing the next snapshot.

use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use redb::{
    Database, DatabaseError, Durability, ReadTransaction, ReadableDatabase, ReadableTable,
    ReadableTableMetadata, TableDefinition, WriteTransaction,
};

use super::filter::{Filter, Filters};
use super::format::{COMMANDS, META, Meta, OPEN, OldCommand, STATES, decode, encode, seal, unseal};
use super::view::View;
use super::{Identity, StoreError, Stored};
use crate::writer::cold::{Cold, Delta, Restored};

/// For each command that is stored, so many that are there already are looked at, and go if they are forgotten. So a file holds
/// at most half as many again as there are to remember.
const LOOKS_PER_COMMAND: usize = 2;

/// A partition's snapshots. Dropping it closes its file, and what it restored or made cannot be read any more.
pub struct Store<D> {
    database: Database,
    identity: Identity,
    filters: Mutex<Filters>,
    durability: Mutex<Durable>,
    /// The id from which on the next commands are looked at; none before the first ones.
    hand: Mutex<Option<u128>>,
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
                hand: Mutex::default(),
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
        let meta = match read.open_table(META) {
            Ok(meta) => meta,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
            Err(error) => return Err(unusable(error)),
        };
        let sealed = meta.get([].as_slice()).map_err(unusable)?;
        let sealed = sealed.ok_or_else(|| StoreError::Unusable("it does not say what it is".to_owned()))?;
        let meta: Meta = unseal(&[], sealed.value()).map_err(unusable)?;
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
            open.push(decode(entry.map_err(unusable)?.0.value()).map_err(unusable)?);
        }
        self.fill_commands(&read, 0).map_err(unusable)?;
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
    fn fill_commands(&self, read: &ReadTransaction, more: usize) -> Result<(), StoreError> {
        let filter = filter_of(read, COMMANDS, more, |filter, id| filter.insert(&id))?;
        self.filters
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .commands = Arc::new(filter);
        Ok(())
    }

    /// Makes the filter of the aggregates anew, of all that there are, with room for more.
    fn fill_states(&self, read: &ReadTransaction, more: usize) -> Result<(), StoreError> {
        let filter = filter_of(read, STATES, more, |filter, key| filter.insert(key))?;
        self.filters.lock().unwrap_or_else(PoisonError::into_inner).states = Arc::new(filter);
        Ok(())
    }

    /// Puts what comes into the filters.
    fn filter(&self, delta: &Delta<D>) -> Result<(), StoreError> {
        let now = self.filters();
        if !now.commands.has_room_for(delta.commands.len()) {
            self.fill_commands(&self.read()?, delta.commands.len())?;
        }
        if !now.states.has_room_for(delta.states.len()) {
            self.fill_states(&self.read()?, delta.states.len())?;
        }
        let filters = self.filters();
        for (id, _) in &delta.commands {
            filters.commands.insert(&id.as_u128());
        }
        for changed in &delta.states {
            filters.states.insert(encode(&changed.key).as_slice());
        }
        Ok(())
    }

    /// The last snapshot.
    fn view(&self) -> Result<Arc<dyn Cold<D>>, StoreError> {
        Ok(Arc::new(View::<D>::new(&self.read()?, self.filters())?))
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
        self.filter(delta)?;
        self.write(&write, delta).map_err(StoreError::database)?;
        write.commit().map_err(StoreError::database)?;
        durability.is_behind = !durable;
        if durable {
            durability.at = Some(Instant::now());
        }
        self.view()
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

    fn write(&self, write: &WriteTransaction, delta: &Delta<D>) -> Result<(), redb::Error> {
        if delta.from_nothing {
            write.delete_table(STATES)?;
            write.delete_table(OPEN)?;
            write.delete_table(COMMANDS)?;
        }
        write_states(write, delta)?;
        self.write_commands(write, delta)?;
        write_meta(write, self.identity, delta)
    }

    fn write_commands(&self, write: &WriteTransaction, delta: &Delta<D>) -> Result<(), redb::Error> {
        let mut commands = write.open_table(COMMANDS)?;
        let mut sorted: Vec<_> = delta.commands.iter().collect();
        // Stable: of two with the same id, the later one stays.
        sorted.sort_by_key(|(id, _)| *id);
        for (id, old) in sorted {
            let id = id.as_u128();
            let (at, kept) = (old.at, old.kept.clone());
            commands.insert(id, seal(&id.to_be_bytes(), &OldCommand { at, kept }).as_slice())?;
        }
        // Ids are hashes, so any one is as good a beginning as another.
        let Some((first, _)) = delta.commands.first() else {
            return Ok(());
        };
        let mut hand = self.hand.lock().unwrap_or_else(PoisonError::into_inner);
        let from = hand.unwrap_or(first.as_u128());
        let looks = LOOKS_PER_COMMAND * delta.commands.len();
        *hand = Some(forget::<D>(&mut commands, from, looks, delta.forget_before())?);
        Ok(())
    }
}

fn filter_of<K: redb::Key, V: redb::Value>(
    read: &ReadTransaction,
    table: TableDefinition<'_, K, V>,
    more: usize,
    insert: impl Fn(&Filter, K::SelfType<'_>),
) -> Result<Filter, StoreError> {
    let table = match read.open_table(table) {
        Ok(table) => table,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Filter::for_twice(more)),
        Err(error) => return Err(StoreError::database(error)),
    };
    let rows = table.len().map_err(StoreError::database)?;
    let filter = Filter::for_twice(usize::try_from(rows).unwrap_or(0) + more);
    for entry in table.iter().map_err(StoreError::database)? {
        insert(&filter, entry.map_err(StoreError::database)?.0.value());
    }
    Ok(filter)
}

/// Looks at the commands from an id on, and removes those from before a log time. Returns where to go on.
fn forget<D: Stored>(
    commands: &mut redb::Table<'_, u128, &'static [u8]>,
    from: u128,
    looks: usize,
    before: i64,
) -> Result<u128, redb::Error> {
    let mut forgotten = Vec::new();
    // From the beginning again behind the last one.
    let mut next = 0;
    for (looked, entry) in commands.range(from..)?.enumerate() {
        let (id, sealed) = entry?;
        if looked == looks {
            next = id.value();
            break;
        }
        let old = unseal::<OldCommand<D::Answer>>(&id.value().to_be_bytes(), sealed.value());
        if old.is_ok_and(|old| old.at < before) {
            forgotten.push(id.value());
        }
    }
    for id in forgotten {
        commands.remove(id)?;
    }
    Ok(next)
}

fn write_meta<D: Stored>(
    write: &WriteTransaction,
    identity: Identity,
    delta: &Delta<D>,
) -> Result<(), redb::Error> {
    let mut meta = Meta::new::<D>(identity, delta.checkpoint);
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
        if changed.has_work {
            open.insert(key.as_slice(), ())?;
        } else {
            open.remove(key.as_slice())?;
        }
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
