//! The aggregates that are in memory, and which of them may leave it.
//!
//! What they take is counted in units of a KiB, one at least: an order with thousands of notes is as much as thousands of orders.

use indexmap::IndexMap;
use rustc_hash::FxBuildHasher;

/// How far an aggregate's state has come on its way to the next snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    /// The snapshot has it as it is.
    Stored,
    /// It is being stored as it is.
    Storing,
    /// The snapshot has an older one, or none.
    Changed,
}

#[derive(Clone, Debug)]
struct Entry<S> {
    /// None only between [`Hot::take`] and [`Hot::put`].
    state: Option<S>,
    mark: Mark,
    units: u32,
    /// Looked at since the hand came by.
    used: bool,
}

/// States by key, with a second chance for each that was looked at (the clock algorithm).
#[derive(Clone, Debug)]
pub(super) struct Hot<K, S> {
    entries: IndexMap<K, Entry<S>, FxBuildHasher>,
    /// Keys of the entries that are `Changed`.
    changed: Vec<K>,
    /// Keys of those that were handed over; some may have changed again.
    storing: Vec<K>,
    hand: usize,
    /// Of all entries.
    units: usize,
    /// Of those that are `Changed`.
    changed_units: usize,
}

/// What a state of about so many bytes counts.
pub(super) fn units(bytes: usize) -> u32 {
    u32::try_from(bytes >> 10).unwrap_or(u32::MAX).max(1)
}

const fn wide(units: u32) -> usize {
    units as usize
}

impl<K, S> Default for Hot<K, S> {
    fn default() -> Self {
        Self {
            entries: IndexMap::default(),
            changed: Vec::new(),
            storing: Vec::new(),
            hand: 0,
            units: 0,
            changed_units: 0,
        }
    }
}

