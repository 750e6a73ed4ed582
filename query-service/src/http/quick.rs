//! The shortest way to an answer: one aggregate that memory has, asked for with nothing that needs thought.
//!
//! That is nearly every read of a busy service, so nothing is parsed that need not be, and nothing is copied. What is not
//! plain goes the usual way, which answers the same, and says what is wrong with a request. Where it is only memory that does not
//! have it, the router is still spared.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use eventlog::Positions;
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use service_kit::basics::Shortcut;
use service_kit::headers::names;
use service_kit::path;
use uuid::Uuid;

use super::request::MODEL;
use super::{App, orders, stock};
use crate::cache::key::KeyRef;
use crate::reads::Source;

/// Room for every header that an answer gets here and on its way out. One more would make the map twice as large.
const HEADERS: usize = 6;

/// How a GET is answered that the router has not seen.
pub(super) fn shortcut(app: &Arc<App>, request: Request) -> Shortcut {
    let Some((route, key)) = asked(request.uri()) else {
        return Shortcut::None(request);
    };
    if let Some(response) = answer(app, &key, request.headers()) {
        return Shortcut::Now(route, response);
    }
    match key {
        KeyRef::Order(id) => {
            let (app, headers) = (Arc::clone(app), request.into_parts().0.headers);
            let latest = async move { orders::latest(&app, id, &headers).await.into_response() };
            Shortcut::Later(route, Box::pin(latest))
        }
        KeyRef::Stock(sku) if path::is_name(sku) => {
            let sku = sku.to_owned();
            let (app, headers) = (Arc::clone(app), request.into_parts().0.headers);
            let latest = async move { stock::latest(&app, &sku, &headers).await.into_response() };
            Shortcut::Later(route, Box::pin(latest))
        }
        _ => Shortcut::None(request),
    }
}

/// The aggregate that a path names, as it is now, and the path's route.
fn asked(uri: &Uri) -> Option<(&'static str, KeyRef<'_>)> {
    if uri.query().is_some() {
        return None;
    }
    let path = uri.path();
    if let Some(id) = segment(path, "/v1/orders/") {
        Some(("/v1/orders/{id}", KeyRef::Order(uuid(id)?)))
    } else {
        let sku = segment(path, "/v1/stock/")?;
        Some(("/v1/stock/{sku}", KeyRef::Stock(sku)))
    }
}

/// An id in its usual form. What is none, or not quite, goes the usual way.
fn uuid(text: &str) -> Option<Uuid> {
    (text.len() == 36).then(|| Uuid::try_parse(text).ok())?
}

/// What memory has, if it is all that is asked for.
fn answer(app: &App, key: &KeyRef<'_>, headers: &HeaderMap) -> Option<Response> {
    let known = app.known.get()?;
    let Plain { token, tag } = Plain::of(headers)?;
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

/// The headers of a request that needs no thought.
#[derive(Debug, Default, PartialEq, Eq)]
struct Plain<'a> {
    token: Option<&'a HeaderValue>,
    tag: Option<&'a HeaderValue>,
}

impl<'a> Plain<'a> {
    /// One look at each header that is there: there are few, and most that could matter are not among them.
    fn of(headers: &'a HeaderMap) -> Option<Self> {
        let mut plain = Self::default();
        for (name, value) in headers {
            let place = if *name == header::IF_NONE_MATCH {
                &mut plain.tag
            } else if *name == names::CONSISTENCY_TOKEN {
                &mut plain.token
            } else if [names::CONSISTENCY, names::PREFER, MODEL].contains(name) {
                return None;
            } else {
                continue;
            };
            if place.replace(value).is_some() {
                return None;
            }
        }
        plain.tag.is_none_or(is_plain).then_some(plain)
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
    }

    #[test]
    fn headers_that_need_thought_go_the_usual_way() {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
        assert_eq!(Plain::of(&headers), Some(Plain::default()));
        let (tag, token) = (HeaderValue::from_static("\"1\""), HeaderValue::from_static("t"));
        headers.append(header::IF_NONE_MATCH, tag.clone());
        headers.append(names::CONSISTENCY_TOKEN, token.clone());
        let both = Plain {
            token: Some(&token),
            tag: Some(&tag),
        };
        assert_eq!(Plain::of(&headers), Some(both));
        for (name, value) in [
            (header::IF_NONE_MATCH, "\"2\""),
            (names::CONSISTENCY_TOKEN, "t"),
            (names::CONSISTENCY, "eventual"),
            (names::PREFER, "wait=1"),
            (MODEL, "redis"),
        ] {
            let mut headers = headers.clone();
            headers.append(&name, HeaderValue::from_static(value));
            assert_eq!(Plain::of(&headers), None, "{name}");
        }
        headers.insert(header::IF_NONE_MATCH, HeaderValue::from_static("W/\"1\""));
        assert_eq!(Plain::of(&headers), None);
    }
}
