//! The shortest way to an answer: one aggregate that memory has, asked for with nothing that needs thought.
//!
//! That is nearly every read of a busy service, so nothing is parsed that need not be, and nothing is copied. What is not
//! plain goes the usual way, which answers the same, and says what is wrong with a request.

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use eventlog::Positions;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use service_kit::basics::Shortcut;
use service_kit::headers::names;
use uuid::Uuid;

use super::App;
use super::request::MODEL;
use crate::cache::key::KeyRef;
use crate::reads::Source;

/// Room for every header that an answer gets here and on its way out.
const HEADERS: usize = 12;

/// The answer to a GET, if it can be given right now.
pub(super) fn shortcut(app: &App, request: &Request) -> Option<Shortcut> {
    let uri = request.uri();
    if uri.query().is_some() {
        return None;
    }
    let path = uri.path();
    let (route, key) = if let Some(id) = segment(path, "/v1/orders/") {
        ("/v1/orders/{id}", KeyRef::Order(uuid(id)?))
    } else if let Some(sku) = segment(path, "/v1/stock/") {
        ("/v1/stock/{sku}", KeyRef::Stock(sku))
    } else {
        return None;
    };
    let response = answer(app, &key, request.headers())?;
    Some(Shortcut { route, response })
}

/// An id in its usual form. What is none, or not quite, goes the usual way.
fn uuid(text: &str) -> Option<Uuid> {
    (text.len() == 36).then(|| Uuid::try_parse(text).ok())?
}

fn answer(app: &App, key: &KeyRef<'_>, headers: &HeaderMap) -> Option<Response> {
    let known = app.known.get()?;
    let wants_more = [&names::CONSISTENCY, &names::PREFER, &MODEL]
        .into_iter()
        .any(|name| headers.contains_key(name));
    if wants_more {
        return None;
    }
    let token = at_most_one(headers, &names::CONSISTENCY_TOKEN).ok()?;
    let tag = at_most_one(headers, &header::IF_NONE_MATCH).ok()?;
    if tag.is_some_and(|tag| !is_plain(tag)) {
        return None;
    }
    let entry = known.cache.find(key, &Positions::new()).ok()?;
    let (version, json) = (entry.version.as_ref()?, entry.json.as_ref()?);
    // The token that this very answer gave: nothing has to be opened to know that it is covered, and what it says.
    if token.is_some_and(|token| token != entry.token) {
        return None;
    }
    known.cache.metrics().hit(key.kind());
    let mut response = if tag.is_some_and(|tag| tag == "*" || tag == version.etag) {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response.headers_mut().reserve(HEADERS);
        response
    } else {
        let mut response = Response::new(Body::from(json.clone()));
        let headers = response.headers_mut();
        headers.reserve(HEADERS);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    };
    let headers = response.headers_mut();
    headers.insert(header::ETAG, version.etag.clone());
    headers.insert(names::CONSISTENCY_TOKEN, entry.token.clone());
    headers.insert(
        names::SERVED_FROM,
        HeaderValue::from_static(Source::Memory.name()),
    );
    let caching = entry.kind.policy().cache_control;
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(caching));
    Some(response)
}

/// A header that is there once or not at all.
fn at_most_one<'a>(headers: &'a HeaderMap, name: &http::HeaderName) -> Result<Option<&'a HeaderValue>, ()> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        Err(())
    } else {
        Ok(first)
    }
}

/// One tag as we write them, digits in quotes, or any.
fn is_plain(tag: &HeaderValue) -> bool {
    match tag.as_bytes() {
        b"*" => true,
        [b'"', digits @ .., b'"'] => !digits.is_empty() && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

/// The last segment of a path, where it needs no decoding.
fn segment<'a>(path: &'a str, before: &str) -> Option<&'a str> {
    path.strip_prefix(before)
        .filter(|rest| !rest.contains(['%', '/']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_plain_goes_this_way() {
        let of = |text: &'static str| is_plain(&HeaderValue::from_static(text));
        assert!(of("\"12\"") && of("*"));
        for not in ["\"\"", "**", "W/\"1\"", "\"1\", \"2\"", "\"", "12", "\"x\""] {
            assert!(!of(not), "{not}");
        }
        assert_eq!(segment("/v1/stock/a", "/v1/stock/"), Some("a"));
        assert_eq!(segment("/v1/stock/a%20b", "/v1/stock/"), None);
        assert_eq!(segment("/v1/stock/a/b", "/v1/stock/"), None);
        let mut headers = HeaderMap::new();
        assert_eq!(at_most_one(&headers, &header::IF_NONE_MATCH), Ok(None));
        headers.append(header::IF_NONE_MATCH, HeaderValue::from_static("\"1\""));
        assert!(at_most_one(&headers, &header::IF_NONE_MATCH).unwrap().is_some());
        headers.append(header::IF_NONE_MATCH, HeaderValue::from_static("\"2\""));
        assert_eq!(at_most_one(&headers, &header::IF_NONE_MATCH), Err(()));
    }
}
