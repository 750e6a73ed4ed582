//! The problems that any service can answer, and their constructors. Slugs are frozen: clients compare them.

use super::{FieldError, Problem, ProblemKind};

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $slug:literal, $status:literal, $title:literal, $about:literal;)*) => {
        $($(#[$doc])* pub const $name: ProblemKind =
            ProblemKind { slug: $slug, status: $status, title: $title, about: $about };)*
        /// All of them, for the pages behind their types.
        pub const ALL: &[ProblemKind] = &[$($name),*];
    };
}

kinds! {
    /// The body is not JSON.
    NOT_JSON = "not-json", 400, "The body is not JSON",
        "The body must be exactly one JSON value in UTF-8, with nothing after it.";
    /// A request header that cannot be read, or is there twice.
    MALFORMED_HEADER = "malformed-header", 400, "A header is malformed",
        "A request header does not have the form that the API asks for, or is there more than once. The detail names it.";
    /// No `Idempotency-Key` where one is required.
    MISSING_IDEMPOTENCY_KEY = "missing-idempotency-key", 400, "The Idempotency-Key is missing",
        "Every POST needs an Idempotency-Key of 1 to 255 visible ASCII characters. Choose a new one for each new command, and \
         repeat it when the same command is sent again: it is then carried out once.";
    /// An id in the path that cannot be one.
    MALFORMED_PATH = "malformed-path", 400, "The path is malformed",
        "Order ids are UUIDs; customer ids and SKUs are 1 to 64 of A-Z a-z 0-9 . _ ~ - but not . or ..";
    /// A query parameter that is unknown, there twice, or out of range.
    MALFORMED_QUERY = "malformed-query", 400, "A query parameter is malformed",
        "A query parameter is unknown, there more than once, or does not have its form. The detail names it.";
    /// A cursor that this service did not make.
    MALFORMED_CURSOR = "malformed-cursor", 400, "The cursor is malformed",
        "A cursor is only what next_cursor of an earlier answer said, sent with the same customer and filters.";
    /// A consistency token that this system did not make.
    MALFORMED_TOKEN = "malformed-token", 400, "The consistency token is not one of ours",
        "A Consistency-Token is only what an earlier answer of this system said. It was cut, altered, or belongs to another log.";
    /// Not one of the services.
    UNAUTHORIZED = "unauthorized", 401, "This is for services only",
        "What lies below /internal is asked by the services of this system only, with a bearer that follows from their secret.";
    /// No such path.
    UNKNOWN_PATH = "unknown-path", 404, "There is nothing at this path",
        "The path is none of the API's. /openapi.json lists them.";
    /// No such command.
    COMMAND_NOT_FOUND = "command-not-found", 404, "There is no such command",
        "No command has this id, or it is longer ago than commands are remembered: 24 hours.";
    /// The path is there, not with this method.
    METHOD_NOT_ALLOWED = "method-not-allowed", 405, "The path has no such method",
        "The header Allow lists the methods that the path has.";
    /// The caller accepts nothing that we have.
    NOT_ACCEPTABLE = "not-acceptable", 406, "Only JSON can be answered",
        "Answers are application/json or application/problem+json; the request's Accept header excludes both.";
    /// The body is over 256 KiB.
    TOO_LARGE = "too-large", 413, "The body is too large",
        "A body can have 262,144 bytes at most.";
    /// The body is not declared as JSON.
    UNSUPPORTED_MEDIA_TYPE = "unsupported-media-type", 415, "The body must be application/json",
        "Send Content-Type: application/json; the only parameter that it may have is charset=utf-8. Encodings such as gzip are not read.";
    /// The body is JSON, but not what the request needs.
    INVALID = "invalid-request", 422, "The body is not what this request needs",
        "Each element of errors has a JSON pointer into the body and what is wrong there: a member is missing, unknown, of the \
         wrong type or out of range.";
    /// The same key with another body.
    KEY_REUSED = "idempotency-key-reused", 422, "The Idempotency-Key was used for another request",
        "The same caller sent another body with this key to the same path. Choose a new key for a new command.";
    /// Too many requests of one caller.
    TOO_MANY_REQUESTS = "too-many-requests", 429, "Too many requests",
        "Send the request again after as many seconds as Retry-After says.";
    /// Cannot answer now.
    UNAVAILABLE = "unavailable", 503, "The service cannot answer now",
        "Send the same request again after as many seconds as Retry-After says; a command with the same Idempotency-Key.";
    /// No model is as far as the token.
    NOT_YET_VISIBLE = "not-yet-visible", 503, "What the token asks for is not visible yet",
        "No read model has come as far as the Consistency-Token within the time of Prefer: wait. Nothing older was served. Send the \
         request again after as many seconds as Retry-After says.";
    /// A token from beyond the end of the log.
    FUTURE_TOKEN = "future-token", 503, "The token is ahead of the log",
        "The Consistency-Token is ours, and names a position that the log does not have: a broker that lags, or a log that was \
         restored from a backup. Send the request again after as many seconds as Retry-After says.";
    /// A strong read where none can be made.
    STRONG_UNAVAILABLE = "strong-unavailable", 503, "A strong read cannot be made now",
        "A strong read asks the writers for proven positions, and they cannot be asked. Read with Consistency: causal or eventual.";
    /// The service is starting, stopping, or lacks something.
    NOT_READY = "not-ready", 503, "The service is not ready",
        "The service starts, stops, or waits for something that it needs. The detail says for what.";
    /// A fault of ours.
    INTERNAL = "internal", 500, "Something is broken on our side",
        "This is a bug. The Trace-Id of the answer helps to find it.";
}

