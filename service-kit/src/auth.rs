//! Who may call what only services call: whoever has the secret of the consistency tokens, which only the services have.
//!
//! From that one secret follows a key for each purpose, so that no token can ever be a bearer, and no bearer is of use for
//! anything but its purpose. What it does not do: tell services apart, or users.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hmac::{Hmac, KeyInit, Mac};
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue};
use sha2::Sha256;

use crate::Problem;
use crate::problem::kinds;

const SCHEME: &str = "Bearer ";

/// The purpose of requests that one service sends another one.
const SERVICES: &[u8] = b"tailwater requests between services, version 1";

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    // HMAC takes keys of any length; the error is the type's, not ours.
    <Hmac<Sha256> as KeyInit>::new_from_slice(key)
        .unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"))
}

/// Makes and checks the bearers of one purpose.
#[derive(Clone)]
pub struct BearerKey(Hmac<Sha256>);

impl BearerKey {
    /// The key that follows from the secret of the consistency tokens for a purpose.
    pub fn new(secret: &[u8], purpose: &[u8]) -> Self {
        Self(keyed(
            &keyed(secret).chain_update(purpose).finalize().into_bytes(),
        ))
    }

    /// The value of `Authorization` for requests to `audience`.
    pub fn bearer(&self, audience: &[u8]) -> HeaderValue {
        let mac = self.0.clone().chain_update(audience).finalize();
        let text = format!("{SCHEME}{}", hex::encode(mac.into_bytes()));
        let mut value = HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(SCHEME));
        value.set_sensitive(true);
        value
    }

    /// Whether a request to `audience` has its bearer. Takes as long whatever is wrong with it.
    pub fn admits(&self, headers: &HeaderMap, audience: &[u8]) -> bool {
        let bearer = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        bearer
            .and_then(|text| text.strip_prefix(SCHEME))
            .and_then(|text| hex::decode(text).ok())
            .is_some_and(|mac| self.0.clone().chain_update(audience).verify_slice(&mac).is_ok())
    }
}

impl std::fmt::Debug for BearerKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BearerKey(***)")
    }
}

/// Makes and checks the bearer of requests that one service sends another one: the same for all of them.
#[derive(Clone, Debug)]
pub struct ServiceKey(BearerKey);

impl ServiceKey {
    /// The key that follows from the secret of the consistency tokens.
    pub fn new(secret: &[u8]) -> Self {
        Self(BearerKey::new(secret, SERVICES))
    }

    /// The value of `Authorization`.
    pub fn bearer(&self) -> HeaderValue {
        self.0.bearer(&[])
    }

    /// Whether a request comes from one of the services.
    pub fn admits(&self, headers: &HeaderMap) -> bool {
        self.0.admits(headers, &[])
    }
}

/// Middleware: 401 unless the request comes from one of the services. Nothing else of it is looked at before.
pub async fn services_only(State(key): State<ServiceKey>, request: Request, next: Next) -> Response {
    if key.admits(request.headers()) {
        return next.run(request).await;
    }
    let refused = Problem::of(
        &kinds::UNAUTHORIZED,
        "Only the services of this system may ask this.",
    );
    let mut response = refused.into_response();
    response
        .headers_mut()
        .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bearer_is_for_one_purpose_one_audience_and_one_secret() {
        let key = BearerKey::new(b"0123456789abcdef", b"this");
        let headers: HeaderMap = [(AUTHORIZATION, key.bearer(b"you"))].into_iter().collect();
        assert!(key.admits(&headers, b"you"));
        assert!(!key.admits(&headers, b"me"));
        assert!(!key.admits(&HeaderMap::new(), b"you"));
        assert!(!BearerKey::new(b"0123456789abcdef", b"that").admits(&headers, b"you"));
        assert!(!BearerKey::new(b"0123456789abcdeg", b"this").admits(&headers, b"you"));
        assert_eq!(
            format!("{:?} {key:?}", key.bearer(b"you")),
            "Sensitive BearerKey(***)"
        );
    }

    #[test]
    fn what_is_no_bearer_is_refused() {
        let key = ServiceKey::new(b"0123456789abcdef");
        for text in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer 00",
            "Basic eA==",
            "Bearer \u{e9}",
        ] {
            let value = HeaderValue::from_bytes(text.as_bytes()).unwrap();
            let headers: HeaderMap = [(AUTHORIZATION, value)].into_iter().collect();
            assert!(!key.admits(&headers), "{text}");
        }
        let headers: HeaderMap = [(AUTHORIZATION, key.bearer())].into_iter().collect();
        assert!(key.admits(&headers));
    }
}
