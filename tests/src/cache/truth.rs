//! What each thing was at each position of its partition, as the domain folds the log.
//!
//! The fold and the documents are the writer's, not those of the projection that made what the query service reads.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

use domain::State;
use eventlog::{Chain, Checkpoint, LogRecord, Positions, Topic, TopicPartition, Verdict, partition_of};
use read_model::StockView;
use read_model::view::OrderDocument;
use schemas::{Codec, Event, Timestamp};
use uuid::Uuid;

/// What can be read by itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Thing {
    /// An order.
    Order(Uuid),
    /// A SKU.
    Stock(String),
}

/// What a read shows of a thing: its sequence, and a hash of the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The sequence.
    pub sequence: u64,
    /// Of the document; none where the read did not show it.
    pub hash: Option<u64>,
}

/// A thing from a position on, until the next one.
#[derive(Clone, Copy, Debug)]
struct Version {
    from: i64,
    sequence: u64,
    hash: u64,
    /// Of an order's document without its notes.
    listed: u64,
}

#[derive(Debug, Default)]
struct History {
    state: Option<State>,
    versions: Vec<Version>,
}

impl History {
    fn at(&self, position: i64) -> Option<&Version> {
        let behind = self.versions.partition_point(|version| version.from <= position);
        self.versions[..behind].last()
    }
}

/// The log so far.
#[derive(Debug)]
pub struct Truth {
    partitions: i32,
    chains: BTreeMap<TopicPartition, Chain>,
    things: HashMap<Thing, History>,
    /// Each customer's orders and when they were placed, as the log has them.
    customers: HashMap<String, Vec<(Timestamp, Uuid)>>,
}

impl Truth {
    /// Of an empty log of so many partitions.
    pub fn new(partitions: i32) -> Self {
        let all = TopicPartition::all(partitions);
        Self {
            partitions,
            chains: all
                .map(|partition| (partition, Chain::from(Checkpoint::BEGINNING)))
                .collect(),
            things: HashMap::new(),
            customers: HashMap::new(),
        }
    }

    /// All partitions.
    pub fn partitions(&self) -> impl Iterator<Item = TopicPartition> {
        self.chains.keys().copied()
    }

    /// Takes in the next record of a partition.
    pub fn take(&mut self, codec: &Codec, partition: TopicPartition, record: &LogRecord) {
        let Some(chain) = self.chains.get_mut(&partition) else {
            return;
        };
        let Verdict::Effective(envelope) = chain.judge(record) else {
            return;
        };
        let event = codec
            .decode(partition.topic, &record.value)
            .expect("our own events can be read");
        let thing = match &event {
            Event::Order(order) => order.order_id().map(Thing::Order),
            Event::Stock(stock) => stock.sku().map(|sku| Thing::Stock(sku.to_owned())),
        };
        let (Some(thing), true) = (thing, event.changes_state()) else {
            return;
        };
        let history = self.things.entry(thing.clone()).or_default();
        let new = history.versions.is_empty();
        history.state = domain::evolve(history.state.take(), &event, envelope.event_id)
            .expect("effective events fit what was before them");
        let from = record.offset + 1;
        match (&history.state, thing) {
            (Some(State::Order(order)), Thing::Order(id)) => {
                let document = OrderDocument::of_state(id, order);
                if new {
                    let orders = self.customers.entry(order.placed.customer_id.clone());
                    orders.or_default().push((order.placed.at, id));
                }
                history.versions.push(Version {
                    from,
                    sequence: order.sequence,
                    listed: hash(&text(&document.order)),
                    hash: hash(&text(&document)),
                });
            }
            (Some(State::Stock(stock)), Thing::Stock(sku)) => {
                let hash = hash(&text(&StockView::of_state(&sku, stock)));
                history.versions.push(Version {
                    from,
                    sequence: stock.sequence,
                    hash,
                    listed: hash,
                });
            }
            _ => {}
        }
    }

    /// Whether all of these positions are taken in.
    pub fn covers(&self, positions: &Positions) -> bool {
        positions.iter().all(|(partition, position)| {
            self.chains
                .get(&partition)
                .is_some_and(|chain| chain.checkpoint().next_offset >= position)
        })
    }

    /// The partition that a thing is in.
    pub fn partition_of(&self, thing: &Thing) -> TopicPartition {
        let (topic, key) = match thing {
            Thing::Order(id) => (Topic::Orders, id.to_string()),
            Thing::Stock(sku) => (Topic::Stock, sku.clone()),
        };
        TopicPartition {
            topic,
            partition: partition_of(key.as_bytes(), self.partitions),
        }
    }

    /// What a thing is at these positions; nothing where it is not there yet.
    pub fn at(&self, thing: &Thing, positions: &Positions) -> Option<Shown> {
        let position = positions.get(self.partition_of(thing)).unwrap_or_default();
        let version = self.things.get(thing)?.at(position)?;
        Some(Shown {
            sequence: version.sequence,
            hash: Some(version.hash),
        })
    }

    /// Whether a thing is shown as it once was, at these positions or before.
    pub fn once(&self, thing: &Thing, positions: &Positions, shown: Option<Shown>) -> bool {
        let Some(shown) = shown else {
            return true;
        };
        let position = positions.get(self.partition_of(thing)).unwrap_or_default();
        self.things.get(thing).is_some_and(|history| {
            history.versions.iter().any(|version| {
                version.from <= position
                    && version.sequence == shown.sequence
                    && shown.hash.is_none_or(|hash| hash == version.hash)
            })
        })
    }

    /// Hashes of the orders on the first page of a customer at these positions, newest first.
    pub fn page(&self, customer: &str, limit: usize, positions: &Positions) -> Vec<u64> {
        let orders = self.customers.get(customer).map_or(&[][..], Vec::as_slice);
        let mut there: Vec<(Timestamp, Uuid, u64)> = orders
            .iter()
            .filter_map(|(placed_at, id)| {
                let thing = Thing::Order(*id);
                let position = positions.get(self.partition_of(&thing))?;
                let version = self.things.get(&thing)?.at(position)?;
                Some((*placed_at, *id, version.listed))
            })
            .collect();
        there.sort_unstable_by(|a, b| b.cmp(a));
        there.truncate(limit);
        there.into_iter().map(|(_, _, listed)| listed).collect()
    }
}

fn text<T: serde::Serialize>(view: &T) -> String {
    serde_json::to_string(view).expect("views are JSON")
}

/// Of two equal texts the same.
pub fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}
