//! How a client asks: any service, again until there is an answer, and what every answer is held against.

use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::{Method, RequestBuilder};
use serde_json::Value;

use super::client::AtWork;
use super::model::{Breach, Expected, Level, Rule, Target, Thing};
use super::report::{Violation, count};
use crate::client::{Answer, Client, try_send};
use crate::eventually::DEADLINE;

/// Between the first two attempts: shorter than services ask for, as this is about what they answer.
const PAUSE: Duration = Duration::from_millis(20);
/// Between two attempts at most: clients that ask as often as they can leave a small machine no time to answer.
const PAUSE_MAX: Duration = Duration::from_millis(320);
/// How many refusals a caller takes that does not wait. Nobody promises that it is ever answered: a list that is read strongly
/// and at once is refused for as long as the models are busy with what was proven.
const HURRIED: u32 = 8;
/// What it asks with from then on.
const PATIENT: &str = "wait=5";

/// A read that was answered, and what its answer had to show.
pub(super) struct Read {
    pub(super) answer: Answer,
    pub(super) expected: Expected,
    pub(super) request: String,
    pub(super) etag: Option<u64>,
}

impl AtWork {
    /// Sends a command, under one key until it is answered; none where it was not answered as it must be.
    pub(super) async fn write(
        &mut self,
        kind: &'static str,
        path: &str,
        key: &str,
        body: &Value,
        status: u16,
    ) -> Option<(Answer, String)> {
        let shared = Arc::clone(&self.shared);
        let token = self.session.token.clone();
        let request = format!("client {}: POST {path} {body}, token {token:?}", self.number);
        let answer = self
            .ask(&shared.commands, &request, |service, _| {
                let request = service.command(Method::POST, path);
                let request = request.header("idempotency-key", key).json(body);
                match &token {
                    Some(token) => request.header("consistency-token", token),
                    None => request,
                }
            })
            .await?;
        if answer.status != status {
            let what = format!("it is answered {}: {}", answer.status, answer.text);
            self.judge(Err(Breach::new(Rule::Contract, what)), &request);
            return None;
        }
        self.adopt(&answer, &request);
        count(&mut self.report.operations, kind);
        self.shared.answered();
        Some((answer, request))
    }

    /// Sends a read at a random level; none where it was not answered as it must be.
    pub(super) async fn read(&mut self, kind: &'static str, target: &Target, path: &str) -> Option<Read> {
        let shared = Arc::clone(&self.shared);
        let (level, headers) = self.headers(target);
        let expected = self.model().expected(target, level, &self.session.knowledge);
        let mut request = format!("client {}: GET {path} {headers:?}", self.number);
        let answer = self
            .ask(&shared.queries, &request, |service, refusals| {
                let request = service.query(path);
                headers.iter().fold(request, |request, (name, value)| {
                    let is_late = *name == "prefer" && refusals >= HURRIED;
                    request.header(*name, if is_late { PATIENT } else { value })
                })
            })
            .await?;
        let from = answer.header("served-from").unwrap_or_default().to_owned();
        request = format!("{request}\n    {} from `{from}`: {}", answer.status, answer.text);
        if !matches!(answer.status, 200 | 304 | 404) || from.is_empty() {
            let what = format!("it is answered {}, served from `{from}`", answer.status);
            self.judge(Err(Breach::new(Rule::Contract, what)), &request);
            return None;
        }
        self.adopt(&answer, &request);
        count(&mut self.report.operations, kind);
        self.shared.answered();
        count(&mut self.report.served_from, from);
        let level = match level {
            Level::Eventual => "eventual",
            Level::Causal => "causal",
            Level::Strong => "strong",
        };
        count(&mut self.report.levels, level);
        for why in expected.reasons() {
            count(&mut self.report.required, why);
        }
        let etag = answer.header("etag");
        let etag = etag.and_then(|tag| tag.strip_prefix('"')?.strip_suffix('"')?.parse().ok());
        Some(Read {
            answer,
            expected,
            request,
            etag,
        })
    }

