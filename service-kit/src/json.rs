//! Request bodies: strict JSON, with an exact answer for each way to get it wrong.
//!
//! 415 not declared as JSON, 413 over [`BODY_BYTES_MAX`], 400 not one JSON value in UTF-8, 422 another schema than the request's
//! (give the target `#[serde(deny_unknown_fields)]`). The good path parses once and copies nothing; only a refusal parses again.

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, header};
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::{FieldError, Problem};

/// The largest body that is read.
pub const BODY_BYTES_MAX: usize = 256 * 1024;

/// How much of a body that is too large is read all the same.
const DISCARDED_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How many wrong members one answer lists.
const ERRORS_MAX: usize = 100;

/// A request with a strict JSON body: the value, the bytes that it came as (a command's fingerprint is made of them), and the rest of
/// the request, which is handed over and not copied.
#[derive(Clone, Debug)]
pub struct StrictJson<T> {
    /// Method, path and headers.
    pub parts: Parts,
    /// What the body says.
    pub value: T,
    /// The body, byte for byte.
    pub raw: Bytes,
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for StrictJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        check_media_type(&parts.headers)?;
        let raw = read_body(&parts.headers, body).await?;
        let value = parse(&raw)?;
        Ok(Self { parts, value, raw })
    }
}

/// 415 unless the body is declared as `application/json`, in UTF-8 if it says so, and not encoded.
pub fn check_media_type(headers: &HeaderMap) -> Result<(), Problem> {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(media_type), None) = (types.next(), types.next()) else {
        return Err(Problem::unsupported_media_type(
            "Content-Type must be there, once.",
        ));
    };
    if !is_json(media_type) {
        return Err(Problem::unsupported_media_type(
            "Content-Type is not application/json (charset=utf-8).",
        ));
    }
    let identity =
        |encoding: &HeaderValue| encoding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity");
    if headers.get_all(header::CONTENT_ENCODING).iter().all(identity) {
        Ok(())
    } else {
        Err(Problem::unsupported_media_type(
            "Content-Encoding: only a plain body can be read.",
        ))
    }
}

fn is_json(media_type: &HeaderValue) -> bool {
    if media_type.as_bytes() == b"application/json" {
        return true;
    }
    let Ok(text) = media_type.to_str() else {
        return false;
    };
    let mut parts = text.split(';').map(str::trim);
    parts
        .next()
        .is_some_and(|essence| essence.eq_ignore_ascii_case("application/json"))
        && parts.filter(|parameter| !parameter.is_empty()).all(|parameter| {
            parameter.split_once('=').is_some_and(|(name, value)| {
                name.trim().eq_ignore_ascii_case("charset")
                    && value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
            })
        })
}

/// The body, of [`BODY_BYTES_MAX`] at most; a body that came in one piece is not copied.
async fn read_body(headers: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
    let declared = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let broken = |_| Problem::not_json("The body ended before it was complete.");
    let mut chunks = body.into_data_stream();
    let Some(first) = chunks.next().await.transpose().map_err(broken)? else {
        return Ok(Bytes::new());
    };
    if declared == Some(first.len() as u64) && first.len() <= BODY_BYTES_MAX {
        return Ok(first);
    }
    let mut body = BytesMut::from(first);
    while let Some(chunk) = chunks.next().await.transpose().map_err(broken)? {
        if body.len() + chunk.len() > BODY_BYTES_MAX {
            discard(chunks).await;
            return Err(Problem::too_large(BODY_BYTES_MAX));
        }
        body.extend_from_slice(&chunk);
    }
    if body.len() > BODY_BYTES_MAX {
        Err(Problem::too_large(BODY_BYTES_MAX))
    } else {
        Ok(body.freeze())
    }
}

/// Takes the rest of a body that is refused, up to a limit: many clients send all of it before they look at the answer,
/// and would see a reset connection instead.
async fn discard(mut chunks: axum::body::BodyDataStream) {
    let mut left = DISCARDED_BYTES_MAX;
    while let Some(Ok(chunk)) = chunks.next().await {
        left = left.saturating_sub(chunk.len());
        if left == 0 {
            return;
        }
    }
}