impl Problem {
    /// 400: the body is not one JSON value in UTF-8.
    pub fn not_json(detail: impl Into<String>) -> Self {
        Self::of(&NOT_JSON, detail.into())
    }

    /// 400: a request header.
    pub fn malformed_header(name: &str, detail: &str) -> Self {
        Self::of(&MALFORMED_HEADER, format!("{name}: {detail}"))
    }

    /// 400: an id in the path.
    pub fn malformed_path(detail: impl Into<String>) -> Self {
        Self::of(&MALFORMED_PATH, detail.into())
    }

    /// 400: a query parameter.
    pub fn malformed_query(name: &str, detail: &str) -> Self {
        Self::of(&MALFORMED_QUERY, format!("{name}: {detail}"))
    }

    /// 400: a cursor.
    pub fn malformed_cursor(detail: impl Into<String>) -> Self {
        Self::of(&MALFORMED_CURSOR, detail.into())
    }

    /// 400: a consistency token.
    pub fn malformed_token(detail: impl Into<String>) -> Self {
        Self::of(&MALFORMED_TOKEN, detail.into())
    }

    /// 404: no such path.
    pub fn unknown_path() -> Self {
        Self::of(&UNKNOWN_PATH, "The path is none of the API's.")
    }

    /// 405: no such method there.
    pub fn method_not_allowed() -> Self {
        Self::of(
            &METHOD_NOT_ALLOWED,
            "The path is there, but not with this method.",
        )
    }

    /// 406: the caller excludes JSON.
    pub fn not_acceptable() -> Self {
        Self::of(
            &NOT_ACCEPTABLE,
            "The Accept header excludes application/json and application/problem+json.",
        )
    }

    /// 413: the body is over the limit.
    pub fn too_large(bytes_max: usize) -> Self {
        Self::of(&TOO_LARGE, format!("The body has more than {bytes_max} bytes."))
    }

    /// 415: the body is not declared as JSON.
    pub fn unsupported_media_type(detail: impl Into<String>) -> Self {
        Self::of(&UNSUPPORTED_MEDIA_TYPE, detail.into())
    }

    /// 422: members of the body are wrong.
    pub fn invalid(errors: Vec<FieldError>) -> Self {
        let detail = match errors.as_slice() {
            [one] => format!(
                "{}: {}",
                if one.pointer.is_empty() {
                    "body"
                } else {
                    &one.pointer
                },
                one.detail
            ),
            many => format!("{} members of the body are wrong.", many.len()),
        };
        Self::of(&INVALID, detail).with_errors(errors)
    }

    /// 422: the key was used with another body.
    pub fn key_reused() -> Self {
        Self::of(
            &KEY_REUSED,
            "This Idempotency-Key was used with another body on this path.",
        )
    }

    /// 503: cannot answer now; try again after that many seconds.
    pub fn unavailable(detail: impl Into<String>, retry_after_s: u32) -> Self {
        Self::of(&UNAVAILABLE, detail.into()).with_retry_after(retry_after_s)
    }

    /// 503: no model is as far as the token.
    pub fn not_yet_visible(detail: impl Into<String>, retry_after_s: u32) -> Self {
        Self::of(&NOT_YET_VISIBLE, detail.into()).with_retry_after(retry_after_s)
    }

    /// 503: the token is beyond the log's end.
    pub fn future_token(retry_after_s: u32) -> Self {
        Self::of(
            &FUTURE_TOKEN,
            "The token names a position beyond the end of the log.",
        )
        .with_retry_after(retry_after_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_are_unique_and_fit_a_path() {
        let mut slugs: Vec<_> = ALL.iter().map(|kind| kind.slug).collect();
        assert!(
            slugs
                .iter()
                .all(|slug| slug.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'))
        );
        slugs.sort_unstable();
        slugs.dedup();
        assert_eq!(slugs.len(), ALL.len());
    }
}