    /// How fresh a read is to be, and the headers that say so.
    fn headers(&mut self, target: &Target) -> (Level, Vec<(&'static str, String)>) {
        let mut headers = Vec::new();
        if let Some(token) = &self.session.token {
            headers.push(("consistency-token", token.clone()));
        }
        let level = match self.rng.u8(..8) {
            0 => Level::Eventual,
            1 => Level::Strong,
            _ if self.session.token.is_none() => Level::Eventual,
            _ => Level::Causal,
        };
        match level {
            Level::Eventual if self.session.token.is_none() => {}
            Level::Eventual => headers.push(("consistency", "eventual".to_owned())),
            Level::Strong => headers.push(("consistency", "strong".to_owned())),
            Level::Causal if self.rng.bool() => headers.push(("consistency", "causal".to_owned())),
            Level::Causal => {}
        }
        match self.rng.u8(..8) {
            0 => headers.push(("prefer", "wait=5".to_owned())),
            1 => headers.push(("prefer", "wait=0".to_owned())),
            _ => {}
        }
        let thing = match target {
            Target::Order(number) => Some(Thing::Order(*number)),
            Target::Stock(sku) => Some(Thing::Stock(*sku)),
            Target::Customer(_) => None,
        };
        let Some(thing) = thing else {
            return (level, headers);
        };
        if self.rng.u8(..6) == 0 {
            let model = if self.rng.bool() { "redis" } else { "postgres" };
            headers.push(("tailwater-model", model.to_owned()));
        }
        if let Some(known) = self.session.knowledge.least(thing)
            && self.rng.u8(..4) == 0
        {
            headers.push(("if-none-match", format!("\"{}\"", known.sequence)));
        }
        (level, headers)
    }

    /// Asks services until one answers with anything but 503. The request is made with the number of refusals so far.
    async fn ask(
        &mut self,
        services: &[Client],
        request: &str,
        make: impl Fn(&Client, u32) -> RequestBuilder,
    ) -> Option<Answer> {
        let begun = Instant::now();
        let (mut refusals, mut pause) = (0, PAUSE);
        let mut at = self.rng.usize(..services.len());
        while begun.elapsed() < DEADLINE && !self.shared.is_stopped() {
            match try_send(make(&services[at], refusals)).await {
                Ok(answer) if answer.status != 503 => return Some(answer),
                Ok(answer) => {
                    refusals += 1;
                    let slug = answer.json["type"].as_str().unwrap_or_default().to_owned();
                    // Nobody was ever given a token that is ahead of the log.
                    if slug == "/problems/future-token" || answer.header("retry-after").is_none() {
                        let what = format!("503 {slug}, Retry-After {:?}", answer.header("retry-after"));
                        self.judge(Err(Breach::new(Rule::Contract, what)), request);
                    }
                    count(&mut self.report.refused, slug);
                    let retry_after_s = answer
                        .header("retry-after")
                        .and_then(|text| text.parse::<u64>().ok());
                    if retry_after_s.is_none_or(|seconds| seconds >= DEADLINE.as_secs()) {
                        return None;
                    }
                }
                Err(_) => self.report.broken += 1,
            }
            at = (at + 1) % services.len();
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
        if request.contains("tailwater-model") {
            // Nobody promises that one model comes back sooner than it is emptied again.
            count(&mut self.report.refused, "(given up: one model only)".to_owned());
        } else if !self.shared.is_stopped() {
            let breach = Breach::new(Rule::Contract, format!("no answer within {DEADLINE:?}"));
            self.judge(Err(breach), request);
        }
        None
    }

    /// Goes on with an answer's token, which must not be behind the one that was sent.
    fn adopt(&mut self, answer: &Answer, request: &str) {
        let token = answer.header("consistency-token").unwrap_or_default();
        let opened = match self.shared.tokens.open(token) {
            Ok(opened) => opened,
            Err(error) => {
                let breach = Breach::new(Rule::Token, format!("its token cannot be opened: {error}"));
                return self.judge(Err(breach), request);
            }
        };
        let behind = self
            .session
            .positions
            .iter()
            .find(|(partition, sent)| opened.get(*partition) < Some(*sent));
        if let Some((partition, sent)) = behind {
            let what = format!("{partition:?} was {sent}, and is {:?}", opened.get(partition));
            self.judge(Err(Breach::new(Rule::Token, what)), request);
        }
        self.session.token = Some(token.to_owned());
        self.session.positions = opened;
    }

    pub(super) fn malformed(&mut self, read: &Read) {
        let what = format!("{} cannot be understood", read.answer.status);
        self.judge(Err(Breach::new(Rule::Contract, what)), &read.request);
    }

    pub(super) fn judge(&mut self, checked: Result<(), Breach>, request: &str) {
        if let Err(breach) = checked {
            self.shared.violated();
            self.report.violated(Violation {
                breach,
                request: request.to_owned(),
            });
        }
    }
}
