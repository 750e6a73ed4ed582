//! What a cached answer is the answer to.

use std::sync::Arc;

use quick_cache::Equivalent;
use read_model::view::Period;
use uuid::Uuid;

use super::policy::Kind;

/// The question, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    Order(Uuid),
    Stock(Arc<str>),
    /// The first page of a customer's orders, of that size, without filters.
    Customer(Arc<str>, u32),
    /// The best sellers of a period.
    Top(Period),
}

/// The question, as it is asked: nothing is copied to look it up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum KeyRef<'a> {
    Order(Uuid),
    Stock(&'a str),
    Customer(&'a str, u32),
    Top(Period),
}

impl Key {
    /// The same, borrowed.
    pub(crate) fn as_ref(&self) -> KeyRef<'_> {
        match self {
            Self::Order(id) => KeyRef::Order(*id),
            Self::Stock(sku) => KeyRef::Stock(sku),
            Self::Customer(id, limit) => KeyRef::Customer(id, *limit),
            Self::Top(period) => KeyRef::Top(*period),
        }
    }

    /// Bytes beside its own size.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Order(_) | Self::Top(_) => 0,
            Self::Stock(text) | Self::Customer(text, _) => text.len() + 16,
        }
    }
}

impl KeyRef<'_> {
    /// The row of the table of policies.
    pub(crate) const fn kind(&self) -> Kind {
        match self {
            Self::Order(_) => Kind::Order,
            Self::Stock(_) => Kind::Stock,
            Self::Customer(..) => Kind::Customer,
            Self::Top(_) => Kind::Top,
        }
    }
}

impl Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        *self == key.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher;

    use super::*;

    #[test]
    fn a_key_and_its_borrowed_form_are_the_same() {
        let keys = [
            Key::Order(Uuid::from_u128(7)),
            Key::Stock("a".into()),
            Key::Customer("a".into(), 50),
            Key::Customer("a".into(), 51),
            Key::Top("2026-11".parse().unwrap()),
            Key::Top("2026-11-01".parse().unwrap()),
        ];
        let hash = |value: &dyn Fn(&rustc_hash::FxBuildHasher) -> u64| value(&rustc_hash::FxBuildHasher);
        for (index, key) in keys.iter().enumerate() {
            assert_eq!(
                hash(&|with| with.hash_one(key)),
                hash(&|with| with.hash_one(key.as_ref()))
            );
            for (other, same) in keys.iter().enumerate() {
                assert_eq!(key.as_ref().equivalent(same), index == other);
            }
        }
    }
}
