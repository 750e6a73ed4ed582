//! Waiting for what must come true, with a deadline.

use std::time::{Duration, Instant};

/// How long a test waits before it says that something hangs. It is about that and nothing else: no test asserts how fast
/// anything is, and a small machine that is busy takes its time.
pub const DEADLINE: Duration = Duration::from_mins(2);

/// Calls `check` until it gives a value, at most for [`DEADLINE`]; fails with `what` otherwise.
pub async fn eventually<T>(what: &str, mut check: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = check().await {
            return value;
        }
        assert!(begun.elapsed() < DEADLINE, "{what}: not within {DEADLINE:?}");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}
