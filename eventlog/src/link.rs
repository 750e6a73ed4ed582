//! The link of a record: a hash over what a fold uses and over the link that the record comes after.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::bugs::Bug;

/// First 16 bytes of a SHA-256 over a record's content and the link before it. Equal links mean equal histories.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Link(pub [u8; 16]);

/// Everything that a link covers, in the order in which it is hashed.
#[derive(Clone, Copy, Debug)]
pub struct Linked<'a> {
    pub after: Link,
    pub event_id: Uuid,
    pub command: &'a [u8; 32],
    pub key: &'a [u8],
    pub causes: &'a [u8],
    pub source: Option<&'a [u8; 8]>,
    pub value: &'a [u8],
}

impl Link {
    /// What the first effective record of a partition comes after.
    pub const ZERO: Self = Self([0; 16]);

    /// The link of a record. The layout is frozen by `schemas/vectors.json`.
    pub fn of(record: &Linked<'_>) -> Self {
        let mut hash = Sha256::new();
        if !Bug::LinkWithoutAfter.is_in() {
            hash.update(record.after.0);
        }
        if !Bug::LinkWithoutCommand.is_in() {
            hash.update(record.event_id.as_bytes());
            hash.update(record.command);
        }
        hash_sized(&mut hash, record.key);
        hash_sized(&mut hash, record.causes);
        hash_sized(&mut hash, record.source.map_or(&[][..], |source| &source[..]));
        if !Bug::LinkWithoutValue.is_in() {
            hash.update(record.value);
        }
        let digest = hash.finalize();
        let mut link = [0; 16];
        link.copy_from_slice(&digest[..16]);
        Self(link)
    }
}

/// Hashes a length (4 bytes, big-endian), then the bytes. Kafka's own sizes are 32 bits, so none is cut.
fn hash_sized(hash: &mut Sha256, bytes: &[u8]) {
    hash.update(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    hash.update(bytes);
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Link({self})")
    }
}

/// The text is not 32 hexadecimal digits.
#[derive(Debug, thiserror::Error)]
#[error("a link is 32 hexadecimal digits")]
pub struct NotALink;

impl FromStr for Link {
    type Err = NotALink;

    fn from_str(text: &str) -> Result<Self, NotALink> {
        let mut link = [0; 16];
        hex::decode_to_slice(text, &mut link).map_err(|_| NotALink)?;
        Ok(Self(link))
    }
}

impl TryFrom<String> for Link {
    type Error = NotALink;

    fn try_from(text: String) -> Result<Self, NotALink> {
        text.parse()
    }
}

impl From<Link> for String {
    fn from(link: Link) -> Self {
        link.to_string()
    }
}
