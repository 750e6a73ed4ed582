//! The steps that every command goes through, one at a time, to have their instructions counted: those are the same from run to
//! run, however busy the machine is.

use std::hint::black_box;

use anyhow::Context as _;
use domain::{Command, OrderCommand, State};
use eventlog::{Chain, Checkpoint, Link, LogId, LogRecord, NewRecord, Positions, TokenKey, TopicPartition};
use schemas::{Codec, Event, Topic};
use uuid::Uuid;

use crate::history::History;

/// A step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Step {
    /// A note is decided on an order.
    Decide,
    /// Its event becomes Avro in Confluent framing.
    Encode,
    /// Its record gets the link that follows from all that it holds.
    Link,
    /// A reader judges it by the chain rule.
    Judge,
    /// A reader decodes it.
    Decode,
    /// Its event is folded into the order.
    Fold,
    /// Positions become a token.
    Seal,
    /// A token becomes positions.
    Open,
}

/// Events of the order before the note.
const EVENTS_BEFORE: u64 = 9;
/// Partitions that a token tells of.
const PARTITIONS: i32 = 12;
const LOG: LogId = LogId([7; 8]);

/// Does one of the steps so many times.
pub fn repeat(step: Step, times: u64) -> anyhow::Result<()> {
    let material = Material::new()?;
    for _ in 0..times {
        material.once(step)?;
    }
    Ok(())
}

/// What the steps work on.
struct Material {
    codec: Codec,
    order: State,
    /// The chain before the note.
    chain: Chain,
    event: Event,
    new: NewRecord,
    record: LogRecord,
    command: Command,
    key: TokenKey,
    positions: Positions,
    token: String,
}

impl Material {
    fn new() -> anyhow::Result<Self> {
        let codec = || Codec::new(schemas::all().iter().zip(1..));
        let mut history = History::new(codec()?, LOG, 1, 1, EVENTS_BEFORE + 1);
        let codec = codec()?;
        let (mut order, mut chain) = (None, Chain::from(Checkpoint::BEGINNING));
        for _ in 0..EVENTS_BEFORE {
            let (_, offset, record) = history.next_record()?;
            let event = codec.decode(Topic::Orders, &record.value)?;
            chain.judge(&record.at_offset(offset));
            order = domain::evolve(order, &event, record.event_id)?;
        }
        let (_, offset, new) = history.next_record()?;
        let positions: Positions = TopicPartition::all(PARTITIONS).zip(1_000_000..).collect();
        let key = TokenKey::new(b"a key for measuring only", LOG);
        Ok(Self {
            event: codec.decode(Topic::Orders, &new.value)?,
            record: new.at_offset(offset),
            order: order.context("an order has events")?,
            command: Command::Order(OrderCommand::AddNote {
                order_id: History::order_id(0),
                note_id: Uuid::from_u128(1),
                author: "author".to_owned(),
                text: "a note of some length".to_owned(),
                reply_to: None,
            }),
            token: key.seal(&positions),
            codec,
            chain,
            new,
            key,
            positions,
        })
    }

    fn once(&self, step: Step) -> anyhow::Result<()> {
        match step {
            Step::Decide => {
                let context = domain::Context {
                    command_id: Uuid::from_u128(2),
                    at: self.new.occurred_at,
                };
                black_box(domain::decide(Some(&self.order), &self.command, &context)?);
            }
            Step::Encode => drop(black_box(self.codec.encode(&self.event)?)),
            Step::Link => drop(black_box(self.new.clone().chained(Link::ZERO))),
            Step::Judge => drop(black_box(self.chain.clone().judge(&self.record))),
            Step::Decode => drop(black_box(self.codec.decode(Topic::Orders, &self.record.value)?)),
            Step::Fold => drop(black_box(domain::evolve(
                Some(self.order.clone()),
                &self.event,
                self.new.event_id,
            )?)),
            Step::Seal => drop(black_box(self.key.seal(&self.positions))),
            Step::Open => drop(black_box(self.key.open(&self.token)?)),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_does_what_it_is_called() {
        let material = Material::new().unwrap();
        for step in <Step as clap::ValueEnum>::value_variants() {
            material.once(*step).unwrap();
        }
        let verdict = material.chain.clone().judge(&material.record);
        assert!(matches!(verdict, eventlog::Verdict::Effective(_)), "{verdict:?}");
        assert_eq!(
            material.codec.encode(&material.event).unwrap(),
            material.record.value
        );
        assert_eq!(material.key.open(&material.token).unwrap(), material.positions);
    }
}
