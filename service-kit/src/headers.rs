//! The request headers of the API, one parser for each. A malformed one is 400; one that must be single and is not, too.

use http::HeaderMap;

use crate::Problem;

mod accept;
mod caller;
mod consistency;
mod etag;
mod prefer;
pub mod trace;

pub use accept::{accepts_events, accepts_json};
pub use caller::{ANONYMOUS, caller};
pub use consistency::{Consistency, consistency};
pub use etag::{EntityTag, EntityTags, etag, if_match, if_none_match};
pub use prefer::{Prefer, WAIT_DEFAULT, WAIT_MAX, prefer};

/// Names of the API's own headers, lower case as `http` has them.
pub mod names {
    use http::HeaderName;

    /// The id of a command, chosen by its caller.
    pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
    /// On an answer that was given before.
    pub const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
    /// "At least this" on requests, "this" on answers.
    pub const CONSISTENCY_TOKEN: HeaderName = HeaderName::from_static("consistency-token");
    /// `eventual`, `causal` or `strong`.
    pub const CONSISTENCY: HeaderName = HeaderName::from_static("consistency");
    /// RFC 7240.
    pub const PREFER: HeaderName = HeaderName::from_static("prefer");
    /// W3C trace context.
    pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
    /// The trace's id on every answer.
    pub const TRACE_ID: HeaderName = HeaderName::from_static("trace-id");
    /// Which model a read came from.
    pub const SERVED_FROM: HeaderName = HeaderName::from_static("served-from");
}

/// The value of a header that may be there once, as text; 400 if it is there twice or is not ASCII.
pub fn single<'a>(headers: &'a HeaderMap, name: &http::HeaderName) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(Problem::malformed_header(
            name.as_str(),
            "is there more than once",
        ));
    }
    match value.to_str() {
        Ok(text) => Ok(Some(text.trim())),
        Err(_) => Err(Problem::malformed_header(
            name.as_str(),
            "has characters that are not visible ASCII",
        )),
    }
}

/// The `Idempotency-Key` that every POST needs: 1 to 255 visible ASCII characters.
pub fn idempotency_key(headers: &HeaderMap) -> Result<&str, Problem> {
    let Some(key) = single(headers, &names::IDEMPOTENCY_KEY)? else {
        return Err(Problem::of(
            &crate::problem::kinds::MISSING_IDEMPOTENCY_KEY,
            "A POST needs an Idempotency-Key.",
        ));
    };
    if (1..=255).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(key)
    } else {
        Err(Problem::malformed_header(
            "idempotency-key",
            "is not 1 to 255 visible ASCII characters",
        ))
    }
}

/// The `Consistency-Token` as it came, one token or several with commas between them; opening it is the event log's affair. An empty one is malformed.
pub fn consistency_token(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    match single(headers, &names::CONSISTENCY_TOKEN)? {
        Some("") => Err(Problem::malformed_token("The token is empty.")),
        token => Ok(token),
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue};

    use super::*;

    /// Headers of one name with those values.
    pub(crate) fn headers(name: &HeaderName, values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name.clone(), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn keys_are_visible_ascii_and_single() {
        let of = |values: &[&str]| {
            idempotency_key(&headers(&names::IDEMPOTENCY_KEY, values))
                .map(str::to_owned)
                .map_err(|p| p.slug().to_owned())
        };
        assert_eq!(of(&["k-1"]).unwrap(), "k-1");
        assert_eq!(of(&[&"x".repeat(255)]).unwrap().len(), 255);
        assert_eq!(of(&[]).unwrap_err(), "missing-idempotency-key");
        let long = "x".repeat(256);
        for bad in [&[""][..], &["a b"], &["a", "a"], &[&long]] {
            assert_eq!(of(bad).unwrap_err(), "malformed-header", "{bad:?}");
        }
        let mut bytes = HeaderMap::new();
        bytes.insert(names::IDEMPOTENCY_KEY, HeaderValue::from_bytes(b"\xff").unwrap());
        assert_eq!(idempotency_key(&bytes).unwrap_err().status(), 400);
    }

    #[test]
    fn a_token_is_single_and_not_empty() {
        let of = |values: &[&str]| {
            consistency_token(&headers(&names::CONSISTENCY_TOKEN, values)).map(|t| t.map(str::to_owned))
        };
        assert_eq!(of(&[]).unwrap(), None);
        assert_eq!(of(&["abc"]).unwrap().as_deref(), Some("abc"));
        assert_eq!(of(&[""]).unwrap_err().status(), 400);
        assert_eq!(of(&["a", "b"]).unwrap_err().status(), 400);
    }
}
