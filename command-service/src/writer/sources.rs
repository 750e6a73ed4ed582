//! Where a writer stands in the commands topic: which accepted command it takes next.
//!
//! A command's record says that the topic is done with up to there (`tw_source`), so commands are taken one after the other:
//! were a later one taken while an earlier one was turned away, or was read when this instance had no say, the earlier one
//! would never be carried out. The topic has no transactions and is kept for ever, so its offsets have no holes.

use eventlog::bugs::Bug;

/// After so many commands of another topic, the partition's log says how far the commands topic is done with.
const SKIPPED_MAX: u32 = 1_000;

/// Where a writer stands in the commands topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Sources {
    /// The next offset to take; none while that is another instance's affair.
    next: Option<i64>,
    /// Accepted commands since the last of its own that were for another topic.
    skipped: u32,
}

impl Sources {
    /// The next offset to take; none where nothing is to be read.
    pub const fn next(&self) -> Option<i64> {
        self.next
    }

    /// Goes on behind what the folded log says is carried out.
    pub fn begin(&mut self, carried_out: Option<u64>) {
        let next = carried_out.map_or(0, |source| {
            i64::try_from(source).unwrap_or(i64::MAX).saturating_add(1)
        });
        *self = Self {
            next: Some(next),
            ..Self::default()
        };
    }

    /// Reads no more of it.
    pub fn end(&mut self) {
        *self = Self::default();
    }

    /// Takes the command at an offset; false where it was taken before, is not its affair, or an earlier one is not taken.
    pub fn take(&mut self, offset: i64) -> bool {
        if !self.is_due(offset) {
            return false;
        }
        *self = Self {
            next: Some(offset + 1),
            ..Self::default()
        };
        true
    }

    /// Passes over a command of another topic. True where the log should say how far the topic is done with: a new owner
    /// would have to read all of it again.
    pub fn skip(&mut self, offset: i64) -> bool {
        if !self.is_due(offset) {
            return false;
        }
        self.next = Some(offset + 1);
        self.skipped += 1;
        let says = self.skipped >= SKIPPED_MAX;
        if says {
            self.skipped = 0;
        }
        says
    }

    fn is_due(&self, offset: i64) -> bool {
        self.next
            .is_some_and(|next| next == offset || (Bug::PassOverTurnedAway.is_in() && next < offset))
    }

    /// What was taken at an offset was turned away: it is to be read once more. False where nothing is read.
    pub fn again(&mut self, offset: i64) -> bool {
        self.next = self.next.map(|next| next.min(offset));
        self.next.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_on_behind_what_is_carried_out() {
        let mut sources = Sources::default();
        assert!(!sources.take(0));
        sources.begin(Some(3));
        assert!(!sources.take(3));
        assert!(sources.take(4));
        assert!(!sources.take(4));
        assert_eq!(sources.next(), Some(5));
        sources.end();
        assert!(!sources.take(5));
    }

    #[test]
    fn nothing_is_taken_before_what_was_turned_away() {
        let mut sources = Sources::default();
        sources.begin(None);
        assert!((0..=6).all(|offset| sources.take(offset)));
        // Two were turned away; what was read with them and after them comes too early.
        assert!(sources.again(4) && sources.again(3));
        assert!(!sources.take(7) && !sources.skip(5) && !sources.take(4));
        assert_eq!(sources.next(), Some(3));
        assert!((3..=7).all(|offset| sources.take(offset)));
    }

    #[test]
    fn the_log_is_to_say_now_and_then_how_much_was_for_another_topic() {
        let mut sources = Sources::default();
        sources.begin(None);
        let said = (0..2_500).filter(|offset| sources.skip(*offset)).count();
        assert_eq!(said, 2);
        assert_eq!(sources.next(), Some(2_500));
    }
}
