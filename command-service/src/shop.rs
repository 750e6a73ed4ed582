//! The shop as the writer's domain: `domain`'s pure functions, `schemas`' codec, and refusals as recorded problems.

mod aggregate;

use std::fmt;
use std::sync::Arc;

use domain::{Command, Context, OrderCommand, OrderStatus, Refusal, State};
use eventlog::{LogId, Positions};
use schemas::{Barrier, Codec, CommandRejected, Event, OrderEvent, StockEvent, Timestamp, Topic, ids};
use serde::{Deserialize, Serialize};
use service_kit::Problem;
use uuid::Uuid;

use crate::store::Stored;
use crate::writer::{Domain, Expected, Origin, Request, Work};

pub use aggregate::{Aggregate, Causes};

/// The shop, as one topic's writers see it.
#[derive(Clone, Debug)]
pub struct Shop {
    topic: Topic,
    codec: Arc<Codec>,
    log_id: LogId,
}

impl Shop {
    /// The shop on the partitions of a log's topic.
    pub const fn new(topic: Topic, codec: Arc<Codec>, log_id: LogId) -> Self {
        Self { topic, codec, log_id }
    }
}

/// Names an aggregate of the shop.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Key {
    /// An order.
    Order(Uuid),
    /// The stock of a SKU.
    Stock(Arc<str>),
}

impl Key {
    /// The aggregate of a topic with that key in the log; none where no aggregate can have it.
    pub fn of(topic: Topic, key: &str) -> Option<Self> {
        match topic {
            Topic::Orders => {
                let id = Uuid::try_parse(key).ok()?;
                // In any other form it is no key of ours, and belongs to another partition.
                (id.to_string() == key).then_some(Self::Order(id))
            }
            Topic::Stock => service_kit::path::is_name(key).then(|| Self::Stock(key.into())),
        }
    }
}

/// What a command created.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Created {
    /// Nothing: it changed what was there.
    Nothing,
    /// Its order.
    Order,
    /// The note with this id.
    Note(Uuid),
}

/// What a command is answered, now and for ever.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It was carried out.
    Applied {
        /// The aggregate.
        subject: Key,
        /// What came into being.
        created: Created,
        /// The aggregate's sequence after it.
        sequence: u64,
        /// The order's status after it; none for stock.
        status: Option<OrderStatus>,
    },
    /// It was refused.
    Refused {
        /// The problem's HTTP status.
        status: u16,
        /// The aggregate's sequence, where there is such an aggregate.
        sequence: Option<u64>,
        /// The problem, as recorded.
        problem: Arc<str>,
    },
}

/// What a refusal's problem says that the engine itself uses.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Recorded {
    status: u16,
    sequence: Option<u64>,
    r#type: String,
    detail: String,
}

impl Answer {
    fn refused(problem: &str) -> Self {
        let recorded: Recorded = serde_json::from_str(problem).unwrap_or_default();
        Self::Refused {
            // A record that was not written by this program may say anything.
            status: if (400..500).contains(&recorded.status) {
                recorded.status
            } else {
                409
            },
            sequence: recorded.sequence,
            problem: problem.into(),
        }
    }

    /// A refusal as `<slug>: <detail>`; none where the command was carried out.
    pub fn refusal(&self) -> Option<String> {
        let Self::Refused { problem, .. } = self else {
            return None;
        };
        let recorded: Recorded = serde_json::from_str(problem).unwrap_or_default();
        let slug = recorded.r#type.rsplit('/').next().unwrap_or_default();
        Some(format!("{slug}: {}", recorded.detail))
    }
}

/// An effective record that this program cannot fold.
#[derive(Debug)]
pub struct Poison(String);

impl fmt::Display for Poison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn poison(error: &impl fmt::Display) -> Poison {
    Poison(error.to_string())
}

/// Whether a command makes an aggregate that must not be there yet.
const fn creates(command: &Command) -> bool {
    matches!(command, Command::Order(OrderCommand::Place { .. }))
}

/// Whether a command may find no aggregate.
const fn may_create(command: &Command) -> bool {
    creates(command) || matches!(command, Command::Stock(domain::StockCommand::Receive { .. }))
}

fn attempt(state: Option<&State>, request: &Request<Command>) -> Result<Event, Refusal> {
    let sequence = state.map(State::sequence);
    let asked_of_creation = creates(&request.command) && request.expected != Expected::Any;
    let nothing_there = state.is_none() && !may_create(&request.command);
    if asked_of_creation || (!nothing_there && !request.expected.met_by(sequence)) {
        return Err(Refusal::version_mismatch(sequence.unwrap_or(0)));
    }
    domain::decide(
        state,
        &request.command,
        &Context {
            command_id: request.id,
            at: request.at,
        },
    )
}

fn rejected(request: &Request<Command>, refusal: &Refusal) -> Event {
    let reason = refusal.reason;
    let problem = Problem::new(
        reason.status(),
        reason.slug(),
        reason.title(),
        refusal.detail.clone(),
    )
    .with_sequence(refusal.sequence)
    .with_available(refusal.available);
    let rejected = CommandRejected {
        occurred_at: request.at,
        command: request.command.name().to_owned(),
        reason: reason.slug().to_owned(),
        problem: problem.to_json(),
    };
    match request.command {
        Command::Order(_) => Event::Order(OrderEvent::CommandRejected(rejected)),
        Command::Stock(_) => Event::Stock(StockEvent::CommandRejected(rejected)),
    }
}

