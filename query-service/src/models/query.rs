//! What is asked of a model: which model has it, on which partitions the answer depends, and what it is kept under.

use std::sync::Arc;

use eventlog::{Topic, TopicPartition, partition_of};
use read_model::postgres::{After, Filter};
use read_model::projection::At;
use read_model::view::{Day, Period};
use uuid::Uuid;

use super::Model;
use crate::cache::key::Key;
use crate::cache::policy::Kind;

/// What is asked of a model.
#[derive(Clone, Debug)]
pub(crate) enum Query {
    Order(Uuid),
    Stock(Arc<str>),
    Customer {
        id: Arc<str>,
        filter: Filter,
        after: Option<After>,
        limit: u32,
    },
    /// An order's events.
    History(Uuid),
    /// An order as it was.
    OrderAt(Uuid, At),
    /// Where a topic's partitions stand.
    Positions(Topic),
    /// A SKU's sales, from a day on and up to another one, both included.
    Sales {
        sku: Arc<str>,
        from: Option<Day>,
        to: Option<Day>,
    },
    /// The best sellers.
    Top(Period),
}

impl Query {
    /// The row of the table of policies.
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Order(_) => Kind::Order,
            Self::Stock(_) => Kind::Stock,
            Self::Customer { .. } => self.key().map_or(Kind::CustomerRest, |_| Kind::Customer),
            Self::History(_) => Kind::History,
            Self::OrderAt(_, At::Time(_)) => Kind::Past,
            Self::OrderAt(_, At::Sequence(_)) => Kind::Version,
            Self::Positions(_) => Kind::Positions,
            Self::Sales { .. } => Kind::Sales,
            Self::Top(_) => Kind::Top,
        }
    }

    /// What its answer is kept under; none where it is not kept.
    pub(crate) fn key(&self) -> Option<Key> {
        match self {
            Self::Order(id) => Some(Key::Order(*id)),
            Self::Stock(sku) => Some(Key::Stock(Arc::clone(sku))),
            Self::Customer {
                id,
                filter,
                after: None,
                limit,
            } if *filter == Filter::default() => Some(Key::Customer(Arc::clone(id), *limit)),
            Self::Top(period) => Some(Key::Top(*period)),
            Self::Customer { .. }
            | Self::History(_)
            | Self::OrderAt(..)
            | Self::Positions(_)
            | Self::Sales { .. } => None,
        }
    }

    /// Whether a model has what it takes to answer.
    pub(crate) const fn can_ask(&self, model: Model) -> bool {
        match self {
            Self::Order(_) | Self::Stock(_) | Self::Positions(_) => true,
            Self::Customer { .. }
            | Self::History(_)
            | Self::OrderAt(..)
            | Self::Sales { .. }
            | Self::Top(_) => matches!(model, Model::Postgres),
        }
    }

    /// The partitions that the answer depends on.
    pub(crate) fn partitions(&self, count: i32) -> Vec<TopicPartition> {
        match self {
            Self::Order(id) | Self::History(id) | Self::OrderAt(id, _) => vec![order_partition(*id, count)],
            Self::Stock(sku) => vec![stock_partition(sku, count)],
            Self::Customer { .. } | Self::Sales { .. } | Self::Top(_) => all_partitions(Topic::Orders, count),
            Self::Positions(topic) => all_partitions(*topic, count),
        }
    }
}

fn all_partitions(topic: Topic, count: i32) -> Vec<TopicPartition> {
    (0..count)
        .map(|partition| TopicPartition { topic, partition })
        .collect()
}

pub(crate) fn order_partition(id: Uuid, count: i32) -> TopicPartition {
    let mut buffer = Uuid::encode_buffer();
    let key = id.hyphenated().encode_lower(&mut buffer);
    TopicPartition {
        topic: Topic::Orders,
        partition: partition_of(key.as_bytes(), count),
    }
}

pub(super) fn stock_partition(sku: &str, count: i32) -> TopicPartition {
    TopicPartition {
        topic: Topic::Stock,
        partition: partition_of(sku.as_bytes(), count),
    }
}
