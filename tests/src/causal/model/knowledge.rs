//! What the holder of a token must be shown.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use super::Rule;

/// An aggregate, by its number in this run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Thing {
    /// An order. First, so that those of long ago can be cut off.
    Order(u32),
    /// A SKU.
    Stock(u32),
}

impl fmt::Display for Thing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Order(number) => write!(f, "order {number}"),
            Self::Stock(sku) => write!(f, "sku-{sku}"),
        }
    }
}

/// Whence something is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// The holder wrote it.
    Own,
    /// The holder read it.
    Read,
    /// Something that the holder read depends on it.
    Cause,
    /// The holder got it with somebody else's token.
    Handed,
    /// It was acknowledged to somebody before a strong read began.
    Acknowledged,
}

impl Why {
    /// The rule that is broken where it is not shown.
    pub const fn rule(self) -> Rule {
        match self {
            Self::Own => Rule::ReadYourWrites,
            Self::Read => Rule::MonotonicReads,
            Self::Cause => Rule::CausalOrder,
            Self::Handed => Rule::HandedOver,
            Self::Acknowledged => Rule::Strong,
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Own => "its caller wrote it",
            Self::Read => "its caller has seen it",
            Self::Cause => "what its caller has seen depends on it",
            Self::Handed => "the token was handed over by somebody who knew it",
            Self::Acknowledged => "it was acknowledged before the strong read began",
        })
    }
}

/// How far something is known, and whence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// The least sequence.
    pub sequence: u64,
    /// Whence.
    pub why: Why,
}

impl Known {
    /// That something may not even be there.
    pub const NOTHING: Self = Self {
        sequence: 0,
        why: Why::Read,
    };
}

/// So many things are remembered as learnt lately.
const LATELY: usize = 8;

/// What the holder of a token must be shown: of each thing at least a sequence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Knowledge {
    least: BTreeMap<Thing, Known>,
    lately: VecDeque<Thing>,
}

impl Knowledge {
    /// How far a thing is known.
    pub fn least(&self, thing: Thing) -> Option<Known> {
        self.least.get(&thing).copied()
    }

    /// All that is known.
    pub fn iter(&self) -> impl Iterator<Item = (Thing, Known)> {
        self.least.iter().map(|(thing, known)| (*thing, *known))
    }

    /// How many things are known of.
    pub fn len(&self) -> usize {
        self.least.len()
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.least.is_empty()
    }

    /// A thing is known up to there, if it was not known further.
    pub fn learn(&mut self, thing: Thing, sequence: u64, why: Why) {
        if sequence > 0 {
            let known = self.least.entry(thing).or_insert(Known::NOTHING);
            if known.sequence < sequence {
                *known = Known { sequence, why };
                // Whoever has read something need not look whether it is there.
                if why != Why::Read {
                    self.lately.truncate(LATELY - 1);
                    self.lately.push_front(thing);
                }
            }
        }
    }

    /// All that the other knows is known, and for that reason.
    pub fn learn_all(&mut self, other: &Self, why: Why) {
        for (thing, known) in other.iter() {
            self.learn(thing, known.sequence, why);
        }
    }

    /// What was learnt last without being read: where a stale read would show.
    pub fn take_latest(&mut self) -> Option<Thing> {
        self.lately.pop_front()
    }

    /// The same, as it is for whom the token is handed to.
    #[must_use]
    pub fn handed_over(&self) -> Self {
        let mut handed = Self::default();
        handed.learn_all(self, Why::Handed);
        handed
    }

    /// Nothing is known of the orders before that one.
    pub fn forget_orders_before(&mut self, first: u32) {
        if self
            .least
            .first_key_value()
            .is_some_and(|(thing, _)| *thing < Thing::Order(first))
        {
            self.least = self.least.split_off(&Thing::Order(first));
        }
    }
}