/// A value from exactly one JSON text.
pub fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let text = std::str::from_utf8(body).map_err(|_| Problem::not_json("The body is not UTF-8."))?;
    serde_json::from_str(text).map_err(|_| explain::<T>(text))
}

/// Why a text was refused: no JSON at all, or not the schema, and then where.
fn explain<T: DeserializeOwned>(text: &str) -> Problem {
    if let Err(error) = serde_json::from_str::<IgnoredAny>(text) {
        return Problem::not_json(error.to_string());
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    match serde_path_to_error::deserialize::<_, T>(&mut deserializer) {
        Err(error) => {
            let message = error.inner().to_string();
            let detail = message
                .rsplit_once(" at line ")
                .map_or(message.as_str(), |(detail, _)| detail)
                .to_owned();
            Problem::invalid(vec![FieldError {
                pointer: pointer(error.path(), &detail),
                detail,
            }])
        }
        Ok(_) => Problem::not_json("The body is not one JSON value."),
    }
}

/// The JSON pointer of a refused member; a missing, unknown or doubled one is named by the message only.
fn pointer(path: &serde_path_to_error::Path, detail: &str) -> String {
    use serde_path_to_error::Segment;
    let mut pointer = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => push(&mut pointer, &index.to_string()),
            Segment::Map { key } => push(&mut pointer, key),
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    for prefix in ["missing field `", "unknown field `", "duplicate field `"] {
        if let Some((member, _)) = detail.strip_prefix(prefix).and_then(|rest| rest.split_once('`')) {
            let escaped = escape(member);
            if pointer.rsplit('/').next() != Some(escaped.as_str()) {
                push(&mut pointer, member);
            }
        }
    }
    pointer
}

fn push(pointer: &mut String, segment: &str) {
    pointer.push('/');
    pointer.push_str(&escape(segment));
}

fn escape(segment: &str) -> String {
    segment.replace('~', "~0").replace('/', "~1")
}

/// Collects what is wrong with a body that has the right types, so that one answer says all of it.
#[derive(Debug, Default)]
pub struct Violations(Vec<FieldError>);

impl Violations {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes one unless `holds`. The pointer is made only where it is needed.
    pub fn check(&mut self, holds: bool, pointer: impl FnOnce() -> String, detail: &str) {
        if !holds && self.0.len() < ERRORS_MAX {
            self.0.push(FieldError::new(pointer(), detail));
        }
    }

    /// 422 with all of them, if there are any.
    pub fn finish(self) -> Result<(), Problem> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Problem::invalid(self.0))
        }
    }
}

/// An answer in JSON.
pub fn respond<T: Serialize>(status: u16, value: &T) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => respond_bytes(status, body.into()),
        Err(error) => {
            tracing::error!(%error, "an answer cannot be written as JSON");
            Problem::of(&crate::problem::kinds::INTERNAL, "The answer cannot be written.").into_response()
        }
    }
}

