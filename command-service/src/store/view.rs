//! A snapshot as it is read while the service runs.

use std::marker::PhantomData;

use redb::{ReadOnlyTable, ReadTransaction};
use uuid::Uuid;

use super::filter::Filters;
use super::format::{COMMANDS, OldCommand, STATES, encode, unseal};
use super::{StoreError, Stored};
use crate::metrics;
use crate::writer::cold::{Cold, ColdError, Old};

/// One committed transaction, for as long as somebody holds it: what it shows never changes.
pub(super) struct View<D> {
    states: ReadOnlyTable<&'static [u8], &'static [u8]>,
    commands: ReadOnlyTable<u128, &'static [u8]>,
    filters: Filters,
    domain: PhantomData<fn() -> D>,
}

impl<D: Stored> View<D> {
    pub fn new(read: &ReadTransaction, filters: Filters) -> Result<Self, StoreError> {
        Ok(Self {
            states: read.open_table(STATES).map_err(StoreError::database)?,
            commands: read.open_table(COMMANDS).map_err(StoreError::database)?,
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
        let id = id.as_u128();
        if !self.filters.commands.may_have(&id) {
            return Ok(None);
        }
        let found = self.commands.get_owned(id).map_err(|error| failed(&error))?;
        metrics::cold_read("command", found.is_some());
        let Some(sealed) = found else { return Ok(None) };
        let OldCommand { at, kept } = unseal(&id.to_be_bytes(), sealed.value())?;
        Ok(Some(Old { at, kept }))
    }
}
