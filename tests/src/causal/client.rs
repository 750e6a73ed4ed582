//! One client of all services: a random operation at a time, each told to the model.

use std::sync::{Arc, MutexGuard, PoisonError};

use eventlog::Positions;
use reqwest::Method;
use schemas::ids;
use serde_json::json;
use uuid::Uuid;

use super::model::{Breach, Knowledge, Model, Rule, ShownOrder, Target, Thing, Why};
use super::report::Report;
use super::run::{SKUS, Shared};
use super::shown::{hash, shown_order};
use crate::client::order;

/// What a client has seen, as it could hand it over to another one.
#[derive(Clone, Debug, Default)]
pub(super) struct Session {
    pub(super) token: Option<String>,
    /// What the token says, and what it must stand for.
    pub(super) positions: Positions,
    pub(super) knowledge: Knowledge,
    /// A note that was seen, and its order.
    note: Option<(u32, Uuid)>,
}

/// Runs one client to the end of the operations.
pub(super) async fn client(number: usize, shared: Arc<Shared>) -> Report {
    let seed = shared
        .options
        .seed
        .wrapping_mul(1_000_003)
        .wrapping_add(number as u64);
    let mut at_work = AtWork {
        number,
        rng: fastrand::Rng::with_seed(seed),
        session: Session::default(),
        report: Report::default(),
        shared,
    };
    while at_work.shared.take() {
        at_work.operate().await;
    }
    at_work.report
}

/// A client at work.
pub(super) struct AtWork {
    pub(super) shared: Arc<Shared>,
    pub(super) number: usize,
    pub(super) rng: fastrand::Rng,
    pub(super) session: Session,
    pub(super) report: Report,
}

impl AtWork {
    async fn operate(&mut self) {
        match self.rng.u8(..100) {
            0..4 => self.place().await,
            4..9 => self.note(false).await,
            9..13 => {
                // The second depends on the first, and is there at almost the same time.
                self.note(false).await;
                self.note(false).await;
            }
            13..18 => self.note(true).await,
            18..23 => self.receive().await,
            23..58 => self.read_latest().await,
            58..74 => self.read_any_order().await,
            74..84 => self.read_any_stock().await,
            84..93 => self.read_any_customer().await,
            93..99 => self.take_over(),
            _ => self.session = Session::default(),
        }
        lock(&self.shared.model).prune(&mut self.session.knowledge);
        if self.rng.u8(..8) == 0 {
            let left = self.session.clone();
            lock(&self.shared.board)[self.number] = Some(left);
        }
    }