/// An answer from JSON that is there already.
pub fn respond_bytes(status: u16, body: Bytes) -> Response {
    let status = http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::OK);
    (
        status,
        [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))],
        body,
    )
        .into_response()
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Line {
        sku: String,
        quantity: i64,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Order {
        customer_id: String,
        lines: Vec<Line>,
    }

    #[track_caller]
    fn refused(body: &str) -> (u16, String) {
        let problem = parse::<Order>(body.as_bytes()).unwrap_err();
        (
            problem.status().as_u16(),
            problem
                .errors()
                .first()
                .map(|error| error.pointer.clone())
                .unwrap_or_default(),
        )
    }

    #[test]
    fn what_is_not_one_json_value_is_400() {
        for body in [
            "",
            " ",
            "{",
            "nonsense",
            "{} {}",
            r#"{"customer_id": 3,}"#,
            "\u{feff}{}",
            "'a'",
            "NaN",
        ] {
            assert_eq!(refused(body).0, 400, "{body}");
        }
        assert_eq!(
            refused(r#"{"customer_id": 3} x"#).0,
            400,
            "a wrong type before the garbage changes nothing"
        );
        assert_eq!(
            parse::<Order>(b"{\"customer_id\":\"\xff\"}")
                .unwrap_err()
                .status(),
            400
        );
    }

    #[test]
    fn another_schema_is_422_and_says_where() {
        let line = r#"{"sku":"a","quantity":1}"#;
        let cases = [
            ("null".to_owned(), ""),
            ("[]".to_owned(), ""),
            ("{}".to_owned(), "/customer_id"),
            (r#"{"customer_id":"c","lines":3}"#.to_owned(), "/lines"),
            (r#"{"customer_id":"c","lines":[],"x/y~":1}"#.to_owned(), "/x~1y~0"),
            (
                format!(r#"{{"customer_id":"c","lines":[{line},{{"sku":"a"}}]}}"#),
                "/lines/1/quantity",
            ),
            (
                format!(r#"{{"customer_id":"c","lines":[{line},{{"sku":"a","quantity":1.5}}]}}"#),
                "/lines/1/quantity",
            ),
            (
                format!(r#"{{"customer_id":"c","lines":[{line},{{"sku":"a","quantity":1e999}}]}}"#),
                "/lines/1/quantity",
            ),
            (
                r#"{"customer_id":"c","lines":[{"sku":"a","quantity":1,"price":3}]}"#.to_owned(),
                "/lines/0/price",
            ),
            (
                r#"{"customer_id":"c","customer_id":"d","lines":[]}"#.to_owned(),
                "/customer_id",
            ),
        ];
        for (body, pointer) in cases {
            assert_eq!(refused(&body), (422, pointer.to_owned()), "{body}");
        }
    }

    #[test]
    fn deep_nesting_is_refused_without_harm() {
        assert_eq!(refused(&"[".repeat(100_000)).0, 400);
        let deep = format!(
            r#"{{"customer_id":{}1{}}}"#,
            "[".repeat(50_000),
            "]".repeat(50_000)
        );
        assert_eq!(refused(&deep).0, 422);
    }

    #[test]
    fn media_types() {
        let with = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(value));
            headers
        };
        for good in [
            "application/json",
            "Application/JSON; charset=UTF-8",
            "application/json;charset=\"utf-8\"",
            "application/json;",
        ] {
            assert!(check_media_type(&with(good)).is_ok(), "{good}");
        }
        for bad in [
            "",
            "text/json",
            "application/json; charset=latin1",
            "application/json; v=1",
            "application/jsonx",
            "application/problem+json",
        ] {
            assert_eq!(check_media_type(&with(bad)).unwrap_err().status(), 415, "{bad}");
        }
        assert_eq!(check_media_type(&HeaderMap::new()).unwrap_err().status(), 415);
        let mut gzip = with("application/json");
        gzip.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        assert_eq!(check_media_type(&gzip).unwrap_err().status(), 415);
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_413_declared_or_not() {
        for declared in [true, false] {
            let mut request = Request::builder().header(header::CONTENT_TYPE, "application/json");
            if declared {
                request = request.header(header::CONTENT_LENGTH, BODY_BYTES_MAX + 1);
            }
            let body = axum::body::Body::from(vec![b' '; BODY_BYTES_MAX + 1]);
            let refused = StrictJson::<Order>::from_request(request.body(body).unwrap(), &())
                .await
                .unwrap_err();
            assert_eq!(refused.status(), 413);
        }
    }

    proptest::proptest! {
        #[test]
        fn any_body_is_read_or_refused_as_the_clients_fault(body: Vec<u8>) {
            if let Err(problem) = parse::<Order>(&body) {
                proptest::prop_assert!(matches!(problem.status().as_u16(), 400 | 422));
            }
        }
    }
}
