//! Waiting for what must come true, with a deadline.

use std::time::{Duration, Instant};

/// Calls `check` until it gives a value, at most for `deadline`; fails with `what` otherwise.
pub async fn eventually<T>(what: &str, deadline: Duration, mut check: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = check().await {
            return value;
        }
        assert!(begun.elapsed() < deadline, "{what}: not within {deadline:?}");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}
