//! The chain rule: which records of a partition count.
//!
//! Every record carries a *link*, a hash over its content and over the link it comes *after*. A record is **effective**
//! if it comes after the last effective record before it; every other record is **void** and changes nothing. Whether a
//! value can be decoded never decides it: a reader without a schema would leave the chain for ever.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

#[cfg(feature = "seeded-bugs")]
use crate::bugs::Bug;
use crate::link::{Link, Linked};
use crate::positions::Positions;
use crate::record::{Envelope, LogRecord};

/// How far a partition has been read, and what the next effective record must come after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The first offset that has not been examined.
    pub next_offset: i64,
    /// Offset of the last effective record; -1 where there is none.
    pub last_offset: i64,
    /// Link of the last effective record.
    pub link: Link,
}

impl Checkpoint {
    /// Before the first record.
    pub const BEGINNING: Self = Self {
        next_offset: 0,
        last_offset: -1,
        link: Link::ZERO,
    };

    /// Whether the record found at `last_offset` is the one that this checkpoint was taken after. If not, the log was
    /// truncated or restored, and the checkpoint must be thrown away.
    pub fn confirmed_by(&self, record: Option<&LogRecord>) -> bool {
        if self.last_offset < 0 {
            return true;
        }
        record.is_some_and(|record| {
            record.offset == self.last_offset && record.headers.link.one() == Some(&self.link.0)
        })
    }
}

/// What a record is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It counts.
    Effective(Envelope),
    /// It changes nothing, anywhere, for anyone.
    Void(Fault),
}

/// Why a record is void.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A header of the chain is missing, doubled or not of its length.
    #[error("header {0} is missing, doubled or malformed")]
    Header(&'static str),
    /// It was decided on a history that did not come to be.
    #[error("it does not come after the last effective record")]
    After,
    /// `tw_link` is not what the hash gives.
    #[error("its link is not the hash of its content")]
    Hash,
}

impl Fault {
    /// A short constant name, for metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Header(_) => "header",
            Self::After => "after",
            Self::Hash => "hash",
        }
    }
}

/// The one variable that reading a partition takes.
#[derive(Clone, Debug)]
pub struct Chain {
    checkpoint: Checkpoint,
    /// For [`Bug::CheckpointLastRecord`].
    #[cfg(feature = "seeded-bugs")]
    last_void: Option<(i64, Link)>,
}

impl Chain {
    /// Goes on from a checkpoint.
    pub const fn from(checkpoint: Checkpoint) -> Self {
        Self {
            checkpoint,
            #[cfg(feature = "seeded-bugs")]
            last_void: None,
        }
    }

    /// What a checkpoint is to hold.
    #[cfg(not(feature = "seeded-bugs"))]
    pub const fn to_save(&self) -> Checkpoint {
        self.checkpoint
    }

    /// What a checkpoint is to hold; with [`Bug::CheckpointLastRecord`], what it must not.
    #[cfg(feature = "seeded-bugs")]
    pub fn to_save(&self) -> Checkpoint {
        match self.last_void {
            Some((last_offset, link))
                if Bug::CheckpointLastRecord.is_in() && last_offset > self.checkpoint.last_offset =>
            {
                Checkpoint {
                    last_offset,
                    link,
                    ..self.checkpoint
                }
            }
            _ => self.checkpoint,
        }
    }

    /// Where the reader stands.
    pub const fn checkpoint(&self) -> Checkpoint {
        self.checkpoint
    }

    /// Judges the next record and moves on. Records below `next_offset` must not be given again.
    pub fn judge(&mut self, record: &LogRecord) -> Verdict {
        debug_assert!(
            record.offset >= self.checkpoint.next_offset,
            "records are judged once, in order"
        );
        self.checkpoint.next_offset = record.offset + 1;
        match examine(record, self.checkpoint.link) {
            Ok(envelope) => {
                self.checkpoint.last_offset = record.offset;
                self.checkpoint.link = envelope.link;
                Verdict::Effective(envelope)
            }
            Err(fault) => {
                #[cfg(feature = "seeded-bugs")]
                if let Some(link) = record.headers.link.one() {
                    self.last_void = Some((record.offset, Link(*link)));
                    if Bug::LastLinkFromVoid.is_in() {
                        self.checkpoint.link = Link(*link);
                    }
                }
                Verdict::Void(fault)
            }
        }
    }

    /// Moves on over records that were not read: a mistake that `Bug::JumpOverGap` makes.
    #[doc(hidden)]
    pub const fn jump(&mut self, next_offset: i64) {
        self.checkpoint.next_offset = next_offset;
    }

    /// Moves on over a record of our own that is known to be effective: its offset is `next_offset` and it comes after the
    /// last link.
    pub fn advance(&mut self, after: Link, link: Link) {
        assert_eq!(
            after, self.checkpoint.link,
            "a record that is known to be effective comes after the last link"
        );
        self.checkpoint = Checkpoint {
            next_offset: self.checkpoint.next_offset + 1,
            last_offset: self.checkpoint.next_offset,
            link,
        };
    }
}

