//! What a query gets from a model: a document as it goes out, and the position that it was read at.

use eventlog::Positions;

use crate::store::StoreError;

/// A document with what its reader must know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// The aggregate's version.
    pub sequence: u64,
    /// What it depends on.
    pub causes: Positions,
    /// The public JSON.
    pub json: String,
}

/// A look at one aggregate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The first offset of the aggregate's partition that the model had not examined: what this reading is as of.
    pub position: i64,
    /// The aggregate, if the model has one of that id.
    pub document: Option<Document>,
}

/// Puts the notes into an order's document: the two are stored apart, and lists leave the notes out.
pub(crate) fn with_notes(doc: &str, notes: &str) -> Result<String, StoreError> {
    let open = doc
        .strip_suffix('}')
        .ok_or_else(|| StoreError::Corrupt("an order's document is no object".to_owned()))?;
    Ok([open, ",\"notes\":", notes, "}"].concat())
}

/// JSON that we wrote ourselves.
pub(crate) fn from_json<'a, T: serde::Deserialize<'a>>(text: &'a str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::Corrupt(error.to_string()))
}

/// JSON of what cannot fail to be JSON; an error only where that is wrong.
pub(crate) fn to_json<T: serde::Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Corrupt(error.to_string()))
}

/// A sequence as Postgres has it.
pub(crate) fn sequence(stored: i64) -> Result<u64, StoreError> {
    u64::try_from(stored).map_err(|_| StoreError::Corrupt(format!("{stored} is no sequence")))
}
