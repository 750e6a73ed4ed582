//! Who calls: a bearer key, else nobody in particular. Who may do what is decided elsewhere, later.

use http::{HeaderMap, header};

use super::single;
use crate::Problem;

/// The caller without a key.
pub const ANONYMOUS: &str = "anonymous";

/// The key of `Authorization: Bearer <key>`, else [`ANONYMOUS`]; 400 for a bearer without a key and for two headers.
pub fn caller(headers: &HeaderMap) -> Result<&str, Problem> {
    let Some(text) = single(headers, &header::AUTHORIZATION)? else {
        return Ok(ANONYMOUS);
    };
    let (scheme, key) = text.split_once(' ').unwrap_or((text, ""));
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Ok(ANONYMOUS);
    }
    let key = key.trim();
    if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Problem::malformed_header(
            "authorization",
            "the bearer's key is missing or has spaces",
        ));
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::super::tests::headers;
    use super::*;

    #[test]
    fn a_bearer_names_the_caller_and_nothing_else_does() {
        let of = |values: &[&str]| {
            caller(&headers(&header::AUTHORIZATION, values))
                .map(str::to_owned)
                .map_err(|problem| problem.status().as_u16())
        };
        assert_eq!(of(&[]).unwrap(), "anonymous");
        assert_eq!(of(&["Bearer k1"]).unwrap(), "k1");
        assert_eq!(of(&["bearer  k1"]).unwrap(), "k1");
        assert_eq!(of(&["Basic abc"]).unwrap(), "anonymous");
        for bad in [
            &["Bearer"][..],
            &["Bearer "],
            &["Bearer a b"],
            &["Bearer a", "Bearer b"],
        ] {
            assert_eq!(of(bad), Err(400), "{bad:?}");
        }
    }
}