fn examine(record: &LogRecord, last: Link) -> Result<Envelope, Fault> {
    let headers = &record.headers;
    let after = Link(*headers.after.one().ok_or(Fault::Header("tw_after"))?);
    let link = Link(*headers.link.one().ok_or(Fault::Header("tw_link"))?);
    let command = headers.command.one().ok_or(Fault::Header("tw_command"))?;
    let causes = headers.causes.one().ok_or(Fault::Header("tw_causes"))?;
    let event_id = *headers.event_id.one().ok_or(Fault::Header("ce_id"))?;
    let source = match &headers.source {
        crate::Slot::Absent => None,
        crate::Slot::One(source) => Some(source),
        crate::Slot::Wrong => return Err(Fault::Header("tw_source")),
    };
    if after != last {
        return Err(Fault::After);
    }
    let expected = Link::of(&Linked {
        after,
        event_id,
        command,
        key: &record.key,
        causes,
        source,
        value: &record.value,
    });
    if link != expected {
        return Err(Fault::Hash);
    }
    let (id, fingerprint) = command.split_at(16);
    Ok(Envelope {
        event_id,
        command_id: Uuid::from_slice(id).unwrap_or_default(),
        fingerprint: fingerprint.try_into().unwrap_or_default(),
        after,
        link,
        causes: Positions::decode(causes)
            .map(|(_, positions)| positions)
            .unwrap_or_default(),
        source: source.copied().map(u64::from_be_bytes),
        sequence: headers.sequence,
        traceparent: headers.traceparent.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{NewRecord, Slot};

    fn record(n: u8, after: Link) -> NewRecord {
        NewRecord {
            key: vec![b'k', n],
            value: vec![n; 20],
            event_id: Uuid::from_bytes([n; 16]),
            event_type: "shop.orders.v1.OrderPlaced",
            occurred_at: schemas::Timestamp(0),
            sequence: Some(1),
            traceparent: None,
            command: [n; 32],
            after: Link::ZERO,
            link: Link::ZERO,
            causes: [].into(),
            source: None,
        }
        .chained(after)
    }

    fn fault(chain: &mut Chain, record: &LogRecord) -> Fault {
        match chain.judge(record) {
            Verdict::Void(fault) => fault,
            Verdict::Effective(_) => panic!("the record counts"),
        }
    }

    #[test]
    fn a_record_counts_only_after_the_last_effective_one() {
        let mut chain = Chain::from(Checkpoint::BEGINNING);
        let first = record(1, Link::ZERO);
        let second = record(2, first.link);
        assert!(matches!(chain.judge(&first.at_offset(0)), Verdict::Effective(_)));
        // A second copy, and one that was decided on a history that never was, are void.
        assert_eq!(fault(&mut chain, &first.at_offset(1)), Fault::After);
        assert_eq!(
            fault(&mut chain, &record(3, record(4, first.link).link).at_offset(2)),
            Fault::After
        );
        assert!(matches!(chain.judge(&second.at_offset(3)), Verdict::Effective(_)));
        assert_eq!(
            chain.checkpoint(),
            Checkpoint {
                next_offset: 4,
                last_offset: 3,
                link: second.link
            }
        );
    }

    #[test]
    fn a_header_missing_doubled_or_of_the_wrong_length_makes_a_record_void() {
        let good = record(1, Link::ZERO).at_offset(0);
        for name in ["ce_id", "tw_command", "tw_after", "tw_link", "tw_causes"] {
            let mut doubled = good.clone();
            doubled.headers.take(name, Some(&[0; 16]));
            assert_eq!(
                fault(&mut Chain::from(Checkpoint::BEGINNING), &doubled),
                Fault::Header(name)
            );
        }
        let mut long = good.clone();
        long.headers.command = Slot::Absent;
        long.headers.take("tw_command", Some(&[0; 33]));
        assert_eq!(
            fault(&mut Chain::from(Checkpoint::BEGINNING), &long),
            Fault::Header("tw_command")
        );
        let mut sourced = good.clone();
        sourced.headers.take("tw_source", Some(&[]));
        assert_eq!(
            fault(&mut Chain::from(Checkpoint::BEGINNING), &sourced),
            Fault::Header("tw_source")
        );
    }

    #[test]
    fn a_changed_byte_makes_a_record_void() {
        let mut changed = record(1, Link::ZERO).at_offset(0);
        changed.value[3] ^= 1;
        assert_eq!(
            fault(&mut Chain::from(Checkpoint::BEGINNING), &changed),
            Fault::Hash
        );
    }

    #[test]
    fn a_checkpoint_of_another_log_is_not_confirmed() {
        let first = record(1, Link::ZERO);
        let checkpoint = Checkpoint {
            next_offset: 1,
            last_offset: 0,
            link: first.link,
        };
        assert!(checkpoint.confirmed_by(Some(&first.at_offset(0))));
        assert!(!checkpoint.confirmed_by(Some(&record(2, Link::ZERO).at_offset(0))));
        assert!(!checkpoint.confirmed_by(None));
        assert!(Checkpoint::BEGINNING.confirmed_by(None));
    }
}
