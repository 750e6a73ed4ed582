//! Entity tags (RFC 9110): an aggregate's is its sequence in quotes.

use http::{HeaderMap, HeaderValue, header};

use super::single;
use crate::Problem;

/// One entity tag of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntityTag {
    /// Written with `W/`.
    pub weak: bool,
    /// What stands between the quotes.
    pub value: String,
}

/// What `If-Match` or `If-None-Match` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntityTags {
    /// `*`
    Any,
    /// A list of one or more.
    List(Vec<EntityTag>),
}

impl EntityTags {
    /// Strong comparison, as `If-Match` asks for it: a weak tag never matches.
    pub fn matches_strong(&self, sequence: u64) -> bool {
        self.matches(sequence, |tag| !tag.weak)
    }

    /// Weak comparison, as `If-None-Match` asks for it.
    pub fn matches_weak(&self, sequence: u64) -> bool {
        self.matches(sequence, |_| true)
    }

    fn matches(&self, sequence: u64, admits: impl Fn(&EntityTag) -> bool) -> bool {
        match self {
            Self::Any => true,
            Self::List(tags) => {
                let wanted = sequence.to_string();
                tags.iter().any(|tag| admits(tag) && tag.value == wanted)
            }
        }
    }
}

/// The `ETag` of an aggregate at that sequence.
pub fn etag(sequence: u64) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{sequence}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

/// `If-Match`, which may be there once.
pub fn if_match(headers: &HeaderMap) -> Result<Option<EntityTags>, Problem> {
    let Some(text) = single(headers, &header::IF_MATCH)? else {
        return Ok(None);
    };
    match parse(text) {
        Some(tags) => Ok(Some(tags)),
        None => Err(Problem::malformed_header(
            "if-match",
            "is not * and no list of entity tags such as \"3\"",
        )),
    }
}

/// `If-None-Match`; several of them are one list.
pub fn if_none_match(headers: &HeaderMap) -> Result<Option<EntityTags>, Problem> {
    let mut all: Option<EntityTags> = None;
    for value in headers.get_all(header::IF_NONE_MATCH) {
        let tags = value.to_str().ok().and_then(|text| parse(text.trim()));
        all = match (all, tags) {
            (None, Some(tags)) => Some(tags),
            (Some(EntityTags::List(mut seen)), Some(EntityTags::List(more))) => {
                seen.extend(more);
                Some(EntityTags::List(seen))
            }
            _ => {
                return Err(Problem::malformed_header(
                    "if-none-match",
                    "is not * and no list of entity tags such as \"3\"",
                ));
            }
        };
    }
    Ok(all)
}

fn parse(text: &str) -> Option<EntityTags> {
    if text == "*" {
        return Some(EntityTags::Any);
    }
    let mut tags = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if rest.is_empty() {
            break;
        }
        let (weak, quoted) = rest
            .strip_prefix("W/")
            .map_or((false, rest), |quoted| (true, quoted));
        let (value, after) = quoted.strip_prefix('"')?.split_once('"')?;
        if !value.bytes().all(|byte| byte.is_ascii_graphic()) {
            return None;
        }
        tags.push(EntityTag {
            weak,
            value: value.to_owned(),
        });
        rest = after.trim_start_matches([' ', '\t']);
        if !rest.is_empty() && !rest.starts_with(',') {
            return None;
        }
    }
    if tags.is_empty() {
        None
    } else {
        Some(EntityTags::List(tags))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::headers;
    use super::*;

    #[test]
    fn strong_and_weak_comparison() {
        let of = |text: &str| if_match(&headers(&header::IF_MATCH, &[text])).unwrap().unwrap();
        assert!(of("\"3\"").matches_strong(3));
        assert!(!of("\"3\"").matches_strong(4));
        assert!(!of("\"03\"").matches_strong(3), "tags are compared as text");
        assert!(!of("W/\"3\"").matches_strong(3));
        assert!(of("W/\"3\"").matches_weak(3));
        assert!(of("*").matches_strong(3));
        assert!(of("\"1\", W/\"2\" ,\"3\"").matches_strong(3));
        assert!(!of("\"a,b\"").matches_strong(3));
    }

    #[test]
    fn what_is_no_list_is_400() {
        for bad in [
            "",
            "3",
            "\"3",
            "\"3\" \"4\"",
            "w/\"3\"",
            "\"3\"x",
            ",",
            "*, \"3\"",
            "\"a b\"",
        ] {
            assert_eq!(
                if_match(&headers(&header::IF_MATCH, &[bad]))
                    .unwrap_err()
                    .status(),
                400,
                "{bad}"
            );
            assert_eq!(
                if_none_match(&headers(&header::IF_NONE_MATCH, &[bad]))
                    .unwrap_err()
                    .status(),
                400,
                "{bad}"
            );
        }
        assert!(if_match(&headers(&header::IF_MATCH, &["\"1\"", "\"2\""])).is_err());
        let two = if_none_match(&headers(&header::IF_NONE_MATCH, &["\"1\"", "W/\"2\""]))
            .unwrap()
            .unwrap();
        assert!(two.matches_weak(1) && two.matches_weak(2) && !two.matches_weak(3));
        assert_eq!(if_match(&HeaderMap::new()).unwrap(), None);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text: String) {
            let _ = parse(&text);
        }
    }
}
