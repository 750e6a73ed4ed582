//! Error answers: `application/problem+json` (RFC 9457) with a type that the service itself explains.
//!
//! A [`ProblemKind`] is frozen (slug, status, title); a [`Problem`] is one occurrence of it. The kinds that any service can
//! answer are in [`kinds`]; a service adds its own (the domain's reasons) when it builds its router.

use std::borrow::Cow;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

pub mod kinds;

/// The media type of every error answer.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// One row of the catalogue of problems.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProblemKind {
    /// The last segment of its type, `/problems/<slug>`.
    pub slug: &'static str,
    /// The status that it is answered with.
    pub status: u16,
    /// Short, the same for every occurrence.
    pub title: &'static str,
    /// What it means and what to do, for the page behind its type.
    pub about: &'static str,
}

/// What is wrong with one member of a JSON body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldError {
    /// JSON pointer (RFC 6901) into the body; empty for the body as a whole.
    pub pointer: String,
    /// What is wrong with it.
    pub detail: String,
}

impl FieldError {
    /// An error at that pointer.
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            pointer: pointer.into(),
            detail: detail.into(),
        }
    }
}

/// One error answer. Small, as it is the error of nearly every function here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem(Box<Members>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Members {
    status: StatusCode,
    slug: Cow<'static, str>,
    title: Cow<'static, str>,
    detail: Cow<'static, str>,
    errors: Vec<FieldError>,
    sequence: Option<u64>,
    available: Option<i64>,
    retry_after_s: Option<u32>,
}

impl Problem {
    /// An occurrence of a problem that is in no table of kinds; prefer [`Problem::of`].
    pub fn new(
        status: u16,
        slug: impl Into<Cow<'static, str>>,
        title: impl Into<Cow<'static, str>>,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self(Box::new(Members {
            status: StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            slug: slug.into(),
            title: title.into(),
            detail: detail.into(),
            errors: Vec::new(),
            sequence: None,
            available: None,
            retry_after_s: None,
        }))
    }

    /// An occurrence of a kind.
    pub fn of(kind: &ProblemKind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(kind.status, kind.slug, kind.title, detail)
    }

    /// With the aggregate's sequence.
    #[must_use]
    pub fn with_sequence(mut self, sequence: Option<u64>) -> Self {
        self.0.sequence = sequence;
        self
    }

    /// With what is available of a SKU.
    #[must_use]
    pub fn with_available(mut self, available: Option<i64>) -> Self {
        self.0.available = available;
        self
    }

    /// With the members of the body that are wrong.
    #[must_use]
    pub fn with_errors(mut self, errors: Vec<FieldError>) -> Self {
        self.0.errors = errors;
        self
    }

    /// With `Retry-After`, in seconds.
    #[must_use]
    pub fn with_retry_after(mut self, seconds: u32) -> Self {
        self.0.retry_after_s = Some(seconds);
        self
    }

    /// The answer's status.
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// The last segment of its type.
    pub fn slug(&self) -> &str {
        &self.0.slug
    }

    /// What is wrong in this case.
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// The members of the body that are wrong.
    pub fn errors(&self) -> &[FieldError] {
        &self.0.errors
    }

    /// The body as text, as it is sent and recorded.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// An answer from a problem's recorded text.
    pub fn respond_recorded(status: u16, text: String) -> Response {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (
            status,
            [(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON))],
            text,
        )
            .into_response()
    }
}

impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("type", &format_args!("/problems/{}", self.0.slug))?;
        map.serialize_entry("title", &self.0.title)?;
        map.serialize_entry("status", &self.0.status.as_u16())?;
        map.serialize_entry("detail", &self.0.detail)?;
        if !self.0.errors.is_empty() {
            map.serialize_entry("errors", &self.0.errors)?;
        }
        if let Some(sequence) = self.0.sequence {
            map.serialize_entry("sequence", &sequence)?;
        }
        if let Some(available) = self.0.available {
            map.serialize_entry("available", &available)?;
        }
        map.end()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Self::respond_recorded(self.0.status.as_u16(), self.to_json());
        if let Some(seconds) = self.0.retry_after_s {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_has_the_members_of_its_case_and_no_others() {
        let problem = Problem::of(&kinds::INVALID, "one member is wrong")
            .with_errors(vec![FieldError::new("/lines/0/quantity", "is not positive")])
            .with_sequence(Some(4));
        let json: serde_json::Value = serde_json::from_str(&problem.to_json()).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "type": "/problems/invalid-request", "title": kinds::INVALID.title, "status": 422,
                "detail": "one member is wrong",
                "errors": [{"pointer": "/lines/0/quantity", "detail": "is not positive"}], "sequence": 4,
            })
        );
    }

    #[test]
    fn an_answer_has_its_media_type_and_retry_after() {
        let response = Problem::unavailable("nobody is there", 2).into_response();
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()[header::CONTENT_TYPE], PROBLEM_JSON);
        assert_eq!(response.headers()[header::RETRY_AFTER], "2");
    }
}
