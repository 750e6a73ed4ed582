//! Who reads: many requests on one connection, each answer noted for the verifier.

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use eventlog::Positions;
use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::report::Report;
use super::run::Shared;
use super::truth::{Shown, Thing, hash};
use super::verifier::{Answered, Content, Rule};
use super::wire::{Reply, Wire};
use super::writer::{SKUS, lock};

/// Requests that are sent together, where none should have to wait.
const TOGETHER: usize = 16;
/// Orders that nobody placed, and that are asked for all the same: so many that they drive each other out of a small cache.
const ABSENT: u128 = 20_000;
/// Orders on a page.
const LIMIT: usize = 10;
/// Before another connection is tried.
const PAUSE: Duration = Duration::from_millis(50);

/// What is asked.
#[derive(Clone, Debug)]
enum Asked {
    One(Thing),
    Page(String),
}

/// How fresh an answer must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Haste {
    /// As fresh as what was read before, if that.
    Plain,
    /// As fresh as the last write of what is read, or as everything that was acknowledged.
    Latest,
}

/// A request.
struct Request {
    asked: Asked,
    path: String,
    headers: Vec<(&'static str, String)>,
    token: Positions,
    rule: Rule,
}

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    orders: Vec<&'a RawValue>,
}

/// Reads until memory has answered often enough.
pub(super) async fn read(number: usize, shared: Arc<Shared>, answers: Sender<Answered>) -> Report {
    let seed = shared.options.seed.wrapping_mul(1_000_003) + number as u64;
    let (mut rng, mut report) = (fastrand::Rng::with_seed(seed), Report::default());
    let mut own = String::new();
    while !shared.is_done() {
        let url = &shared.query_urls[rng.usize(..shared.query_urls.len())];
        let Ok(mut wire) = Wire::connect(url).await else {
            report.broken += 1;
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        while !shared.is_done() {
            // Who asks for the last write waits for it, and so would whatever is asked for behind it.
            let (haste, count) = match rng.u8(..8) {
                0 => (Haste::Latest, 1),
                _ => (Haste::Plain, TOGETHER),
            };
            let mut one = || request(&mut rng, &shared, haste, &own);
            let requests: Vec<Request> = std::iter::repeat_with(&mut one).take(count).collect();
            for request in &requests {
                let headers: Vec<_> = request
                    .headers
                    .iter()
                    .map(|(name, value)| (*name, value.as_str()))
                    .collect();
                wire.get(&request.path, &headers);
            }
            if exchange(&mut wire, requests, &shared, &answers, &mut own, &mut report)
                .await
                .is_err()
            {
                report.broken += 1;
                break;
            }
        }
    }
    report
}

async fn exchange(
    wire: &mut Wire,
    requests: Vec<Request>,
    shared: &Shared,
    answers: &Sender<Answered>,
    own: &mut String,
    report: &mut Report,
) -> std::io::Result<()> {
    wire.send().await?;
    for request in requests {
        let reply = wire.reply().await?;
        if reply.status == 503 && reply.retry_after {
            report.refused += 1;
            continue;
        }
        match answered(&request, &reply, shared) {
            Ok(answer) => {
                if reply.served_from == "memory" {
                    shared.answered();
                }
                own.clone_from(&reply.token);
                // Only a verifier that has failed does not listen, and that fails the run.
                let _ = answers.send(answer);
            }
            Err(wrong) => report.violated(format!("{wrong}\n    GET {} {:?}", request.path, request.headers)),
        }
    }
    Ok(())
}

/// A random request. `own` is the token of the last answer.
fn request(rng: &mut fastrand::Rng, shared: &Shared, haste: Haste, own: &str) -> Request {
    let things = lock(&shared.things);
    let (id, customer, written) = &things.orders[rng.usize(..things.orders.len())];
    let (asked, path, written) = match rng.u8(..20) {
        0..10 => (
            Asked::One(Thing::Order(*id)),
            format!("/v1/orders/{id}"),
            written.clone(),
        ),
        10..15 => {
            let sku = rng.usize(..SKUS);
            let thing = Thing::Stock(format!("sku-{sku}"));
            (
                Asked::One(thing),
                format!("/v1/stock/sku-{sku}"),
                things.stock[sku].clone(),
            )
        }
        15..19 => {
            let path = format!("/v1/customers/{customer}/orders?limit={LIMIT}");
            (Asked::Page(customer.clone()), path, written.clone())
        }
        _ => {
            let id = Uuid::from_u128(rng.u128(..ABSENT));
            (
                Asked::One(Thing::Order(id)),
                format!("/v1/orders/{id}"),
                written.clone(),
            )
        }
    };
    drop(things);
    let (mut headers, mut rule) = (Vec::new(), Rule::Exact);
    let token = match (haste, rng.u8(..2)) {
        (Haste::Plain, 0) => None,
        (Haste::Plain, _) => Some(own.to_owned()).filter(|own| !own.is_empty()),
        (Haste::Latest, _) => Some(written),
    };
    if let Some(token) = &token {
        headers.push(("consistency-token", token.clone()));
    }
    match (haste, rng.u8(..10)) {
        (Haste::Latest, 0) => headers.push(("consistency", "strong".to_owned())),
        (Haste::Plain, 0) => {
            headers.push(("consistency", "eventual".to_owned()));
            // Its token has the request's in it, and is further than what was read.
            if token.is_some() {
                rule = Rule::Once;
            }
        }
        _ => {}
    }
    if rng.u8(..5) == 0 && matches!(asked, Asked::One(_)) {
        headers.push(("if-none-match", format!("\"{}\"", rng.u8(1..30))));
    }
    let opened = token.and_then(|token| shared.tokens.open(&token).ok());
    Request {
        asked,
        path,
        headers,
        token: opened.unwrap_or_default(),
        rule,
    }
}

/// What a reply showed; or what is wrong with it, as far as that can be seen without the log.
fn answered(request: &Request, reply: &Reply, shared: &Shared) -> Result<Answered, String> {
    let positions = shared
        .tokens
        .open(&reply.token)
        .map_err(|error| format!("{}: its token: {error}", reply.status))?;
    let behind = request
        .token
        .iter()
        .find(|(partition, sent)| positions.get(*partition) < Some(*sent));
    if let Some((partition, sent)) = behind {
        return Err(format!(
            "its token has {:?} of {partition:?}, the request {sent}",
            positions.get(partition)
        ));
    }
    // A writer's answer is as of its partition and of the ends of all, which is further than what it shows.
    let rule = if reply.served_from == "writer" {
        Rule::Once
    } else {
        request.rule
    };
    let malformed = || format!("{} cannot be understood: {}", reply.status, reply.body);
    let content = match (&request.asked, reply.status) {
        (Asked::One(thing), 200) => {
            let sequence = reply.etag.ok_or_else(malformed)?;
            let hash = Some(hash(&reply.body));
            Content::One(thing.clone(), Some(Shown { sequence, hash }))
        }
        (Asked::One(thing), 304) => {
            let sequence = reply.etag.ok_or_else(malformed)?;
            Content::One(thing.clone(), Some(Shown { sequence, hash: None }))
        }
        (Asked::One(thing), 404) => Content::One(thing.clone(), None),
        (Asked::Page(customer), 200) => {
            let page: Page<'_> = serde_json::from_str(&reply.body).map_err(|_| malformed())?;
            Content::Page {
                customer: customer.clone(),
                limit: LIMIT,
                orders: page.orders.iter().map(|order| hash(order.get())).collect(),
            }
        }
        _ => return Err(malformed()),
    };
    Ok(Answered {
        rule,
        content,
        positions,
        served_from: reply.served_from.clone(),
        request: format!(
            "GET {} {:?}: {} from {}",
            request.path, request.headers, reply.status, reply.served_from
        ),
    })
}
