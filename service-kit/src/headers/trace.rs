//! W3C trace context: `traceparent` in, `Trace-Id` out. What cannot be read starts a new trace, as the standard asks.

use http::{HeaderMap, HeaderValue};

use super::names;

/// The trace that a request belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The same on everything that belongs together.
    pub trace_id: [u8; 16],
    /// The caller's span, or one made up here.
    pub parent_id: [u8; 8],
    /// Whether the caller records the trace.
    pub sampled: bool,
}

impl TraceContext {
    /// The caller's trace, or a new one that is not sampled.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut values = headers.get_all(names::TRACEPARENT).iter();
        match (values.next(), values.next()) {
            (Some(value), None) => Self::parse(value.as_bytes()).unwrap_or_else(Self::random),
            _ => Self::random(),
        }
    }

    /// A new trace.
    pub fn random() -> Self {
        Self {
            trace_id: fastrand::u128(1..).to_be_bytes(),
            parent_id: fastrand::u64(1..).to_be_bytes(),
            sampled: false,
        }
    }

    /// `00-<trace id>-<parent id>-<flags>`; later versions may have more behind it.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let version = text.get(..2)?;
        let shape = text.len() >= 55 && [2, 35, 52].iter().all(|at| text[*at] == b'-');
        let end = text
            .get(55..)
            .is_some_and(|more| more.is_empty() || (version != b"00" && more[0] == b'-'));
        let lower_hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if !shape || !end || version == b"ff" || !version.iter().all(lower_hex) {
            return None;
        }
        let (mut trace_id, mut parent_id, mut flags) = ([0; 16], [0; 8], [0; 1]);
        for (bytes, range) in [
            (&mut trace_id[..], 3..35),
            (&mut parent_id[..], 36..52),
            (&mut flags[..], 53..55),
        ] {
            let digits = &text[range];
            if !digits.iter().all(lower_hex) {
                return None;
            }
            hex::decode_to_slice(digits, bytes).ok()?;
        }
        let valid = trace_id != [0; 16] && parent_id != [0; 8];
        valid.then_some(Self {
            trace_id,
            parent_id,
            sampled: flags[0] & 1 == 1,
        })
    }

    /// The header for whoever is called next: the same trace.
    pub fn traceparent(&self) -> String {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        // Cannot fail: the lengths are right.
        let _ = hex::encode_to_slice(self.trace_id, &mut text[3..35]);
        let _ = hex::encode_to_slice(self.parent_id, &mut text[36..52]);
        text[54] += u8::from(self.sampled);
        String::from_utf8_lossy(&text).into_owned()
    }

    /// The value of `Trace-Id`.
    pub fn header_value(&self) -> HeaderValue {
        let mut digits = [0; 32];
        // Cannot fail: the lengths are right, and hex digits are ASCII.
        let _ = hex::encode_to_slice(self.trace_id, &mut digits);
        HeaderValue::from_bytes(&digits).unwrap_or(HeaderValue::from_static(""))
    }
}

impl<S: Send + Sync> axum::extract::FromRequestParts<S> for TraceContext {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(
        parts: &mut http::request::Parts,
        _state: &S,
    ) -> Result<Self, Self::Rejection> {
        Ok(parts
            .extensions
            .get::<Self>()
            .copied()
            .unwrap_or_else(|| Self::of(&parts.headers)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_trace_is_continued() {
        let trace = TraceContext::parse(GOOD.as_bytes()).unwrap();
        assert!(trace.sampled);
        assert_eq!(trace.traceparent(), GOOD);
        assert_eq!(trace.header_value(), "4bf92f3577b34da6a3ce929d0e0e4736");
    }

    #[test]
    fn what_is_not_one_starts_another() {
        let zero_trace = format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32));
        for bad in [
            "",
            "00",
            &GOOD[1..],
            &GOOD.to_uppercase(),
            &format!("{GOOD}-x"),
            &GOOD.replace("00-4", "ff-4"),
            &zero_trace,
            &GOOD.replace('-', "_"),
            "00-4bf92f3577b34da6a3ce929d0e0e473é-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceContext::parse(bad.as_bytes()), None, "{bad}");
        }
        assert!(
            TraceContext::parse(format!("01{}-more", &GOOD[2..]).as_bytes()).is_some(),
            "a later version"
        );
        assert_ne!(
            TraceContext::of(&HeaderMap::new()),
            TraceContext::of(&HeaderMap::new())
        );
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_parsed_or_refused(text: Vec<u8>) {
            let _ = TraceContext::parse(&text);
        }
    }
}