impl<K: Clone + Eq + std::hash::Hash, S> Hot<K, S> {
    pub fn get(&self, key: &K) -> Option<&S> {
        self.entries.get(key)?.state.as_ref()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&K, &S)> {
        self.entries
            .iter()
            .filter_map(|(key, entry)| Some((key, entry.state.as_ref()?)))
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Units of those that are not in the snapshot as they are, and not on their way there.
    pub const fn changed_units(&self) -> usize {
        self.changed_units
    }

    /// How many these are.
    pub const fn changed(&self) -> usize {
        self.changed.len()
    }

    /// Whether it is there; if so, it is looked at.
    pub fn touch(&mut self, key: &K) -> bool {
        match self.entries.get_mut(key) {
            Some(entry) => {
                entry.used = true;
                true
            }
            None => false,
        }
    }

    /// Takes in what the snapshot has.
    pub fn load(&mut self, key: K, state: S, units: u32) {
        let before = self.entries.insert(
            key,
            Entry {
                state: Some(state),
                mark: Mark::Stored,
                units,
                used: true,
            },
        );
        self.units += wide(units);
        self.units -= before.map_or(0, |before| wide(before.units));
    }

    /// Takes a state out, to be changed where it lies and put back.
    pub fn take(&mut self, key: &K) -> Option<S> {
        self.entries.get_mut(key)?.state.take()
    }

    /// Puts a changed state in.
    pub fn put(&mut self, key: K, state: S, units: u32) {
        let entry = self.entries.entry(key.clone()).or_insert(Entry {
            state: None,
            mark: Mark::Stored,
            units: 0,
            used: true,
        });
        entry.state = Some(state);
        entry.used = true;
        let before = wide(std::mem::replace(&mut entry.units, units));
        self.units = self.units + wide(units) - before;
        if entry.mark == Mark::Changed {
            self.changed_units = self.changed_units + wide(units) - before;
        } else {
            entry.mark = Mark::Changed;
            self.changed_units += wide(units);
            self.changed.push(key);
        }
    }

    /// What changed since it was last handed over. Until [`Hot::stored`] says so, all of it stays.
    pub fn hand_over<T>(&mut self, mut copy: impl FnMut(&K, &S) -> T) -> Vec<T> {
        self.storing = std::mem::take(&mut self.changed);
        self.changed_units = 0;
        let mut copies = Vec::with_capacity(self.storing.len());
        for key in &self.storing {
            if let Some(entry) = self.entries.get_mut(key) {
                entry.mark = Mark::Storing;
                copies.extend(entry.state.as_ref().map(|state| copy(key, state)));
            }
        }
        copies
    }

    /// What was handed over is in the snapshot, or it is not and will be handed over again.
    pub fn stored(&mut self, is_stored: bool) {
        for key in std::mem::take(&mut self.storing) {
            let Some(entry) = self.entries.get_mut(&key) else {
                continue;
            };
            if entry.mark != Mark::Storing {
                continue;
            }
            if is_stored {
                entry.mark = Mark::Stored;
            } else {
                entry.mark = Mark::Changed;
                self.changed_units += wide(entry.units);
                self.changed.push(key);
            }
        }
    }

    /// Lets go of states that the snapshot has and that nobody looked at for longest, until `max` units are left or the hand came
    /// by so many. Returns how many states went.
    pub fn evict(&mut self, max: usize, mut looks: usize) -> usize {
        let before = self.entries.len();
        while self.units > max && looks > 0 {
            looks -= 1;
            if self.hand >= self.entries.len() {
                self.hand = 0;
            }
            let Some((_, entry)) = self.entries.get_index_mut(self.hand) else {
                break;
            };
            if entry.mark == Mark::Stored && !entry.used {
                self.units -= wide(entry.units);
                // The last one takes its place, and gets its turn next.
                self.entries.swap_remove_index(self.hand);
            } else {
                entry.used = false;
                self.hand += 1;
            }
        }
        before - self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(hot: &Hot<u32, u32>) -> Vec<u32> {
        let mut keys: Vec<u32> = hot.iter().map(|(key, _)| *key).collect();
        keys.sort_unstable();
        keys
    }

    #[test]
    fn what_is_not_stored_as_it_is_never_leaves() {
        let mut hot: Hot<u32, u32> = Hot::default();
        for key in 0..4 {
            hot.put(key, key, 1);
        }
        assert_eq!(hot.evict(0, 100), 0);
        assert_eq!(hot.hand_over(|key, _| *key), [0, 1, 2, 3]);
        assert_eq!(hot.evict(0, 100), 0);
        hot.put(2, 20, 1);
        hot.stored(true);
        assert_eq!(hot.evict(0, 100), 3);
        assert_eq!(keys(&hot), [2]);
        assert_eq!(hot.hand_over(|key, state| (*key, *state)), [(2, 20)]);
        // It was not stored after all.
        hot.stored(false);
        assert_eq!(hot.changed(), 1);
        assert_eq!(hot.evict(0, 100), 0);
    }

    #[test]
    fn what_is_looked_at_gets_a_second_chance() {
        let mut hot: Hot<u32, u32> = Hot::default();
        for key in 0..8 {
            hot.load(key, key, 1);
        }
        // The first round takes everybody's chance, the second one goes from the front.
        assert_eq!(hot.evict(7, 100), 1);
        assert!(!hot.touch(&0));
        for key in [1, 2, 3] {
            assert!(hot.touch(&key));
        }
        assert_eq!(hot.evict(3, 100), 4);
        assert_eq!(keys(&hot), [1, 2, 3]);
    }

    #[test]
    fn large_states_count_for_many() {
        assert_eq!(
            [0, 1_023, 1_024, 2_048, usize::MAX].map(units),
            [1, 1, 1, 2, u32::MAX]
        );
        let mut hot: Hot<u32, u32> = Hot::default();
        hot.put(0, 0, 1);
        hot.put(0, 0, 900);
        hot.put(1, 0, 1);
        assert_eq!((hot.changed(), hot.changed_units()), (2, 901));
        assert_eq!(hot.hand_over(|_, _| ()).len(), 2);
        // It grows while it is being stored, and its new state is stored with the next snapshot.
        hot.put(0, 0, 1_000);
        assert_eq!(hot.changed_units(), 1_000);
        hot.stored(false);
        assert_eq!((hot.changed(), hot.changed_units()), (2, 1_001));
        assert_eq!(hot.hand_over(|_, _| ()).len(), 2);
        hot.stored(true);
        hot.load(2, 0, 3);
        assert_eq!(hot.changed_units(), 0);
        // The first round takes everybody's chance; then the large one alone makes room enough.
        assert_eq!(hot.evict(4, 100), 1);
        assert_eq!(keys(&hot), [1, 2]);
        hot.put(1, 0, 5);
        assert_eq!(hot.evict(5, 100), 1);
        assert_eq!(keys(&hot), [1]);
    }
}
