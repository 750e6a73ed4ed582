//! esrs with its Postgres store: `AggregateManager::load` reads the events of an aggregate, `handle_command` decides and
//! inserts; a unique index refuses the second writer of a sequence number (the optimistic strategy of its examples).

use std::process::ExitCode;

use anyhow::Result;
use esrs::manager::AggregateManager;
use esrs::store::EventStore;
use esrs::store::postgres::{PgStore, PgStoreBuilder};
use esrs::{Aggregate, AggregateState};
use futures::{StreamExt, TryStreamExt};
use harness::{Args, EVENTS_BEFORE, LINES_AT_MOST, Line, LineAdded, OrderPlaced, Peer, Refused};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use uuid::Uuid;

const CONNECTIONS: u32 = 16;

#[derive(Clone, Serialize, Deserialize)]
enum Event {
    OrderPlaced(OrderPlaced),
    LineAdded(LineAdded),
}

enum Command {
    Place(OrderPlaced),
    AddLine(LineAdded),
}

#[derive(Default)]
struct State {
    placed: bool,
    lines: usize,
}

struct Order;

impl Aggregate for Order {
    const NAME: &'static str = "order";
    type State = State;
    type Command = Command;
    type Event = Event;
    type Error = Refused;

    fn handle_command(state: &State, command: Command) -> Result<Vec<Event>, Refused> {
        match command {
            Command::Place(_) if state.placed => Err(Refused::AlreadyPlaced),
            Command::Place(order) => Ok(vec![Event::OrderPlaced(order)]),
            Command::AddLine(_) if !state.placed => Err(Refused::NotPlaced),
            Command::AddLine(_) if state.lines >= LINES_AT_MOST => Err(Refused::TooManyLines),
            Command::AddLine(added) => Ok(vec![Event::LineAdded(added)]),
        }
    }

    fn apply_event(state: State, event: Event) -> State {
        match event {
            Event::OrderPlaced(order) => State {
                placed: true,
                lines: order.lines.len(),
            },
            Event::LineAdded(_) => State {
                lines: state.lines + 1,
                ..state
            },
        }
    }
}

struct Esrs {
    pool: PgPool,
    store: PgStore<Order>,
    manager: AggregateManager<PgStore<Order>>,
    clients: usize,
}

impl Peer for Esrs {
    const NAME: &'static str = "esrs";
    const VERSION: &'static str = "0.18.0";

    async fn connect(args: &Args) -> Result<Self> {
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS)
            .connect(&args.url)
            .await?;
        let store = PgStoreBuilder::new(pool.clone()).try_build().await?;
        Ok(Self {
            pool,
            manager: AggregateManager::new(store.clone()),
            store,
            clients: args.clients,
        })
    }

    async fn place(&self, order: OrderPlaced) -> Result<()> {
        let state = AggregateState::with_id(order.order_id);
        self.manager
            .handle_command(state, Command::Place(order))
            .await??;
        Ok(())
    }

    async fn add_line(&self, order: Uuid, line: Line) -> Result<()> {
        let state = self
            .manager
            .load(order)
            .await?
            .unwrap_or_else(|| AggregateState::with_id(order));
        let added = LineAdded {
            order_id: order,
            line,
        };
        self.manager
            .handle_command(state, Command::AddLine(added))
            .await??;
        Ok(())
    }

    async fn fill(&self, orders: &[Uuid]) -> Result<()> {
        let fills = orders.iter().copied().map(|order| async move {
            let mut events = vec![Event::OrderPlaced(OrderPlaced::example(order))];
            let added = LineAdded {
                order_id: order,
                line: Line::example(),
            };
            events.resize(EVENTS_BEFORE, Event::LineAdded(added));
            self.store
                .persist(&mut AggregateState::with_id(order), events)
                .await?;
            anyhow::Ok(())
        });
        futures::stream::iter(fills)
            .buffer_unordered(self.clients)
            .try_collect::<()>()
            .await?;
        sqlx::query(&format!("ANALYZE {}", self.store.table_name()))
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    async fn count(&self) -> Result<u64> {
        let count = format!("SELECT count(*) FROM {}", self.store.table_name());
        let count: i64 = sqlx::query_scalar(&count).fetch_one(&self.pool).await?;
        Ok(count.unsigned_abs())
    }
}

fn main() -> ExitCode {
    harness::main::<Esrs>()
}
