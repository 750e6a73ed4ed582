//! Reads an order or the stock of a SKU from its writer.

use std::time::{Duration, Instant};

use domain::{Order, State, Stock};
use eventlog::internal::{self, AggregateAnswer, AggregateQuestion};
use eventlog::{Positions, Topic, TopicPartition};
use uuid::Uuid;

use super::{Writers, WritersError};

/// An aggregate as its writer has folded it: nothing in it is not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriterReading<T> {
    /// None where there is no such aggregate.
    pub value: Option<T>,
    /// Its partition.
    pub partition: TopicPartition,
    /// How far that is folded: the first offset that is not.
    pub next_offset: i64,
    /// What its events depend on: belongs into the token of whoever reads it, beside the position.
    pub causes: Positions,
}

impl<T> WriterReading<T> {
    /// All that whoever reads it has seen.
    pub fn seen(&self) -> Positions {
        let mut seen = self.causes.clone();
        seen.observe(self.partition, self.next_offset);
        seen
    }
}

impl Writers {
    /// An order, of a history that goes up to `at_least` or further.
    pub async fn order(
        &self,
        order_id: Uuid,
        at_least: i64,
        timeout: Duration,
    ) -> Result<WriterReading<Order>, WritersError> {
        let question = AggregateQuestion {
            topic: Topic::Orders,
            key: order_id.to_string(),
            at_least,
        };
        self.read(question, timeout, |state| match state {
            State::Order(order) => Some(order),
            State::Stock(_) => None,
        })
        .await
    }

    /// The stock of a SKU, of a history that goes up to `at_least` or further: its totals, without the open reservations.
    pub async fn stock(
        &self,
        sku: &str,
        at_least: i64,
        timeout: Duration,
    ) -> Result<WriterReading<Stock>, WritersError> {
        let question = AggregateQuestion {
            topic: Topic::Stock,
            key: sku.to_owned(),
            at_least,
        };
        self.read(question, timeout, |state| match state {
            State::Stock(stock) => Some(stock),
            State::Order(_) => None,
        })
        .await
    }

    async fn read<T>(
        &self,
        question: AggregateQuestion,
        timeout: Duration,
        of_kind: impl Fn(State) -> Option<T>,
    ) -> Result<WriterReading<T>, WritersError> {
        let at_least = question.at_least;
        let asked = self
            .0
            .instances
            .ask(internal::AGGREGATES, &question, Instant::now() + timeout);
        let AggregateAnswer {
            state,
            partition,
            next_offset,
            causes,
        } = asked.await?;
        let is_there = state.is_some();
        let value = state.and_then(of_kind);
        if is_there != value.is_some() || next_offset < at_least {
            return Err(WritersError::Unreadable(
                "it is not what was asked for".to_owned(),
            ));
        }
        Ok(WriterReading {
            value,
            partition,
            next_offset,
            causes,
        })
    }
}
