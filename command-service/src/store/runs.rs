//! Remembered commands on disk: sorted runs, as in a log-structured merge tree (O'Neil et al., 1996), within the database.
//!
//! Their ids are hashes, so a table with a row for each would be written nearly whole with every snapshot. What a snapshot adds
//! is a run of its own instead: sorted, in blocks, behind the runs before it. The last runs are merged into one while none is
//! much larger than those behind it together, so there are few, and each command is written again a few times only. Of two
//! commands with one id the one in the later run counts. A run goes once all of it is forgotten; a merge forgets as well.

use std::iter::Peekable;
use std::marker::PhantomData;

use redb::{ReadOnlyTable, ReadableTable, Table, TableDefinition};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::StoreError;
use super::format::{OldCommand, seal, unseal};
use crate::writer::ColdError;

/// Blocks by run and first id.
pub(super) const BLOCKS: TableDefinition<'_, (u32, u128), &[u8]> = TableDefinition::new("commands");

/// Commands in a block: a look-up decodes one.
const BLOCK_COMMANDS: usize = 64;

/// A larger run is not merged: that would keep the checkpoints waiting for seconds.
const MERGED_COMMANDS_MAX: u64 = 2_000_000;

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Run {
    /// The later, the greater.
    pub number: u32,
    /// Commands in it.
    pub count: u64,
    /// Log time of the newest of them, in microseconds.
    latest: i64,
}

type Entry<A> = (Uuid, OldCommand<A>);

fn block_key(number: u32, first: Uuid) -> [u8; 20] {
    let mut key = [0; 20];
    key[..4].copy_from_slice(&number.to_be_bytes());
    key[4..].copy_from_slice(first.as_bytes());
    key
}

/// The number of a run behind these.
fn next_number(runs: &[Run]) -> u32 {
    runs.last().map_or(0, |last| last.number + 1)
}

/// Adds what a snapshot brings, in the order of the log, and puts the runs in order. `read` shows the blocks of `runs`.
pub(super) fn add<A: Clone + Serialize + DeserializeOwned>(
    blocks: &mut Table<'_, (u32, u128), &'static [u8]>,
    read: Option<&ReadOnlyTable<(u32, u128), &'static [u8]>>,
    mut runs: Vec<Run>,
    commands: Vec<Entry<A>>,
    forget_before: i64,
) -> Result<Vec<Run>, StoreError> {
    let (kept, forgotten): (Vec<Run>, Vec<Run>) = runs.iter().partition(|run| run.latest >= forget_before);
    for run in forgotten {
        remove(blocks, run)?;
    }
    runs = kept;
    if let Some(read) = read
        && let Some(from) = to_be_merged(&runs)
    {
        let merged = runs.split_off(from);
        let number = next_number(&merged);
        let sources = merged.iter().rev().map(|run| entries::<A>(read, run.number));
        let merging = Merging {
            sources: sources.collect::<Result<Vec<_>, _>>()?,
        };
        let remembered =
            merging.filter(|entry| entry.as_ref().map_or(true, |(_, old)| old.at >= forget_before));
        runs.extend(write(blocks, number, remembered)?);
        for run in merged {
            remove(blocks, run)?;
        }
    }
    let mut sorted = commands;
    // Stable: of two with the same id, the later one is behind, and stays.
    sorted.sort_by_key(|(id, _)| *id);
    sorted.reverse();
    sorted.dedup_by_key(|(id, _)| *id);
    let number = next_number(&runs);
    runs.extend(write(blocks, number, sorted.into_iter().rev().map(Ok))?);
    Ok(runs)
}

/// The first of the last runs that are to be one.
fn to_be_merged(runs: &[Run]) -> Option<usize> {
    let mut from = runs.len().checked_sub(1)?;
    let mut together = runs[from].count;
    while from > 0
        && runs[from - 1].count < 2 * together
        && runs[from - 1].count + together <= MERGED_COMMANDS_MAX
    {
        from -= 1;
        together += runs[from].count;
    }
    (runs.len() - from > 1).then_some(from)
}

/// Writes a run of sorted commands; none where there are none.
fn write<A: Serialize>(
    blocks: &mut Table<'_, (u32, u128), &'static [u8]>,
    number: u32,
    commands: impl Iterator<Item = Result<Entry<A>, StoreError>>,
) -> Result<Option<Run>, StoreError> {
    let mut run: Option<Run> = None;
    let mut block: Vec<Entry<A>> = Vec::with_capacity(BLOCK_COMMANDS);
    let mut commands = commands.peekable();
    while let Some(entry) = commands.next() {
        let entry = entry?;
        let so_far = run.get_or_insert(Run {
            number,
            count: 0,
            latest: i64::MIN,
        });
        so_far.count += 1;
        so_far.latest = so_far.latest.max(entry.1.at);
        block.push(entry);
        if block.len() == BLOCK_COMMANDS || commands.peek().is_none() {
            let first = block[0].0;
            let sealed = seal(&block_key(number, first), &block);
            blocks
                .insert((number, first.as_u128()), sealed.as_slice())
                .map_err(StoreError::database)?;
            block.clear();
        }
    }
    Ok(run)
}

fn remove(blocks: &mut Table<'_, (u32, u128), &'static [u8]>, run: Run) -> Result<(), StoreError> {
    blocks
        .retain_in((run.number, 0)..=(run.number, u128::MAX), |_, _| false)
        .map_err(StoreError::database)
}