impl Stored for Shop {
    /// Ours of keys, answers and [`Aggregate`], above the domain's of states.
    const STORAGE_VERSION: u32 = (2 << 16) + State::STORAGE_VERSION;
}

impl Domain for Shop {
    type Command = Command;
    type Event = Event;
    type State = Arc<Aggregate>;
    type Key = Key;
    type Answer = Answer;
    type Poison = Poison;

    fn target(&self, command: &Command) -> Key {
        match command {
            Command::Order(command) => Key::Order(command.order_id()),
            Command::Stock(command) => Key::Stock(command.sku().into()),
        }
    }

    fn key_bytes(&self, key: &Key) -> Vec<u8> {
        match key {
            Key::Order(id) => {
                // Not `to_string`, which formats: every record has a key.
                let mut text = Uuid::encode_buffer();
                id.hyphenated().encode_lower(&mut text).as_bytes().to_vec()
            }
            Key::Stock(sku) => sku.as_bytes().to_vec(),
        }
    }

    fn decide(&self, state: Option<&Arc<Aggregate>>, request: &Request<Command>) -> Event {
        attempt(state.map(|aggregate| &aggregate.state), request)
            .unwrap_or_else(|refusal| rejected(request, &refusal))
    }

    fn changes(&self, event: &Event) -> Option<Key> {
        match event {
            Event::Order(order) => order.order_id().map(Key::Order),
            Event::Stock(stock) => stock.sku().map(|sku| Key::Stock(sku.into())),
        }
    }

    fn evolve(
        &self,
        state: Option<Arc<Aggregate>>,
        event: &Event,
        origin: Origin<'_>,
    ) -> Result<Arc<Aggregate>, Poison> {
        let (state, mut causes) = state.map_or_else(Default::default, |aggregate| {
            let Aggregate { state, causes } = Arc::unwrap_or_clone(aggregate);
            (Some(state), causes)
        });
        let state = domain::evolve(state, event, origin.event_id)
            .map_err(|error| poison(&error))?
            .ok_or_else(|| Poison("an event without effect names an aggregate".to_owned()))?;
        causes.merge(origin.causes);
        Ok(Arc::new(Aggregate { state, causes }))
    }

    fn bytes(&self, state: &Arc<Aggregate>) -> usize {
        state.bytes()
    }

    fn sequence(&self, state: &Arc<Aggregate>) -> u64 {
        state.state.sequence()
    }

    fn answer(&self, event: &Event, after: Option<&Arc<Aggregate>>) -> Answer {
        match event {
            Event::Order(OrderEvent::CommandRejected(rejected))
            | Event::Stock(StockEvent::CommandRejected(rejected)) => Answer::refused(&rejected.problem),
            _ => Answer::Applied {
                // Every event but a refusal and a barrier names one, and no command leaves a barrier.
                subject: self.changes(event).unwrap_or(Key::Order(Uuid::nil())),
                created: match event {
                    Event::Order(OrderEvent::Placed(_)) => Created::Order,
                    Event::Order(OrderEvent::NoteAdded(note)) => Created::Note(note.note_id),
                    _ => Created::Nothing,
                },
                sequence: after.map_or(0, |after| after.state.sequence()),
                status: after.and_then(|after| after.as_order()).map(|order| order.status),
            },
        }
    }

    fn replay(&self, state: &Arc<Aggregate>, request: &Request<Command>) -> Option<Answer> {
        let order = state.as_order()?;
        let repeated = creates(&request.command) && order.placed.event_id == ids::event_id(request.id);
        repeated.then(|| Answer::Applied {
            subject: self.target(&request.command),
            created: Created::Order,
            sequence: 1,
            status: Some(OrderStatus::Pending),
        })
    }

    fn work(&self, state: &Arc<Aggregate>) -> Option<Work> {
        let order = state.as_order()?;
        if order.steps_left() > 0 {
            return Some(Work::Now);
        }
        (order.status == OrderStatus::Confirmed).then_some(Work::Later)
    }

    fn barrier(&self, at: Timestamp) -> Event {
        let barrier = Barrier { occurred_at: at };
        match self.topic {
            Topic::Orders => Event::Order(OrderEvent::Barrier(barrier)),
            Topic::Stock => Event::Stock(StockEvent::Barrier(barrier)),
        }
    }

    fn no_causes(&self) -> Arc<[u8]> {
        Positions::new().encode(self.log_id).into()
    }

    fn occurred_at(&self, event: &Event) -> Timestamp {
        event.occurred_at()
    }

    fn type_name(&self, event: &Event) -> &'static str {
        event.full_name()
    }

    fn encode(&self, event: &Event) -> Result<Vec<u8>, Poison> {
        self.codec.encode(event).map_err(|error| poison(&error))
    }

    fn decode(&self, value: &[u8]) -> Result<Event, Poison> {
        self.codec
            .decode(self.topic, value)
            .map_err(|error| poison(&error))
    }
}
