//! A writer of the shop on a log in memory, driven by random commands.

use std::sync::Arc;

use domain::{Command, OrderCommand, StockCommand};
use eventlog::{LogId, LogRecord, Outcome, Positions, Topic, TopicPartition};
use fastrand::Rng;
use schemas::{Codec, Timestamp, ids, orders::PlacedLine};
use uuid::Uuid;

use crate::shop::{Answer, Shop};
use crate::writer::{Core, Expected, Limits, Output, Request, Restored};

const LIMITS: Limits = Limits {
    in_flight_max: 8,
    waiting_max: 1_000,
    doubt_after_ms: u64::MAX,
    barrier_every_ms: 5,
    told_at_once: 1,
};

pub fn shop(topic: Topic) -> Shop {
    let codec = Codec::new(schemas::all().iter().zip(1..)).unwrap();
    Shop::new(topic, Arc::new(codec), LogId([7; 8]))
}

/// What a caller was told.
pub type Told = (u64, Option<(Answer, i64)>);

/// A writer and its log.
pub struct Driven {
    pub core: Core<Shop, u64>,
    pub log: Vec<LogRecord>,
    shop: Shop,
    callers: u64,
    /// Aggregates that were announced to the process manager.
    pub announced: usize,
    /// Times that its stored state could not be read.
    pub lost: usize,
}

impl Driven {
    pub fn new(topic: Topic) -> Self {
        let shop = shop(topic);
        let mut driven = Self {
            core: Core::new(shop.clone(), LIMITS),
            log: Vec::new(),
            shop,
            callers: 0,
            announced: 0,
            lost: 0,
        };
        driven.settle();
        driven
    }

    /// It dies, and starts from a snapshot or from nothing.
    pub fn restart(&mut self, restored: Option<Restored<Shop>>) {
        self.core = match restored {
            Some(restored) => {
                let found = usize::try_from(restored.checkpoint.last_offset)
                    .ok()
                    .and_then(|offset| self.log.get(offset));
                assert!(restored.checkpoint.confirmed_by(found));
                Core::restore(self.shop.clone(), LIMITS, restored)
            }
            None => Core::new(self.shop.clone(), LIMITS),
        };
        self.settle();
    }

    /// Asks for a command; what the caller is told.
    pub fn ask(&mut self, request: &Request<Command>) -> Vec<Told> {
        self.callers += 1;
        self.core.submit(request.clone(), self.callers);
        self.settle()
    }

    /// Does what it wants done until it wants nothing.
    pub fn settle(&mut self) -> Vec<Told> {
        let mut told = Vec::new();
        loop {
            let Some(output) = self.core.next_output() else {
                // A state that was lost is looked after at the next tick.
                if self.core.is_writing() {
                    return told;
                }
                self.core.tick(1);
                continue;
            };
            match output {
                Output::Append { ticket, record } => {
                    let offset = i64::try_from(self.log.len()).unwrap();
                    self.log.push(record.at_offset(offset));
                    self.core.report(ticket, Outcome::At(offset));
                }
                Output::Read { from, .. } => {
                    for record in &self.log[usize::try_from(from).unwrap()..] {
                        self.core.record(record);
                    }
                    self.core.reached_end();
                }
                Output::Answer { caller, kept, .. } => {
                    told.push((caller, Some((kept.answer, kept.next_offset))));
                }
                Output::Mismatch { caller } => told.push((caller, None)),
                Output::Changed { key, .. } => {
                    assert!(self.core.look_up(&key).is_some());
                    self.announced += 1;
                }
                Output::StateLost { .. } => self.lost += 1,
                other => panic!("{other:?}"),
            }
        }
    }
}

/// Random commands, some of which come again.
pub struct Commands {
    topic: Topic,
    rng: Rng,
    now: i64,
    /// Microseconds from one command to the next at most.
    step_max: i64,
    aggregates: u64,
    sent: Vec<Request<Command>>,
}

