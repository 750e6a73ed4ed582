//! The one place where the service reads the time of day; decisions and folds get it as a value.

use std::time::{SystemTime, UNIX_EPOCH};

use schemas::Timestamp;

/// When a command comes in, a client's or our own.
pub(crate) fn now() -> Timestamp {
    let micros = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_micros());
    Timestamp(i64::try_from(micros).unwrap_or(i64::MAX))
}
