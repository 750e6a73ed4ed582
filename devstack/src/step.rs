//! Tells the person at the terminal what is being done and how long it took; quiet in tests.

use std::time::{Duration, Instant};

/// Where progress goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Nowhere.
    Quiet,
    /// To standard error, a line for each step.
    Stderr,
}

impl Progress {
    /// Prints one line.
    pub fn say(self, line: &str) {
        if self == Self::Stderr {
            eprintln!("{line}");
        }
    }

    /// A step that takes longer than a person waits without wondering: announced, then timed.
    pub fn step<T, E>(self, what: &str, work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let begun = Instant::now();
        self.say(&format!("· {what} …"));
        let outcome = work();
        let verdict = if outcome.is_ok() { "done" } else { "FAILED" };
        self.say(&format!("  {verdict} after {}", seconds(begun.elapsed())));
        outcome
    }
}

/// A duration as people say it.
pub fn seconds(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds >= 100 {
        format!("{} min {} s", seconds / 60, seconds % 60)
    } else {
        format!("{:.1} s", duration.as_secs_f64())
    }
}
