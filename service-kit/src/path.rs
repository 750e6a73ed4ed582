//! Ids in paths: what is not an id is 400, never a look-up that finds nothing.

use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, Path};
use http::request::Parts;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::Problem;

/// Like axum's `Path`, with a [`Problem`] where the path cannot be read. Take strings, and parse them with [`uuid()`] and [`name()`].
#[derive(Clone, Debug)]
pub struct Params<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Path::<T>::from_request_parts(parts, state)
            .await
            .map(|Path(value)| Self(value))
            .map_err(|rejection: PathRejection| Problem::malformed_path(rejection.body_text()))
    }
}

/// A UUID in its usual form with hyphens, in either case.
pub fn uuid(what: &str, text: &str) -> Result<Uuid, Problem> {
    let hyphenated = text.len() == 36 && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit());
    Uuid::try_parse(text)
        .ok()
        .filter(|_| hyphenated)
        .ok_or_else(|| Problem::malformed_path(format!("The {what} is not a UUID.")))
}

/// A customer id or SKU: 1 to 64 of `[A-Za-z0-9._~-]`, not `.` or `..`.
pub fn name<'a>(what: &str, text: &'a str) -> Result<&'a str, Problem> {
    if is_name(text) {
        Ok(text)
    } else {
        Err(Problem::malformed_path(format!(
            "The {what} is not 1 to 64 of A-Z a-z 0-9 . _ ~ - (and not . or ..)."
        )))
    }
}

/// Whether a text can be a customer id or SKU.
pub fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'~' | b'-'))
        && text != "."
        && text != ".."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_of_the_alphabet_and_no_dots_alone() {
        for good in ["a", "85123A", "...", "x.y_z~-", &"a".repeat(64)] {
            assert!(name("SKU", good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a b", "ä", "a/b", &"a".repeat(65), "a\n"] {
            assert!(name("SKU", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_the_hyphenated_form_is_a_uuid() {
        let id = "0198c2a4-0000-7000-8000-0000000000ab";
        assert!(uuid("order id", id).is_ok());
        assert!(uuid("order id", &id.to_uppercase()).is_ok());
        for bad in [
            &id.replace('-', ""),
            &format!("{{{id}}}"),
            &format!("urn:uuid:{id}"),
            "",
            "x",
            &id[1..],
        ] {
            assert_eq!(uuid("order id", bad).unwrap_err().status(), 400, "{bad}");
        }
    }
}
