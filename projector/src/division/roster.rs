//! Who is there, and what is whose. Pure, and without a clock: what has passed since somebody was heard is counted in words of
//! our own that came back since.
//!
//! So nobody goes as long as nothing can be heard, however long Kafka is away; and who was stopped for a while himself hears in
//! their order all that the others said meanwhile, before he hears himself.

use std::collections::{BTreeMap, BTreeSet};

use eventlog::{MemberId, rendezvous};

use super::word::Word;

/// Who is silent for so many words of ours is gone: a second and a half.
const SILENT_MAX: u32 = 6;
/// Who has said nothing since we came, is gone after so many: it may have been dead long before.
const UNHEARD_MAX: u32 = 4;

/// Another projector.
#[derive(Debug)]
struct Other {
    /// Words of ours since its last.
    silent: u32,
    /// It has spoken since our first word.
    heard: bool,
}

/// The projectors of the same models.
#[derive(Debug)]
pub(super) struct Roster {
    me: MemberId,
    others: BTreeMap<MemberId, Other>,
    /// All that was said before we came is known.
    caught_up: bool,
    /// Our own word has come back, so the others have it, too.
    spoken: bool,
    settled: bool,
}

impl Roster {
    pub(super) const fn new(me: MemberId) -> Self {
        Self {
            me,
            others: BTreeMap::new(),
            caught_up: false,
            spoken: false,
            settled: false,
        }
    }

    pub(super) fn hear(&mut self, word: Word) {
        match word {
            Word::Here(id) if id == self.me => {
                self.spoken = true;
                self.others.retain(|_, other| {
                    other.silent += 1;
                    other.silent < if other.heard { SILENT_MAX } else { UNHEARD_MAX }
                });
            }
            Word::Here(id) => {
                let heard = self.spoken;
                self.others.insert(id, Other { silent: 0, heard });
            }
            Word::Gone(id) => {
                self.others.remove(&id);
            }
        }
        self.look();
    }

    /// All that was said before is known.
    pub(super) fn catch_up(&mut self) {
        self.caught_up = true;
        self.look();
    }

    /// Alone is who knows of nobody; else what others still work on is not ours before they have heard of us.
    fn look(&mut self) {
        self.settled |= self.caught_up && (self.spoken || self.others.is_empty());
    }

    /// Goes on with what is known.
    pub(super) const fn settle(&mut self) {
        self.settled = true;
    }

    /// Whether enough is known to begin.
    pub(super) const fn is_settled(&self) -> bool {
        self.settled
    }

    /// How many others there are.
    pub(super) fn others(&self) -> usize {
        self.others.len()
    }

    /// The partition numbers, of so many, that are ours.
    pub(super) fn share(&self, count: i32) -> BTreeSet<i32> {
        let all = || self.others.keys().copied().chain([self.me]);
        let ours = |number: &i32| {
            let slot = usize::try_from(*number).unwrap_or(usize::MAX);
            rendezvous::rank(slot, all()).first() == Some(&self.me)
        };
        (0..count).filter(ours).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    const COUNT: i32 = 24;

    fn id(n: u128) -> MemberId {
        MemberId(Uuid::from_u128(n))
    }

    fn here(n: u128) -> Word {
        Word::Here(id(n))
    }

    /// Number 1, which knows these from before.
    fn among(others: &[u128]) -> Roster {
        let mut roster = Roster::new(id(1));
        for other in others {
            roster.hear(here(*other));
        }
        roster.catch_up();
        roster
    }

    fn has_all(roster: &Roster) -> bool {
        roster.share(COUNT).len() == 24
    }

    #[test]
    fn who_is_alone_begins_as_soon_as_it_knows() {
        let mut roster = Roster::new(id(1));
        assert!(!roster.is_settled());
        roster.catch_up();
        assert!(roster.is_settled() && has_all(&roster));
    }

    #[test]
    fn who_comes_takes_its_share_when_the_others_have_heard_of_it() {
        let mut roster = among(&[2]);
        assert!(!roster.is_settled());
        roster.hear(here(1));
        assert!(roster.is_settled());
        let share = roster.share(COUNT).len();
        assert!((1..24).contains(&share), "{share}");
    }

    #[test]
    fn who_leaves_hands_over_at_once_and_who_falls_silent_soon() {
        let mut roster = among(&[]);
        roster.hear(here(1));
        roster.hear(here(2));
        assert!(!has_all(&roster));
        roster.hear(Word::Gone(id(2)));
        assert!(has_all(&roster));
        roster.hear(here(3));
        for _ in 1..SILENT_MAX {
            roster.hear(here(1));
            assert!(!has_all(&roster));
        }
        roster.hear(here(1));
        assert!(has_all(&roster));
        roster.hear(here(3));
        assert!(!has_all(&roster), "it was only slow");
    }

    #[test]
    fn the_last_words_of_the_dead_hold_nobody_up_for_long() {
        let mut roster = among(&[2, 3]);
        for _ in 1..UNHEARD_MAX {
            roster.hear(here(1));
            roster.hear(here(3));
            assert_eq!(roster.others(), 2);
        }
        roster.hear(here(1));
        assert_eq!(roster.others(), 1, "the one that still speaks");
    }

    #[test]
    fn who_hears_nothing_keeps_what_it_has() {
        let mut roster = among(&[2]);
        roster.hear(here(1));
        let share = roster.share(COUNT);
        // It was stopped for long, and the other one went on and left something to say: their words come first.
        for _ in 0..50 {
            roster.hear(here(2));
        }
        roster.hear(here(1));
        assert_eq!(roster.share(COUNT), share);
    }

    proptest! {
        /// Whoever knows the same projectors comes to the same division, in which every partition is somebody's.
        #[test]
        fn every_partition_is_one_projectors(all in proptest::collection::btree_set(any::<u128>(), 1..7), count in 0..64_i32) {
            let shares = all.iter().map(|me| {
                let mut roster = Roster::new(id(*me));
                for one in &all {
                    roster.hear(here(*one));
                }
                roster.share(count)
            });
            let mut divided: Vec<i32> = shares.flatten().collect();
            divided.sort_unstable();
            prop_assert_eq!(divided, (0..count).collect::<Vec<_>>());
        }
    }
}
