//! A snapshot as it is read while the service runs.

use std::marker::PhantomData;

use redb::{ReadOnlyTable, ReadTransaction};
use uuid::Uuid;

use super::filter::Filters;
use super::format::{OldCommand, STATES, encode, unseal};
use super::runs::{self, BLOCKS, Run};
use super::{StoreError, Stored};
use crate::metrics;
use crate::writer::cold::{Cold, ColdError, Old};

/// One committed transaction, for as long as somebody holds it: what it shows never changes.
pub(super) struct View<D> {
    states: ReadOnlyTable<&'static [u8], &'static [u8]>,
    blocks: ReadOnlyTable<(u32, u128), &'static [u8]>,
    runs: Vec<Run>,
    filters: Filters,
    domain: PhantomData<fn() -> D>,
}

impl<D: Stored> View<D> {
    pub fn new(read: &ReadTransaction, filters: Filters, runs: Vec<Run>) -> Result<Self, StoreError> {
        Ok(Self {
            states: read.open_table(STATES).map_err(StoreError::database)?,
            blocks: read.open_table(BLOCKS).map_err(StoreError::database)?,
            runs,
            filters,
            domain: PhantomData,
        })
    }
}

fn failed(error: &redb::StorageError) -> ColdError {
    ColdError(error.to_string())
}

impl<D: Stored> Cold<D> for View<D> {
    fn state(&self, key: &D::Key) -> Result<Option<D::State>, ColdError> {
        let key = encode(key);
        if !self.filters.states.may_have(key.as_slice()) {
            return Ok(None);
        }
        let found = self
            .states
            .get_owned(key.as_slice())
            .map_err(|error| failed(&error))?;
        metrics::cold_read("aggregate", found.is_some());
        found.map(|sealed| unseal(&key, sealed.value())).transpose()
    }

    fn kept(&self, id: Uuid) -> Result<Option<Old<D::Answer>>, ColdError> {
        if !self.filters.commands.may_have(&id) {
            return Ok(None);
        }
        let found = runs::find(&self.blocks, &self.runs, id)?;
        metrics::cold_read("command", found.is_some());
        Ok(found.map(|OldCommand { at, kept }| Old { at, kept }))
    }
}
