//! Two generations of a model against each other, while both go on: what differs is looked at again before it counts.
//!
//! The two are never at the same position for long, so that a row may differ only because one of them has not come so far.
//! It is a suspect then. Once both are past where the further one was at the first look, and the row is still in both what it
//! was, it really differs: what made the one would have changed the other meanwhile. That holds for what has a version. A sum
//! comes back to what it was, when an order is cancelled, so it only counts where both stand at the same position.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use eventlog::Positions;

use crate::store::StoreError;

/// Differences that are named; the rest is counted.
const NAMED_MAX: usize = 20;
/// Between two looks at the suspects.
const PAUSE: Duration = Duration::from_millis(100);
/// What has changed all the time for so long is not looked at any more.
const PATIENCE: Duration = Duration::from_secs(10);
/// Without the one that is behind coming on for so long, there is no comparing.
const STALLED: Duration = Duration::from_mins(1);

/// What of two generations is compared. The first part can be compared while a generation is made ready, which takes a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// What is there as it will be read as soon as all records are in.
    Rows,
    /// What only a generation has that is ready.
    Sums,
}

/// What came of comparing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Rows or documents that were compared.
    pub compared: u64,
    /// How many differ.
    pub differences: u64,
    /// The first of them: what they are called.
    pub named: Vec<String>,
    /// How many changed so often that they could not be compared.
    pub moving: u64,
}

impl Comparison {
    /// What came of comparing another part.
    pub fn add(&mut self, other: Self) {
        self.compared += other.compared;
        self.differences += other.differences;
        self.named.extend(other.named);
        self.named.truncate(NAMED_MAX);
        self.moving += other.moving;
    }

    fn differ(&mut self, name: String) {
        self.differences += 1;
        if self.named.len() < NAMED_MAX {
            self.named.push(name);
        }
    }
}

/// Digests of the same in the one and in the other; none where it is not there.
pub(crate) type Pair = (Option<i64>, Option<i64>);

/// What it takes until a difference is certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It never becomes again what it was.
    Versioned,
    /// It may. Says whether both stood at the same position of its partition.
    Sum { level: bool },
}

/// What differs, by what it is called.
pub(crate) type Differing = BTreeMap<String, (Pair, Kind)>;

/// A look at both.
#[derive(Debug, Default)]
pub(crate) struct Look {
    /// How far both were before it, each partition at the lesser of the two.
    pub(crate) before: Positions,
    /// How far either was after it, each partition at the greater of the two.
    pub(crate) after: Positions,
    /// What differs.
    pub(crate) differing: Differing,
    /// How many were looked at.
    pub(crate) compared: u64,
}

/// What differs so far.
#[derive(Debug)]
struct Suspect {
    pair: Pair,
    /// Once both are here, the pair is what it will be.
    judged_at: Positions,
}

/// The suspects of one comparison. Pure.
#[derive(Debug, Default)]
struct Suspects {
    open: BTreeMap<String, Suspect>,
}

impl Suspects {
    fn of(look: Look) -> Self {
        let Look { after, differing, .. } = look;
        let suspect = |(name, (pair, _))| {
            let judged_at = after.clone();
            (name, Suspect { pair, judged_at })
        };
        Self {
            open: differing.into_iter().map(suspect).collect(),
        }
    }

    /// Another look at them; the names of those that certainly differ.
    fn judge(&mut self, look: &Look) -> Vec<String> {
        let mut differ = Vec::new();
        self.open.retain(|name, suspect| {
            let Some((pair, kind)) = look.differing.get(name) else {
                return false;
            };
            if let Kind::Sum { level } = kind {
                if *level {
                    differ.push(name.clone());
                }
                return !level;
            }
            if *pair != suspect.pair {
                *suspect = Suspect {
                    pair: *pair,
                    judged_at: look.after.clone(),
                };
                return true;
            }
            let is_past = |(at, offset)| look.before.get(at).unwrap_or(0) >= offset;
            let sure = suspect.judged_at.iter().all(is_past);
            if sure {
                differ.push(name.clone());
            }
            !sure
        });
        differ
    }
}

