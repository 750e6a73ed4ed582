//! The one time that a fold may use.

use serde::{Deserialize, Serialize};

/// A point in time in microseconds since the Unix epoch, UTC: Avro's `timestamp-micros`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Microseconds since the Unix epoch.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// RFC 3339 in UTC, with as many digits of a second as the value needs; clamped to the years that RFC 3339 has.
    pub fn rfc3339(self) -> String {
        let max = jiff::Timestamp::MAX.as_microsecond();
        let min = jiff::Timestamp::MIN.as_microsecond();
        jiff::Timestamp::from_microsecond(self.0.clamp(min, max))
            .map_or_else(|_| String::new(), |at| at.to_string())
    }
}
