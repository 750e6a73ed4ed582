//! Follows the log as any subscriber does, and folds the orders that were placed since the demo began.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use domain::{Order, OrderStatus, State, evolve};
use eventlog::{
    Chain, Checkpoint, LogConfig, LogReader, LogRecord, TopicPartition, Verdict, topics::partition_count,
};
use rustc_hash::{FxHashMap, FxHashSet};
use schemas::{Codec, Event, OrderEvent, Topic};
use uuid::Uuid;

use super::{ledger::Ledger, progress::Progress};

const TIMEOUT: Duration = Duration::from_secs(10);

/// Where the log has come to, and what became of the orders.
pub(super) struct Follower {
    reader: LogReader,
    codec: Codec,
    chains: BTreeMap<TopicPartition, Chain>,
    /// Orders placed since the demo began, and how often the log holds each.
    placed: FxHashMap<Uuid, u32>,
    orders: FxHashMap<Uuid, Order>,
    /// Orders that have a step to take.
    restless: FxHashSet<Uuid>,
    /// Events since the demo began, without refusals and barriers.
    pub(super) events: u64,
    /// Records that do not count.
    pub(super) void: u64,
    faults: Vec<String>,
    /// False while what was there before the demo is read past.
    counting: bool,
}

impl Follower {
    /// Reads past everything that is there: only the chain is followed, nothing is decoded.
    pub(super) fn begin(kafka: &str, prefix: &str, codec: Codec) -> anyhow::Result<Self> {
        let config = LogConfig {
            bootstrap: kafka.to_owned(),
            prefix: prefix.to_owned(),
        };
        let partitions = partition_count(&config, TIMEOUT).context("cannot ask Kafka for its partitions")?;
        let mut reader = LogReader::new(&config, "tailwater-demo")?;
        let all = Topic::ALL
            .into_iter()
            .flat_map(|topic| (0..partitions).map(move |partition| TopicPartition { topic, partition }));
        let chains: BTreeMap<_, _> = all.map(|at| (at, Chain::from(Checkpoint::BEGINNING))).collect();
        reader.assign(&chains.keys().map(|at| (*at, 0)).collect::<Vec<_>>())?;
        let mut follower = Self {
            reader,
            codec,
            chains,
            placed: FxHashMap::default(),
            orders: FxHashMap::default(),
            restless: FxHashSet::default(),
            events: 0,
            void: 0,
            faults: Vec::new(),
            counting: false,
        };
        follower.catch_up()?;
        follower.counting = true;
        Ok(follower)
    }

    /// Reads up to where the log ends now.
    pub(super) fn catch_up(&mut self) -> anyhow::Result<()> {
        let mut behind: BTreeMap<TopicPartition, i64> = BTreeMap::new();
        for (&at, chain) in &self.chains {
            let (_, end) = self.reader.watermarks(at, TIMEOUT)?;
            if chain.checkpoint().next_offset < end {
                behind.insert(at, end);
            }
        }
        let mut last = Instant::now();
        while !behind.is_empty() {
            let polled = match self.reader.poll(Duration::from_millis(200)) {
                Ok(polled) => polled,
                Err(error) if error.is_fatal() => return Err(error.into()),
                Err(_transient) => None,
            };
            let Some((at, record)) = polled else {
                if last.elapsed() > TIMEOUT * 3 {
                    bail!("the log cannot be read: {behind:?} is not reached");
                }
                continue;
            };
            last = Instant::now();
            let next_offset = record.offset + 1;
            self.take(at, &record);
            if behind.get(&at).is_some_and(|end| next_offset >= *end) {
                behind.remove(&at);
            }
        }
        Ok(())
    }

    fn take(&mut self, at: TopicPartition, record: &LogRecord) {
        let Some(chain) = self.chains.get_mut(&at) else {
            return;
        };
        let verdict = chain.judge(record);
        if !self.counting {
            return;
        }
        match verdict {
            Verdict::Void(_) => self.void += 1,
            Verdict::Effective(envelope) => match self.codec.decode(at.topic, &record.value) {
                Ok(event) => self.fold(&event, envelope.event_id),
                Err(error) => self
                    .faults
                    .push(format!("{at:?}, offset {}: {error}", record.offset)),
            },
        }
    }

    fn fold(&mut self, event: &Event, event_id: Uuid) {
        self.events += u64::from(event.changes_state());
        let Event::Order(of_order) = event else { return };
        let Some(order_id) = of_order.order_id() else {
            return;
        };
        if matches!(of_order, OrderEvent::Placed(_)) {
            *self.placed.entry(order_id).or_default() += 1;
        } else if !self.placed.contains_key(&order_id) {
            return;
        }
        let before = self.orders.remove(&order_id).map(State::Order);
        match evolve(before, event, event_id) {
            Ok(Some(State::Order(order))) => {
                if order.steps_left() > 0 {
                    self.restless.insert(order_id);
                } else {
                    self.restless.remove(&order_id);
                }
                self.orders.insert(order_id, order);
            }
            Ok(_) => {}
            Err(error) => self.faults.push(format!("order {order_id}: {error}")),
        }
    }

    /// Follows until so many orders are there and none has a step to take; says how long it took.
    pub(super) fn until_rest(&mut self, placed: usize, patience: Duration) -> anyhow::Result<Duration> {
        let begin = Instant::now();
        let mut progress = Progress::begin("waiting until every order is at rest", placed);
        loop {
            self.catch_up()?;
            progress.set(self.placed.len() - self.restless.len());
            if self.restless.is_empty() && self.placed.len() >= placed {
                progress.end();
                return Ok(begin.elapsed());
            }
            if begin.elapsed() > patience {
                let (there, open) = (self.placed.len(), self.restless.len());
                let example = self.restless.iter().next();
                bail!(
                    "{there} of {placed} orders are in the log after {patience:?}, and {open} are not at rest: {example:?}"
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// How many orders have a status.
    pub(super) fn count(&self, status: OrderStatus) -> usize {
        self.orders
            .values()
            .filter(|order| order.status == status)
            .count()
    }

    /// An order that was placed since the demo began.
    pub(super) fn order(&self, order_id: Uuid) -> Option<&Order> {
        self.orders.get(&order_id)
    }

    /// What differs between the log and the list of what was acknowledged: lost, doubled, or with other money.
    pub(super) fn differences(&self, ledger: &Ledger) -> Vec<String> {
        let mut differences: Vec<String> = ledger.faults.iter().chain(&self.faults).cloned().collect();
        for (order_id, sent) in ledger.iter() {
            match (self.placed.get(&order_id), self.orders.get(&order_id)) {
                (Some(1), Some(order)) if order.placed.total_minor == sent.total_minor => {}
                (Some(1), Some(order)) => differences.push(format!(
                    "order {order_id} was sent with {} and is in the log with {}",
                    sent.total_minor, order.placed.total_minor
                )),
                (times, _) => differences.push(format!(
                    "order {order_id} was acknowledged and is in the log {} times",
                    times.copied().unwrap_or(0)
                )),
            }
        }
        let ours: FxHashSet<&str> = ledger
            .iter()
            .filter_map(|(id, _)| Some(self.orders.get(&id)?.placed.customer_id.as_str()))
            .collect();
        let unknown = self.orders.iter().filter(|(id, _)| ledger.get(**id).is_none());
        for (order_id, _) in unknown.filter(|(_, order)| ours.contains(order.placed.customer_id.as_str())) {
            differences.push(format!(
                "order {order_id} is in the log and was never acknowledged"
            ));
        }
        differences
    }
}
