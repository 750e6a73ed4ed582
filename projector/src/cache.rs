//! Views that were in use lately, so that they need not be read again before the next change.

use std::borrow::Borrow;
use std::hash::Hash;

use rustc_hash::FxHashMap;

/// Two generations: what was used since the last change of generation, and what was used in the one before. Nearly an LRU,
/// without its bookkeeping.
#[derive(Debug)]
pub(crate) struct Cache<K, V> {
    young: FxHashMap<K, V>,
    old: FxHashMap<K, V>,
    young_weight: usize,
    weight_max: usize,
}

impl<K: Eq + Hash, V> Cache<K, V> {
    /// Holds at most twice that weight.
    pub(crate) fn new(weight_max: usize) -> Self {
        Self {
            young: FxHashMap::default(),
            old: FxHashMap::default(),
            young_weight: 0,
            weight_max,
        }
    }

    /// Takes a view out, to be changed and put back once that is stored.
    pub(crate) fn take<Q>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.young.remove(key).or_else(|| self.old.remove(key))
    }

    /// Puts a view in.
    pub(crate) fn put(&mut self, key: K, value: V, weight: usize) {
        // What is taken and put back counts again, so a generation can only be shorter than its weight says.
        self.young_weight += weight;
        if self.young_weight > self.weight_max {
            self.old = std::mem::take(&mut self.young);
            self.young_weight = weight;
        }
        self.young.insert(key, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_what_is_not_goes() {
        let mut cache = Cache::new(10);
        for key in 0..100 {
            cache.put(key, key, 1);
            if let Some(first) = cache.take(&0) {
                cache.put(0, first, 1);
            }
        }
        assert_eq!(cache.take(&0), Some(0));
        assert_eq!(cache.take(&1), None);
        assert!(cache.young.len() + cache.old.len() <= 20);
    }
}