fn open_block<A: DeserializeOwned>(key: (u32, u128), sealed: &[u8]) -> Result<Vec<Entry<A>>, ColdError> {
    unseal(&block_key(key.0, Uuid::from_u128(key.1)), sealed)
}

/// A command, where any run has it.
pub(super) fn find<A: DeserializeOwned>(
    blocks: &ReadOnlyTable<(u32, u128), &'static [u8]>,
    runs: &[Run],
    id: Uuid,
) -> Result<Option<OldCommand<A>>, ColdError> {
    let failed = |error: redb::StorageError| ColdError(error.to_string());
    for run in runs.iter().rev() {
        let mut before = blocks
            .range((run.number, 0)..=(run.number, id.as_u128()))
            .map_err(failed)?;
        let Some(entry) = before.next_back() else { continue };
        let (key, sealed) = entry.map_err(failed)?;
        let mut block = open_block::<A>(key.value(), sealed.value())?;
        if let Ok(index) = block.binary_search_by_key(&id, |(id, _)| *id) {
            return Ok(Some(block.swap_remove(index).1));
        }
    }
    Ok(None)
}

/// The ids of all commands of all runs.
pub(super) fn each_id<A: DeserializeOwned>(
    blocks: &ReadOnlyTable<(u32, u128), &'static [u8]>,
    mut take: impl FnMut(Uuid),
) -> Result<(), StoreError> {
    for entry in blocks.iter().map_err(StoreError::database)? {
        let (key, sealed) = entry.map_err(StoreError::database)?;
        let block = open_block::<A>(key.value(), sealed.value()).map_err(unusable)?;
        for (id, _) in &block {
            take(*id);
        }
    }
    Ok(())
}

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn unusable(error: ColdError) -> StoreError {
    StoreError::Unusable(error.to_string())
}

/// The commands of a run, in the order of their ids.
struct Entries<'a, A> {
    blocks: redb::Range<'a, (u32, u128), &'static [u8]>,
    block: std::vec::IntoIter<Entry<A>>,
    answers: PhantomData<fn() -> A>,
}

fn entries<'a, A: DeserializeOwned>(
    blocks: &'a ReadOnlyTable<(u32, u128), &'static [u8]>,
    number: u32,
) -> Result<Peekable<Entries<'a, A>>, StoreError> {
    let range =
        ReadableTable::range(blocks, (number, 0)..=(number, u128::MAX)).map_err(StoreError::database)?;
    let entries = Entries {
        blocks: range,
        block: Vec::new().into_iter(),
        answers: PhantomData,
    };
    Ok(entries.peekable())
}

impl<A: DeserializeOwned> Iterator for Entries<'_, A> {
    type Item = Result<Entry<A>, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.block.next() {
                return Some(Ok(entry));
            }
            let block = match self.blocks.next()? {
                Ok((key, sealed)) => open_block(key.value(), sealed.value()).map_err(unusable),
                Err(error) => Err(StoreError::database(error)),
            };
            match block {
                Ok(block) => self.block = block.into_iter(),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// Several runs as one, the latest of them first.
struct Merging<'a, A: DeserializeOwned> {
    sources: Vec<Peekable<Entries<'a, A>>>,
}

impl<A: DeserializeOwned> Iterator for Merging<'_, A> {
    type Item = Result<Entry<A>, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut least: Option<(usize, Uuid)> = None;
        for (index, source) in self.sources.iter_mut().enumerate() {
            match source.peek() {
                Some(Ok((id, _))) if least.is_none_or(|(_, least)| *id < least) => least = Some((index, *id)),
                Some(Ok(_)) | None => {}
                Some(Err(_)) => return source.next(),
            }
        }
        let (index, id) = least?;
        let entry = self.sources[index].next();
        // The same id in an earlier run was remembered anew since.
        for source in &mut self.sources[index + 1..] {
            source.next_if(|other| other.as_ref().is_ok_and(|(other, _)| *other == id));
        }
        entry
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(number: u32, count: u64) -> Run {
        Run {
            number,
            count,
            latest: 0,
        }
    }

    #[test]
    fn the_last_runs_are_merged_while_none_is_much_larger() {
        let of = |counts: &[u64]| {
            let runs: Vec<Run> = (0..)
                .zip(counts)
                .map(|(number, count)| run(number, *count))
                .collect();
            to_be_merged(&runs)
        };
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[5]), None);
        assert_eq!(of(&[5, 5]), Some(0));
        assert_eq!(of(&[10, 5]), None);
        assert_eq!(of(&[10, 5, 5]), Some(0));
        assert_eq!(of(&[100, 10, 5, 5]), Some(1));
        assert_eq!(of(&[MERGED_COMMANDS_MAX, 1, 1]), Some(1));
        assert_eq!(of(&[MERGED_COMMANDS_MAX, MERGED_COMMANDS_MAX]), None);
    }

    #[test]
    fn there_are_few_runs_and_few_writes_however_many_snapshots() {
        let (mut runs, mut written): (Vec<Run>, u64) = (Vec::new(), 0);
        for _ in 0..2_000 {
            if let Some(from) = to_be_merged(&runs) {
                let count = runs.split_off(from).iter().map(|run| run.count).sum();
                written += count;
                runs.push(run(next_number(&runs), count));
            }
            runs.push(run(next_number(&runs), 100));
            written += 100;
        }
        assert!(runs.len() <= 20, "{}", runs.len());
        assert!(written <= 200_000 * 12, "{written}");
    }
}
