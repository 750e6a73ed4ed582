//! What every read's headers and query can say.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::Query as AxumQuery;
use eventlog::{Positions, TokenError};
use http::{HeaderMap, HeaderName, Uri};
use service_kit::Problem;
use service_kit::headers::{self, Consistency, EntityTags};

use super::{App, Known};
use crate::bugs::Bug;
use crate::models::Model;
use crate::reads::Need;

/// Restricts a read to one model: a diagnostic, to measure each by itself.
pub(super) const MODEL: HeaderName = HeaderName::from_static("tailwater-model");

/// A read as its headers ask for it.
#[derive(Debug)]
pub(super) struct ReadRequest<'a> {
    pub(super) known: &'a Arc<Known>,
    /// The token as it came, if any.
    pub(super) token_text: Option<&'a str>,
    /// What the caller has seen.
    pub(super) token: Positions,
    /// What it asks for because of that.
    pub(super) need: Need,
    /// Whether it asks for everything that was acknowledged before.
    pub(super) strong: bool,
    pub(super) if_none_match: Option<EntityTags>,
}

impl<'a> ReadRequest<'a> {
    pub(super) fn parse(app: &'a App, headers: &'a HeaderMap) -> Result<Self, Problem> {
        let known = app.known()?;
        let token_text = headers::consistency_token(headers)?;
        let token = match token_text {
            Some(text) => known.identity.key.open(text).map_err(refuse)?,
            None => Positions::new(),
        };
        let prefer = headers::prefer(headers)?;
        let if_none_match = headers::if_none_match(headers)?;
        let only = only(headers)?;
        let consistency = headers::consistency(headers)?;
        let wanted = match consistency {
            Some(Consistency::Eventual) => Positions::new(),
            _ if Bug::TokenIgnored.is_in() => Positions::new(),
            // Without a token there is nothing to be at least as new as.
            Some(Consistency::Causal | Consistency::Strong) | None => token.clone(),
        };
        let strong = consistency == Some(Consistency::Strong);
        let need = Need {
            wanted,
            patience: prefer.patience(),
            only,
        };
        Ok(Self {
            known,
            token_text,
            token,
            need,
            strong,
            if_none_match,
        })
    }
}

impl ReadRequest<'_> {
    /// Refuses to read from Redis what it does not have.
    pub(super) fn not_of_redis(&self) -> Result<(), Problem> {
        if self.need.only == Some(Model::Redis) {
            return Err(Problem::malformed_header(MODEL.as_str(), "this is not in redis"));
        }
        Ok(())
    }
}

fn refuse(error: TokenError) -> Problem {
    Problem::malformed_token(format!("{error}."))
}

fn only(headers: &HeaderMap) -> Result<Option<Model>, Problem> {
    let Some(text) = headers::single(headers, &MODEL)? else {
        return Ok(None);
    };
    match Model::ALL.into_iter().find(|model| model.name() == text) {
        Some(model) => Ok(Some(model)),
        None => Err(Problem::malformed_header(
            MODEL.as_str(),
            "is neither redis nor postgres",
        )),
    }
}

/// The query's parameters; 400 for one that is not among `allowed`, or there twice.
pub(super) fn parameters(uri: &Uri, allowed: &[&str]) -> Result<BTreeMap<String, String>, Problem> {
    if uri.query().is_none() {
        return Ok(BTreeMap::new());
    }
    let AxumQuery(pairs) = AxumQuery::<Vec<(String, String)>>::try_from_uri(uri)
        .map_err(|error| Problem::malformed_query("query", &error.body_text()))?;
    let mut parameters = BTreeMap::new();
    for (name, value) in pairs {
        if !allowed.contains(&name.as_str()) {
            return Err(Problem::malformed_query(&name, "is no parameter of this path"));
        }
        if parameters.insert(name.clone(), value).is_some() {
            return Err(Problem::malformed_query(&name, "is there more than once"));
        }
    }
    Ok(parameters)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn parameters_are_known_and_single() {
        let of = |text: &str| {
            parameters(&text.parse().unwrap(), &["limit", "cursor"])
                .map_err(|problem| problem.status().as_u16())
        };
        assert_eq!(of("/x?limit=3&cursor=a%2Bb").unwrap()["cursor"], "a+b");
        assert!(of("/x").unwrap().is_empty() && of("/x?").unwrap().is_empty());
        for bad in ["/x?limit=1&limit=2", "/x?Limit=1", "/x?at_sequence=1", "/x?=1"] {
            assert_eq!(of(bad), Err(400), "{bad}");
        }
    }

    #[test]
    fn a_read_can_be_restricted_to_one_model() {
        let of = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(MODEL, HeaderValue::from_static(value));
            only(&headers).map_err(|problem| problem.status().as_u16())
        };
        assert_eq!(only(&HeaderMap::new()).unwrap(), None);
        assert_eq!(of("redis"), Ok(Some(Model::Redis)));
        assert_eq!(of("postgres"), Ok(Some(Model::Postgres)));
        assert_eq!(of("memory"), Err(400));
    }
}