    pub(super) fn model(&self) -> MutexGuard<'_, Model> {
        lock(&self.shared.model)
    }

    /// Goes on with what another client has seen; as likely as not beside what this one has.
    fn take_over(&mut self) {
        let board = lock(&self.shared.board);
        let from = self.rng.usize(..board.len());
        if from == self.number {
            return;
        }
        let Some(other) = board[from].clone() else {
            return;
        };
        let knowledge = other.knowledge.handed_over();
        match (self.session.token.take(), &other.token) {
            // The next request brings both, and its answer's token is one.
            (Some(mine), Some(theirs)) if self.rng.bool() && mine.matches(',').count() < 4 => {
                self.session.token = Some(format!("{mine}, {theirs}"));
                self.session.positions.merge(&other.positions);
                self.session.knowledge.learn_all(&knowledge, Why::Handed);
            }
            _ => self.session = Session { knowledge, ..other },
        }
    }

    /// An order that was acknowledged, rather one of the last.
    fn any_order(&mut self) -> Option<(u32, Uuid, Arc<str>)> {
        let model = lock(&self.shared.model);
        let there = model.placed_count() - model.oldest();
        (0..8).find_map(|_| {
            let furthest = self.rng.u32(..=there);
            let back = self.rng.u32(..=furthest);
            let number = model.placed_count().checked_sub(1 + back)?;
            let (id, customer) = model.acknowledged_order(number)?;
            Some((number, id, customer))
        })
    }

    async fn place(&mut self) {
        let skus: Vec<u32> = (0..self.rng.u8(1..3)).map(|_| self.rng.u32(..SKUS)).collect();
        let names: Vec<String> = skus.iter().map(|sku| format!("sku-{sku}")).collect();
        let lines: Vec<(&str, i64)> = names.iter().map(|name| (name.as_str(), 1)).collect();
        let (key, path) = (self.key(), "/v1/orders");
        let id = ids::created_id(
            ids::command_id("anonymous", Method::POST.as_str(), path, &key),
            "order",
        );
        let (number, customer) = {
            let mut model = lock(&self.shared.model);
            let next = model.placed_count();
            let customer: Arc<str> = format!("customer-{}-{}", next / 32, next % 2).into();
            let number = model.placing(id, Arc::clone(&customer), &skus, &self.session.knowledge);
            (number, customer)
        };
        let Some((answer, request)) = self
            .write("place", path, &key, &order(&customer, &lines), 201)
            .await
        else {
            return;
        };
        let sequence = answer.json["sequence"].as_u64().unwrap_or_default();
        let mut checked = lock(&self.shared.model).placed(number, sequence, &mut self.session.knowledge);
        if answer.json["order_id"] != id.to_string() {
            checked = Err(Breach::new(Rule::Contract, format!("the id is not {id}")));
        }
        self.judge(checked, &request);
    }

    async fn note(&mut self, replies: bool) {
        let reply = self.session.note.filter(|_| replies);
        let (number, id, _) = match reply {
            // The note that was seen may be on an order that is forgotten by now.
            Some((number, _)) => match self.model().acknowledged_order(number) {
                Some((id, customer)) => (number, id, customer),
                None => return,
            },
            None => match self.any_order() {
                Some(found) => found,
                None => return self.place().await,
            },
        };
        let (note, writing) = lock(&self.shared.model).noting(number, &self.session.knowledge);
        let mut body = json!({ "author": format!("client {}", self.number), "text": note.to_string() });
        if let Some((_, cause)) = reply {
            body["reply_to"] = json!(cause);
        }
        let (key, path) = (self.key(), format!("/v1/orders/{id}/notes"));
        let kind = if reply.is_some() { "reply" } else { "note" };
        let Some((answer, request)) = self.write(kind, &path, &key, &body, 201).await else {
            return;
        };
        let sequence = answer.json["sequence"].as_u64().unwrap_or_default();
        let note_id: Uuid = answer.json["note_id"]
            .as_str()
            .and_then(|id| id.parse().ok())
            .unwrap_or_default();
        let checked = lock(&self.shared.model).written(
            writing,
            Some((note, note_id)),
            sequence,
            &mut self.session.knowledge,
        );
        self.judge(checked, &request);
        self.session.note = Some((number, note_id));
        *lock(&self.shared.news) = Some((number, id));
    }

    async fn receive(&mut self) {
        let sku = self.rng.u32(..SKUS);
        let writing = self.model().writing(Thing::Stock(sku), &self.session.knowledge);
        let (key, path) = (self.key(), format!("/v1/stock/sku-{sku}/receipts"));
        let body = json!({ "quantity": self.rng.u8(1..20) });
        let Some((answer, request)) = self.write("receive", &path, &key, &body, 200).await else {
            return;
        };
        let sequence = answer.json["sequence"].as_u64().unwrap_or_default();
        let checked = lock(&self.shared.model).written(writing, None, sequence, &mut self.session.knowledge);
        self.judge(checked, &request);
    }

    /// Reads what was just written, or what was just seen to be a cause: there staleness would show.
    async fn read_latest(&mut self) {
        match self.session.knowledge.take_latest() {
            Some(Thing::Stock(sku)) => self.read_stock(sku).await,
            Some(Thing::Order(number)) => {
                let Some((id, customer)) = self.model().acknowledged_order(number) else {
                    return;
                };
                if self.rng.u8(..5) == 0 {
                    self.read_customer(customer).await;
                } else {
                    self.read_order(number, id).await;
                }
            }
            None => self.read_any_order().await,
        }
    }

    /// Reads an order; as likely as not the one that got the last note, whose causes may not be everywhere yet.
    async fn read_any_order(&mut self) {
        let news = if self.rng.bool() {
            *lock(&self.shared.news)
        } else {
            None
        };
        let found = news.or_else(|| self.any_order().map(|(number, id, _)| (number, id)));
        match found {
            Some((number, id)) => self.read_order(number, id).await,
            None => self.place().await,
        }
    }

    async fn read_any_stock(&mut self) {
        let sku = self.rng.u32(..SKUS);
        self.read_stock(sku).await;
    }

    async fn read_any_customer(&mut self) {
        match self.any_order() {
            Some((_, _, customer)) => self.read_customer(customer).await,
            None => self.place().await,
        }
    }

    async fn read_order(&mut self, number: u32, id: Uuid) {
        let target = Target::Order(number);
        let path = format!("/v1/orders/{id}");
        let Some(read) = self.read("read order", &target, &path).await else {
            return;
        };
        let shown = match read.answer.status {
            200 => shown_order(&read.answer.json),
            304 => read.etag.map(|sequence| ShownOrder {
                sequence,
                view: None,
                notes: None,
            }),
            _ => None,
        };
        if shown.is_none() && read.answer.status != 404 {
            return self.malformed(&read);
        }
        if let Some(note) = shown.as_ref().and_then(|shown| shown.notes.as_ref()?.last()) {
            self.session.note = Some((number, note.id));
        }
        let same_tag = shown
            .as_ref()
            .is_none_or(|shown| Some(shown.sequence) == read.etag);
        let mut checked = lock(&self.shared.model).saw_order(
            number,
            &read.expected,
            shown.as_ref(),
            &mut self.session.knowledge,
        );
        if !same_tag {
            checked = Err(Breach::new(Rule::Contract, "the ETag is not the sequence"));
        }
        self.judge(checked, &read.request);
    }

    async fn read_stock(&mut self, sku: u32) {
        let (target, path) = (Target::Stock(sku), format!("/v1/stock/sku-{sku}"));
        let Some(read) = self.read("read stock", &target, &path).await else {
            return;
        };
        let shown = match read.answer.status {
            200 => read.answer.json["sequence"]
                .as_u64()
                .map(|sequence| (sequence, Some(hash(&read.answer.text)))),
            304 => read.etag.map(|sequence| (sequence, None)),
            _ => None,
        };
        if shown.map(|(sequence, _)| sequence) != read.etag {
            return self.malformed(&read);
        }
        let checked =
            lock(&self.shared.model).saw_stock(sku, &read.expected, shown, &mut self.session.knowledge);
        self.judge(checked, &read.request);
    }

    async fn read_customer(&mut self, customer: Arc<str>) {
        let path = format!("/v1/customers/{customer}/orders?limit=200");
        let target = Target::Customer(customer);
        let Some(read) = self.read("read customer", &target, &path).await else {
            return;
        };
        let orders = read.answer.json["orders"].as_array();
        let shown: Option<Vec<(Uuid, ShownOrder)>> = orders.and_then(|orders| {
            let each = orders
                .iter()
                .map(|order| Some((order["order_id"].as_str()?.parse().ok()?, shown_order(order)?)));
            each.collect()
        });
        let Some(shown) = shown else {
            return self.malformed(&read);
        };
        let checked =
            lock(&self.shared.model).saw_customer(&read.expected, &shown, &mut self.session.knowledge);
        self.judge(checked, &read.request);
    }

    fn key(&mut self) -> String {
        // Another run with the same seed has a log of its own.
        format!("{}-{:016x}", self.number, self.rng.u64(..))
    }
}

/// What another client left when it failed fails the run anyway.
fn lock<T>(shared: &std::sync::Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