impl Commands {
    pub fn new(topic: Topic, seed: u64, aggregates: u64, step_max: i64) -> Self {
        Self {
            topic,
            rng: Rng::with_seed(seed),
            now: 1_000_000_000,
            step_max,
            aggregates,
            sent: Vec::new(),
        }
    }

    pub fn aggregate(&self, number: u64) -> Uuid {
        assert!(number < self.aggregates);
        Uuid::from_u64_pair(9, number)
    }

    pub fn sent(&self) -> &[Request<Command>] {
        &self.sent
    }

    pub fn next(&mut self) -> Request<Command> {
        self.now += self.rng.i64(0..=self.step_max);
        if !self.sent.is_empty() && self.rng.u8(0..4) == 0 {
            // Mostly one of long ago.
            let mut again = self.sent[self.rng.usize(..self.sent.len())].clone();
            if self.rng.u8(0..4) == 0 {
                again.fingerprint = [1; 16];
            }
            return again;
        }
        let number = self.rng.u64(..self.aggregates);
        let aggregate = self.aggregate(number);
        let command = match self.topic {
            Topic::Orders => Command::Order(self.order(aggregate)),
            Topic::Stock => Command::Stock(self.stock(aggregate)),
        };
        let request = Request {
            id: Uuid::from_u64_pair(1, self.sent.len() as u64),
            fingerprint: [0; 16],
            at: Timestamp(self.now),
            expected: Expected::Any,
            causes: self.causes(),
            traceparent: None,
            source: (self.rng.u8(0..3) == 0).then_some(self.sent.len() as u64),
            command,
        };
        self.sent.push(request.clone());
        request
    }

    fn causes(&mut self) -> Arc<[u8]> {
        let cause = TopicPartition {
            topic: Topic::Stock,
            partition: self.rng.i32(0..3),
        };
        let causes: Positions = [(cause, self.rng.i64(0..1_000))].into_iter().collect();
        causes.encode(LogId([7; 8])).into()
    }

    fn order(&mut self, order_id: Uuid) -> OrderCommand {
        let line = self.rng.i32(0..3);
        let text = || "text".to_owned();
        match self.rng.u8(0..12) {
            0..=3 => OrderCommand::Place {
                order_id,
                customer_id: text(),
                currency: "EUR".to_owned(),
                lines: (0..self.rng.i64(1..4))
                    .map(|quantity| PlacedLine {
                        sku: format!("sku-{quantity}"),
                        quantity: quantity + 1,
                        unit_price_minor: 10,
                    })
                    .collect(),
            },
            4 | 5 => OrderCommand::RecordReserved { order_id, line },
            6 => OrderCommand::RecordRefused {
                order_id,
                line,
                reason: text(),
            },
            7 => OrderCommand::RecordReleased { order_id, line },
            8 => OrderCommand::Cancel {
                order_id,
                reason: text(),
            },
            9 => OrderCommand::Pay {
                order_id,
                amount_minor: 20,
                reference: text(),
            },
            10 => OrderCommand::Ship {
                order_id,
                carrier: text(),
                tracking_code: text(),
            },
            _ => OrderCommand::AddNote {
                order_id,
                note_id: ids::created_id(order_id, &self.now.to_string()),
                author: text(),
                text: text(),
                reply_to: None,
            },
        }
    }

    fn stock(&mut self, aggregate: Uuid) -> StockCommand {
        let sku = format!("sku-{}", aggregate.as_u64_pair().1);
        let order_id = Uuid::from_u64_pair(8, self.rng.u64(..20));
        let line = self.rng.i32(0..2);
        match self.rng.u8(0..6) {
            0 | 1 => StockCommand::Receive {
                sku,
                quantity: self.rng.i64(1..20),
            },
            2 | 3 => StockCommand::Reserve {
                sku,
                order_id,
                line,
                quantity: self.rng.i64(1..4),
            },
            4 => StockCommand::Release { sku, order_id, line },
            _ => StockCommand::Ship { sku, order_id, line },
        }
    }
}
