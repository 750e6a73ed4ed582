//! The two functions that the engine knows, over all kinds of aggregates.

use schemas::{Event, OrderEvent, StockEvent};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Command, Context, Order, Refusal, Stock, order, stock};

/// The folded state of one aggregate. A clone is cheap, whatever the aggregate holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// An order.
    Order(Order),
    /// The stock of a SKU.
    Stock(Stock),
}

impl State {
    /// Which layout a serialized state has, and what it means. Stored states are a copy of what the log says, so a new
    /// number needs no migration: whoever finds another one throws its copy away. Raise it with every change to a field of a
    /// state, and with every change to what [`evolve`] makes of an event.
    pub const STORAGE_VERSION: u32 = 2;

    /// How many events made it.
    pub const fn sequence(&self) -> u64 {
        match self {
            Self::Order(order) => order.sequence,
            Self::Stock(stock) => stock.sequence,
        }
    }

    /// Bytes of memory that it takes, about. O(1): it is asked with every change.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Order(order) => order.bytes(),
            Self::Stock(stock) => stock.bytes(),
        }
    }

    /// The order, where it is one.
    pub const fn as_order(&self) -> Option<&Order> {
        match self {
            Self::Order(order) => Some(order),
            Self::Stock(_) => None,
        }
    }

    /// The stock, where it is one.
    pub const fn as_stock(&self) -> Option<&Stock> {
        match self {
            Self::Stock(stock) => Some(stock),
            Self::Order(_) => None,
        }
    }
}

/// An event does not follow from the state: the log does not hold what was decided on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{event} does not follow from the state: {why}")]
pub struct Inconsistent {
    /// The record's short name.
    pub event: &'static str,
    /// What stands against it.
    pub why: &'static str,
}

/// Decides a command on the aggregate's state, which is `None` where there is no such aggregate yet.
pub fn decide(state: Option<&State>, command: &Command, context: &Context) -> Result<Event, Refusal> {
    let decided = match command {
        Command::Order(command) => {
            order::decide(state.and_then(State::as_order), command, context).map(Event::Order)
        }
        Command::Stock(command) => {
            stock::decide(state.and_then(State::as_stock), command, context).map(Event::Stock)
        }
    };
    decided.map_err(|refusal| Refusal {
        sequence: refusal.sequence.or(state.map(State::sequence)),
        ..refusal
    })
}

/// Folds an event. Refusals and barriers change nothing; every other event raises the sequence by one.
pub fn evolve(state: Option<State>, event: &Event, event_id: Uuid) -> Result<Option<State>, Inconsistent> {
    let folded = match (event, state) {
        (
            Event::Order(OrderEvent::CommandRejected(_) | OrderEvent::Barrier(_))
            | Event::Stock(StockEvent::CommandRejected(_) | StockEvent::Barrier(_)),
            state,
        ) => return Ok(state),
        (Event::Order(event), None) => order::create(event, event_id).map(State::Order),
        (Event::Order(event), Some(State::Order(order))) => {
            order::evolve(order, event, event_id).map(State::Order)
        }
        (Event::Stock(event), None) => stock::evolve(Stock::default(), event).map(State::Stock),
        (Event::Stock(event), Some(State::Stock(stock))) => stock::evolve(stock, event).map(State::Stock),
        (Event::Order(_), Some(State::Stock(_))) | (Event::Stock(_), Some(State::Order(_))) => {
            Err("the aggregate is of another kind")
        }
    };
    folded.map(Some).map_err(|why| Inconsistent {
        event: event.short_name(),
        why,
    })
}
