//! cqrs-es with its event-sourced Postgres store: a command goes through `CqrsFramework::execute`, which loads the events
//! of the aggregate, asks it, and inserts what it says; the primary key refuses the second writer of a sequence number.

use std::collections::HashMap;
use std::process::ExitCode;

use anyhow::Result;
use cqrs_es::event_sink::EventSink;
use cqrs_es::persist::PersistedEventStore;
use cqrs_es::{Aggregate, DomainEvent, EventStore};
use futures::{StreamExt, TryStreamExt};
use harness::{Args, EVENTS_BEFORE, LINES_AT_MOST, Line, LineAdded, OrderPlaced, Peer, Refused};
use postgres_es::{PostgresCqrs, PostgresEventRepository, postgres_cqrs};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use uuid::Uuid;

/// From `db/init.sql` of postgres-es, which has no migrations of its own. Snapshots and views are not used.
const TABLE: &str = "CREATE TABLE IF NOT EXISTS events (
    aggregate_type text                         NOT NULL,
    aggregate_id   text                         NOT NULL,
    sequence       bigint CHECK (sequence >= 0) NOT NULL,
    event_type     text                         NOT NULL,
    event_version  text                         NOT NULL,
    payload        json                         NOT NULL,
    metadata       json                         NOT NULL,
    PRIMARY KEY (aggregate_type, aggregate_id, sequence))";
const CONNECTIONS: u32 = 16;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Event {
    OrderPlaced(OrderPlaced),
    LineAdded(LineAdded),
}

impl DomainEvent for Event {
    fn event_type(&self) -> String {
        match self {
            Self::OrderPlaced(_) => "OrderPlaced".to_owned(),
            Self::LineAdded(_) => "LineAdded".to_owned(),
        }
    }

    fn event_version(&self) -> String {
        "1.0".to_owned()
    }
}

enum Command {
    Place(OrderPlaced),
    AddLine(LineAdded),
}

#[derive(Default, Serialize, Deserialize)]
struct Order {
    placed: bool,
    lines: usize,
}

impl Aggregate for Order {
    const TYPE: &'static str = "order";
    type Command = Command;
    type Event = Event;
    type Error = Refused;
    type Services = ();

    async fn handle(&mut self, command: Command, (): &(), sink: &EventSink<Self>) -> Result<(), Refused> {
        let event = match command {
            Command::Place(_) if self.placed => return Err(Refused::AlreadyPlaced),
            Command::Place(order) => Event::OrderPlaced(order),
            Command::AddLine(_) if !self.placed => return Err(Refused::NotPlaced),
            Command::AddLine(_) if self.lines >= LINES_AT_MOST => return Err(Refused::TooManyLines),
            Command::AddLine(added) => Event::LineAdded(added),
        };
        sink.write(event, self).await;
        Ok(())
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::OrderPlaced(order) => (self.placed, self.lines) = (true, order.lines.len()),
            Event::LineAdded(_) => self.lines += 1,
        }
    }
}

struct CqrsEs {
    pool: PgPool,
    cqrs: PostgresCqrs<Order>,
    clients: usize,
}

impl Peer for CqrsEs {
    const NAME: &'static str = "cqrs-es";
    const VERSION: &'static str = "0.5.0";

    async fn connect(args: &Args) -> Result<Self> {
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS)
            .connect(&args.url)
            .await?;
        sqlx::query(TABLE).execute(&pool).await?;
        Ok(Self {
            cqrs: postgres_cqrs(pool.clone(), vec![], ()),
            pool,
            clients: args.clients,
        })
    }

    async fn place(&self, order: OrderPlaced) -> Result<()> {
        Ok(self
            .cqrs
            .execute(&order.order_id.to_string(), Command::Place(order))
            .await?)
    }

    async fn add_line(&self, order: Uuid, line: Line) -> Result<()> {
        let added = LineAdded {
            order_id: order,
            line,
        };
        Ok(self
            .cqrs
            .execute(&order.to_string(), Command::AddLine(added))
            .await?)
    }

    async fn fill(&self, orders: &[Uuid]) -> Result<()> {
        let repository = PostgresEventRepository::new(self.pool.clone());
        let store = PersistedEventStore::<_, Order>::new_event_store(repository);
        let fills = orders.iter().copied().map(|order| {
            let store = &store;
            async move {
                let mut events = vec![Event::OrderPlaced(OrderPlaced::example(order))];
                let added = LineAdded {
                    order_id: order,
                    line: Line::example(),
                };
                events.resize(EVENTS_BEFORE, Event::LineAdded(added));
                let context = store.load_aggregate(&order.to_string()).await?;
                store.commit(events, context, HashMap::new()).await?;
                anyhow::Ok(())
            }
        });
        futures::stream::iter(fills)
            .buffer_unordered(self.clients)
            .try_collect::<()>()
            .await?;
        sqlx::query("ANALYZE events").execute(&self.pool).await?;
        Ok(())
    }

    async fn count(&self) -> Result<u64> {
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM events")
            .fetch_one(&self.pool)
            .await?;
        Ok(count.unsigned_abs())
    }
}

fn main() -> ExitCode {
    harness::main::<CqrsEs>()
}
