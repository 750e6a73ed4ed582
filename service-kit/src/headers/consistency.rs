//! `Consistency`: how fresh a read must be.

use http::HeaderMap;

use super::{names, single};
use crate::Problem;

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consistency {
    /// Whatever is there.
    Eventual,
    /// At least what the token says.
    Causal,
    /// At least everything acknowledged before the read began.
    Strong,
}

/// The header's value, if it is there.
pub fn consistency(headers: &HeaderMap) -> Result<Option<Consistency>, Problem> {
    let Some(text) = single(headers, &names::CONSISTENCY)? else {
        return Ok(None);
    };
    match text.to_ascii_lowercase().as_str() {
        "eventual" => Ok(Some(Consistency::Eventual)),
        "causal" => Ok(Some(Consistency::Causal)),
        "strong" => Ok(Some(Consistency::Strong)),
        _ => Err(Problem::malformed_header(
            "consistency",
            "is not one of eventual, causal, strong",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::headers;
    use super::*;

    #[test]
    fn one_of_three() {
        let of = |values: &[&str]| {
            consistency(&headers(&names::CONSISTENCY, values)).map_err(|problem| problem.status().as_u16())
        };
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&["Causal"]), Ok(Some(Consistency::Causal)));
        assert_eq!(of(&["eventual"]), Ok(Some(Consistency::Eventual)));
        assert_eq!(of(&["strong"]), Ok(Some(Consistency::Strong)));
        for bad in [&[""][..], &["weak"], &["causal, strong"], &["causal", "causal"]] {
            assert_eq!(of(bad), Err(400), "{bad:?}");
        }
    }
}
