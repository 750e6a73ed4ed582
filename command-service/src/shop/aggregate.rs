//! An aggregate of the shop as writers keep it: the domain's state, and what its events depend on.

use std::sync::Arc;

use domain::{Order, State};
use eventlog::{Positions, TopicPartition};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An aggregate. A clone is cheap, whatever it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aggregate {
    /// What the domain makes of its events.
    pub state: State,
    /// What its events depend on: goes into the token of whoever reads it, as with the read models.
    pub causes: Causes,
}

impl Aggregate {
    /// The order, where it is one.
    pub const fn as_order(&self) -> Option<&Order> {
        self.state.as_order()
    }

    /// Bytes of memory that it takes, about. O(1).
    pub fn bytes(&self) -> usize {
        self.state.bytes() + self.causes.bytes()
    }
}

/// Positions that rarely change and of which there are very many: sorted, shared by all clones, and nothing where there are none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Causes(Option<Arc<[(TopicPartition, i64)]>>);

impl Causes {
    /// Covers what `more` covers, too.
    pub fn merge(&mut self, more: &Positions) {
        if more
            .iter()
            .all(|(partition, next_offset)| self.get(partition) >= Some(next_offset))
        {
            return;
        }
        let mut merged = self.positions();
        merged.merge(more);
        self.0 = Some(merged.iter().collect());
    }

    /// As positions.
    pub fn positions(&self) -> Positions {
        self.entries().iter().copied().collect()
    }

    fn entries(&self) -> &[(TopicPartition, i64)] {
        self.0.as_deref().unwrap_or_default()
    }

    fn get(&self, partition: TopicPartition) -> Option<i64> {
        let entries = self.entries();
        let found = entries.binary_search_by_key(&partition, |(partition, _)| *partition);
        found.ok().map(|index| entries[index].1)
    }

    fn bytes(&self) -> usize {
        size_of_val(self.entries())
    }
}

impl From<&Positions> for Causes {
    fn from(positions: &Positions) -> Self {
        let mut causes = Self::default();
        causes.merge(positions);
        causes
    }
}

impl Serialize for Causes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.positions().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Causes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Positions::deserialize(deserializer).map(|positions| Self::from(&positions))
    }
}

#[cfg(test)]
mod tests {
    use eventlog::Topic;

    use super::*;

    fn positions(entries: &[(Topic, i32, i64)]) -> Positions {
        let entries = entries.iter().map(|(topic, partition, next_offset)| {
            let partition = TopicPartition {
                topic: *topic,
                partition: *partition,
            };
            (partition, *next_offset)
        });
        entries.collect()
    }

    #[test]
    fn causes_merge_as_positions_do_and_come_back_as_they_were() {
        let steps = [
            positions(&[]),
            positions(&[(Topic::Stock, 1, 5), (Topic::Orders, 2, 7)]),
            positions(&[(Topic::Stock, 1, 4)]),
            positions(&[(Topic::Stock, 0, 1), (Topic::Stock, 1, 6)]),
        ];
        let (mut causes, mut merged) = (Causes::default(), Positions::new());
        for more in &steps {
            causes.merge(more);
            merged.merge(more);
            assert_eq!(causes.positions(), merged);
            let stored = postcard::to_allocvec(&causes).unwrap();
            assert_eq!(postcard::from_bytes::<Causes>(&stored).unwrap(), causes);
        }
    }

    #[test]
    fn what_adds_nothing_is_not_copied() {
        let mut causes = Causes::from(&positions(&[(Topic::Stock, 1, 5)]));
        let shared = causes.clone();
        causes.merge(&positions(&[(Topic::Stock, 1, 5)]));
        let same = causes.0.as_ref().zip(shared.0.as_ref());
        assert!(same.is_some_and(|(a, b)| Arc::ptr_eq(a, b)));
        assert_eq!(Causes::from(&positions(&[])), Causes(None));
    }
}