/// Compares two generations by looks: at all that there is (none), or at what is called so. It is not looked again before `ready`:
/// one whose indexes are being made does not come on meanwhile, for however long they take.
pub(crate) async fn compare<F>(
    look: impl Fn(Option<Vec<String>>) -> F,
    ready: impl Future<Output = ()>,
) -> Result<Comparison, StoreError>
where
    F: Future<Output = Result<Look, StoreError>>,
{
    let first = look(None).await?;
    let mut comparison = Comparison {
        compared: first.compared,
        ..Comparison::default()
    };
    let mut suspects = Suspects::of(first);
    ready.await;
    let (mut begun, mut moved) = (Instant::now(), Instant::now());
    let mut before = Positions::new();
    while !suspects.open.is_empty() {
        let again = look(Some(suspects.open.keys().cloned().collect())).await?;
        for name in suspects.judge(&again) {
            comparison.differ(name);
        }
        if again.before != before {
            before = again.before;
            moved = Instant::now();
        } else if !suspects.open.is_empty() && moved.elapsed() > PAUSE * 5 {
            // Time while nothing moves does not count: the projector is being started again, it may be.
            begun += PAUSE;
        }
        if begun.elapsed() > PATIENCE {
            break;
        }
        if moved.elapsed() > STALLED {
            return Err(StoreError::Refused(
                "one generation is behind the other and does not come on: is a projector running?".to_owned(),
            ));
        }
        if !suspects.open.is_empty() {
            tokio::time::sleep(PAUSE).await;
        }
    }
    comparison.moving = suspects.open.len() as u64;
    Ok(comparison)
}

/// The lesser and the greater of two for each partition.
pub(crate) fn bounds(old: &Positions, new: &Positions) -> (Positions, Positions) {
    let mut greater = old.clone();
    greater.merge(new);
    let lesser = greater
        .iter()
        .map(|(partition, _)| {
            let at = |positions: &Positions| positions.get(partition).unwrap_or(0);
            (partition, at(old).min(at(new)))
        })
        .collect();
    (lesser, greater)
}

#[cfg(test)]
mod tests {
    use eventlog::{Topic, TopicPartition};

    use super::*;

    fn at(offset: i64) -> Positions {
        let topic = Topic::Orders;
        [(TopicPartition { topic, partition: 0 }, offset)]
            .into_iter()
            .collect()
    }

    fn look(before: i64, after: i64, differing: &[(&str, i64, i64)]) -> Look {
        Look {
            before: at(before),
            after: at(after),
            differing: differing
                .iter()
                .map(|(name, old, new)| {
                    let pair = (Some(*old), Some(*new));
                    ((*name).to_owned(), (pair, Kind::Versioned))
                })
                .collect(),
            compared: 9,
        }
    }

    #[test]
    fn who_has_not_come_so_far_is_no_difference() {
        let mut suspects = Suspects::of(look(5, 9, &[("late", 1, 2), ("wrong", 1, 3)]));
        let none = suspects.judge(&look(8, 9, &[("late", 1, 2), ("wrong", 1, 3)]));
        assert!(none.is_empty(), "one of them is still behind");
        let wrong = suspects.judge(&look(9, 12, &[("wrong", 1, 3)]));
        assert_eq!(wrong, ["wrong"]);
        assert!(suspects.open.is_empty());
    }

    #[test]
    fn what_changes_is_judged_anew() {
        let mut suspects = Suspects::of(look(5, 9, &[("hot", 1, 2)]));
        assert!(suspects.judge(&look(10, 12, &[("hot", 2, 3)])).is_empty());
        assert!(suspects.judge(&look(11, 12, &[("hot", 2, 3)])).is_empty());
        assert_eq!(suspects.judge(&look(12, 12, &[("hot", 2, 3)])), ["hot"]);
    }

    #[test]
    fn a_sum_that_comes_back_to_what_it_was_differs_only_where_both_stand_at_the_same_position() {
        let of = |level| {
            let mut look = look(9, 9, &[]);
            let pair = (Some(5), Some(4));
            look.differing
                .insert("sum".to_owned(), (pair, Kind::Sum { level }));
            look
        };
        let mut suspects = Suspects::of(of(false));
        assert!(suspects.judge(&of(false)).is_empty());
        assert_eq!(suspects.open.len(), 1, "it is looked at again");
        assert_eq!(suspects.judge(&of(true)), ["sum"]);
        assert!(suspects.open.is_empty());
    }

    #[test]
    fn bounds_are_those_of_each_partition() {
        assert_eq!(bounds(&at(3), &at(5)), (at(3), at(5)));
        assert_eq!(bounds(&at(3), &Positions::new()), (at(0), at(3)));
    }
}
