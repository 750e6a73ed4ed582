//! Times in documents: RFC 3339 in UTC outside, microseconds inside.

use schemas::Timestamp;
use serde::{Deserialize, Deserializer, Serializer, de::Error};

/// For `#[serde(with)]`.
pub fn serialize<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&at.rfc3339())
}

/// For `#[serde(with)]`.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
    parse(&text).ok_or_else(|| D::Error::custom("not a time in RFC 3339"))
}

/// A time in RFC 3339, with an offset; none for anything else.
pub fn parse(text: &str) -> Option<Timestamp> {
    text.parse::<jiff::Timestamp>()
        .ok()
        .map(|at| Timestamp(at.as_microsecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_comes_back_as_it_was() {
        for at in [0, 1, -1, 1_700_000_000_123_456, 1_700_000_000_000_000] {
            assert_eq!(parse(&Timestamp(at).rfc3339()), Some(Timestamp(at)));
        }
        assert_eq!(parse("2026-11-21"), None);
        assert_eq!(parse("2026-11-21T10:00:00"), None, "no offset");
        assert_eq!(parse("1970-01-01T01:00:00+01:00"), Some(Timestamp(0)));
    }
}
