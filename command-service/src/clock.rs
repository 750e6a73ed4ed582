//! The one place where the service reads the time of day; decisions and folds get it as a value.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use schemas::Timestamp;

/// When a request comes in.
pub(crate) fn now() -> Timestamp {
    let micros = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_micros());
    Timestamp(i64::try_from(micros).unwrap_or(i64::MAX))
}

/// By how much a [`Clock`] may be faster or slower than time itself while it follows the time of day: one part in twenty.
const SLEW: i64 = 20;

/// How often it looks at the time of day at most.
const STEP: Duration = Duration::from_millis(1);

/// The time of day for deadlines: it follows the system's clock, but never jumps with it. A clock that is set ahead by an hour
/// makes no order expire at once, and one that is set back never makes time run backwards.
#[derive(Debug)]
pub(crate) struct Clock {
    at: i64,
    read: Instant,
}

impl Clock {
    pub fn new() -> Self {
        Self {
            at: now().micros(),
            read: Instant::now(),
        }
    }

    pub fn now(&mut self) -> Timestamp {
        let elapsed = self.read.elapsed();
        if elapsed < STEP {
            let since = i64::try_from(elapsed.as_micros()).unwrap_or(0);
            return Timestamp(self.at.saturating_add(since));
        }
        self.read += elapsed;
        self.follow(elapsed, now().micros())
    }

    fn follow(&mut self, elapsed: Duration, time_of_day: i64) -> Timestamp {
        let elapsed = i64::try_from(elapsed.as_micros()).unwrap_or(0);
        let expected = self.at.saturating_add(elapsed);
        let off = time_of_day.saturating_sub(expected);
        self.at = expected.saturating_add(off.clamp(-elapsed / SLEW, elapsed / SLEW));
        Timestamp(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    #[test]
    fn a_clock_that_jumps_is_followed_slowly_and_never_backwards() {
        let mut clock = Clock {
            at: 0,
            read: Instant::now(),
        };
        let minute = Duration::from_mins(1);
        let ahead = clock.follow(minute, 3_660 * SECOND).micros();
        assert_eq!(ahead, 63 * SECOND);
        let back = clock.follow(minute, -3_600 * SECOND).micros();
        assert_eq!(back, 120 * SECOND);
        assert_eq!(clock.follow(minute, 180 * SECOND).micros(), 180 * SECOND);
    }
}
