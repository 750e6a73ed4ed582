//! How far something has come, over the partitions: a vector clock.

use std::collections::BTreeMap;

use schemas::Topic;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

/// One partition of one event topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TopicPartition {
    /// The topic.
    pub topic: Topic,
    /// The partition's number, from 0.
    pub partition: i32,
}

impl TopicPartition {
    /// Every partition of a log with so many of each topic.
    pub fn all(count: i32) -> impl Iterator<Item = Self> + Clone {
        Topic::ALL
            .into_iter()
            .flat_map(move |topic| (0..count).map(move |partition| Self { topic, partition }))
    }
}

/// Which log a position belongs to: the first 8 bytes of SHA-256 over Kafka's cluster id and the topics' prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LogId(pub [u8; 8]);

impl LogId {
    /// The identity of the topics under `prefix` in the cluster `cluster_id`.
    pub fn new(cluster_id: &str, prefix: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update(cluster_id);
        hash.update([0]);
        hash.update(prefix);
        let mut id = [0; 8];
        id.copy_from_slice(&hash.finalize()[..8]);
        Self(id)
    }
}

/// For each partition the first offset that is *not* covered. A partition that is not named is not asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Positions(BTreeMap<TopicPartition, i64>);

/// The version of the encoding; the first byte of it.
const VERSION: u8 = 1;

/// More partitions than that are no token of ours.
const ENTRIES_MAX: u64 = 4096;

/// The bytes are no positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PositionsError {
    /// A version that this program does not know.
    #[error("version {0} is not known")]
    Version(u8),
    /// Cut off, out of order, or with something behind it.
    #[error("the positions are malformed")]
    Malformed,
}

impl Positions {
    /// Positions of nothing.
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first offset of a partition that is not covered.
    pub fn get(&self, partition: TopicPartition) -> Option<i64> {
        self.0.get(&partition).copied()
    }

    /// Covers a partition up to (not including) `next_offset`, if it is not covered further already.
    pub fn observe(&mut self, partition: TopicPartition, next_offset: i64) {
        if next_offset > 0 {
            let position = self.0.entry(partition).or_default();
            *position = next_offset.max(*position);
        }
    }

    /// Covers what either covers.
    pub fn merge(&mut self, other: &Self) {
        for (partition, next_offset) in other.iter() {
            self.observe(partition, next_offset);
        }
    }

    /// The partitions and their first offsets that are not covered, in order.
    pub fn iter(&self) -> impl Iterator<Item = (TopicPartition, i64)> {
        self.0.iter().map(|(partition, offset)| (*partition, *offset))
    }

    /// Version, log, number of entries, then topic, partition and offset of each (numbers as LEB128).
    pub fn encode(&self, log: LogId) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(10 + 6 * self.0.len());
        bytes.push(VERSION);
        bytes.extend(log.0);
        put_varint(&mut bytes, self.0.len() as u64);
        for (partition, offset) in self.iter() {
            bytes.push(partition.topic.index());
            put_varint(&mut bytes, u64::from(partition.partition.cast_unsigned()));
            put_varint(&mut bytes, offset.cast_unsigned());
        }
        bytes
    }

    /// The inverse of [`Positions::encode`]; accepts nothing else.
    pub fn decode(bytes: &[u8]) -> Result<(LogId, Self), PositionsError> {
        use PositionsError::Malformed;
        let (&version, rest) = bytes.split_first().ok_or(Malformed)?;
        if version != VERSION {
            return Err(PositionsError::Version(version));
        }
        let (log, mut rest) = rest.split_first_chunk::<8>().ok_or(Malformed)?;
        let count = take_varint(&mut rest)
            .filter(|count| *count <= ENTRIES_MAX)
            .ok_or(Malformed)?;
        let mut positions = BTreeMap::new();
        for _ in 0..count {
            let (&index, after) = rest.split_first().ok_or(Malformed)?;
            rest = after;
            let topic = Topic::from_index(index).ok_or(Malformed)?;
            let partition = take_varint(&mut rest)
                .and_then(|n| i32::try_from(n).ok())
                .ok_or(Malformed)?;
            let offset = take_varint(&mut rest)
                .and_then(|n| i64::try_from(n).ok())
                .ok_or(Malformed)?;
            let key = TopicPartition { topic, partition };
            if offset == 0 || positions.last_key_value().is_some_and(|(last, _)| *last >= key) {
                return Err(Malformed);
            }
            positions.insert(key, offset);
        }
        if rest.is_empty() {
            Ok((LogId(*log), Self(positions)))
        } else {
            Err(Malformed)
        }
    }
}

impl FromIterator<(TopicPartition, i64)> for Positions {
    fn from_iter<I: IntoIterator<Item = (TopicPartition, i64)>>(entries: I) -> Self {
        let mut positions = Self::new();
        for (partition, offset) in entries {
            positions.observe(partition, offset);
        }
        positions
    }
}

fn put_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push((value & 0x7f) as u8);
}

/// Reads a LEB128 number in its shortest form.
fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return None;
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return (byte != 0 || shift == 0).then_some(value);
        }
    }
    None
}

/// `[[topic, partition, offset], …]`
impl Serialize for Positions {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(
            self.iter()
                .map(|(partition, offset)| (partition.topic.index(), partition.partition, offset)),
        )
    }
}

impl<'de> Deserialize<'de> for Positions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::<(u8, i32, i64)>::deserialize(deserializer)?
            .into_iter()
            .map(|(index, partition, offset)| {
                let topic = Topic::from_index(index)
                    .ok_or_else(|| serde::de::Error::custom(format!("no topic has the number {index}")))?;
                Ok((TopicPartition { topic, partition }, offset))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_positions() -> impl Strategy<Value = Positions> {
        proptest::collection::vec((0_u8..2, 0..i32::MAX, 1..i64::MAX), 0..20).prop_map(|entries| {
            entries
                .into_iter()
                .map(|(topic, partition, offset)| {
                    (
                        TopicPartition {
                            topic: Topic::from_index(topic).unwrap(),
                            partition,
                        },
                        offset,
                    )
                })
                .collect()
        })
    }

    proptest! {
        #[test]
        fn positions_survive_their_encoding(positions in any_positions()) {
            let log = LogId([7; 8]);
            prop_assert_eq!(Positions::decode(&positions.encode(log)), Ok((log, positions.clone())));
            let json = serde_json::to_string(&positions).unwrap();
            prop_assert_eq!(serde_json::from_str::<Positions>(&json).unwrap(), positions);
        }

        #[test]
        fn decoding_never_panics_and_accepts_one_form_only(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok((log, positions)) = Positions::decode(&bytes) {
                prop_assert_eq!(positions.encode(log), bytes);
            }
        }

        #[test]
        fn merging_covers_both(a in any_positions(), b in any_positions()) {
            let mut merged = a.clone();
            merged.merge(&b);
            for (partition, offset) in a.iter().chain(b.iter()) {
                prop_assert!(merged.get(partition) >= Some(offset));
            }
        }
    }
}
