//! disintegrate with its Postgres store: a decision names the events it rests on (here: those with the order's id), and
//! `DecisionMaker::make` reads them, decides, and appends in a serializable transaction if no such event came meanwhile.
//! What Postgres refuses to serialize is a failed command, as the library does not retry.

use std::process::ExitCode;
use std::str::FromStr;

use anyhow::{Result, anyhow};
use disintegrate::serde::json::Json;
use disintegrate::{Decision, Event, EventStore, NoSnapshot, StateMutate, StateQuery};
use disintegrate_postgres::{PgDecisionMaker, PgEventStore, decision_maker};
use harness::{Args, EVENTS_BEFORE, LINES_AT_MOST, Line, OrderPlaced, Peer, Refused};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use uuid::Uuid;

const CONNECTIONS: u32 = 10; // sqlx's default, which its README takes
const STREAMS_AT_ONCE: usize = 500;

#[derive(Clone, Debug, PartialEq, Eq, Event, Serialize, Deserialize)]
#[stream(OrderEvent, [OrderPlaced, LineAdded])]
enum DomainEvent {
    OrderPlaced {
        #[id]
        order_id: Uuid,
        customer_id: Uuid,
        currency: String,
        lines: Vec<Line>,
        placed_at: String,
    },
    LineAdded {
        #[id]
        order_id: Uuid,
        line: Line,
    },
}

fn placed(order: OrderPlaced) -> DomainEvent {
    let OrderPlaced {
        order_id,
        customer_id,
        currency,
        lines,
        placed_at,
    } = order;
    DomainEvent::OrderPlaced {
        order_id,
        customer_id,
        currency,
        lines,
        placed_at,
    }
}

#[derive(Clone, Debug, Default, StateQuery, Serialize, Deserialize)]
#[state_query(OrderEvent)]
struct Order {
    #[id]
    order_id: Uuid,
    placed: bool,
    lines: usize,
}

impl Order {
    fn of(order_id: Uuid) -> Self {
        Self {
            order_id,
            ..Self::default()
        }
    }
}

impl StateMutate for Order {
    fn mutate(&mut self, event: Self::Event) {
        match event {
            OrderEvent::OrderPlaced { lines, .. } => (self.placed, self.lines) = (true, lines.len()),
            OrderEvent::LineAdded { .. } => self.lines += 1,
        }
    }
}

struct Place(OrderPlaced);

impl Decision for Place {
    type Event = DomainEvent;
    type StateQuery = Order;
    type Error = Refused;

    fn state_query(&self) -> Order {
        Order::of(self.0.order_id)
    }

    fn process(&self, order: &Order) -> Result<Vec<DomainEvent>, Refused> {
        if order.placed {
            return Err(Refused::AlreadyPlaced);
        }
        Ok(vec![placed(self.0.clone())])
    }
}

struct AddLine {
    order_id: Uuid,
    line: Line,
}

impl Decision for AddLine {
    type Event = DomainEvent;
    type StateQuery = Order;
    type Error = Refused;

    fn state_query(&self) -> Order {
        Order::of(self.order_id)
    }

    fn process(&self, order: &Order) -> Result<Vec<DomainEvent>, Refused> {
        if !order.placed {
            return Err(Refused::NotPlaced);
        }
        if order.lines >= LINES_AT_MOST {
            return Err(Refused::TooManyLines);
        }
        Ok(vec![DomainEvent::LineAdded {
            order_id: self.order_id,
            line: self.line.clone(),
        }])
    }
}

type Store = PgEventStore<DomainEvent, Json<DomainEvent>>;

struct Disintegrate {
    pool: PgPool,
    store: Store,
    maker: PgDecisionMaker<DomainEvent, Json<DomainEvent>, NoSnapshot>,
}

/// 4.0.1 writes a number in hexadecimal, which Postgres takes from 16 on. Before, the functions are made unchecked, and
/// this one again with the number in decimal.
async fn repair_for_postgres_15(pool: &PgPool) -> Result<()> {
    let version: String = sqlx::query_scalar("SHOW server_version_num")
        .fetch_one(pool)
        .await?;
    if version.parse::<u32>()? < 160_000 {
        let function = "SELECT pg_get_functiondef('event_store_begin_epoch'::regproc)";
        let function: String = sqlx::query_scalar(function).fetch_one(pool).await?;
        sqlx::query(&function.replace("0xFFFFFFFF", "4294967295"))
            .execute(pool)
            .await?;
    }
    Ok(())
}

impl Peer for Disintegrate {
    const NAME: &'static str = "disintegrate";
    const VERSION: &'static str = "4.0.1";

    async fn connect(args: &Args) -> Result<Self> {
        let options = PgConnectOptions::from_str(&args.url)?.options([("check_function_bodies", "off")]);
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS)
            .connect_with(options)
            .await?;
        let store = Store::try_new(pool.clone(), Json::default()).await?;
        repair_for_postgres_15(&pool).await?;
        Ok(Self {
            pool,
            maker: decision_maker(store.clone(), NoSnapshot),
            store,
        })
    }

    async fn place(&self, order: OrderPlaced) -> Result<()> {
        self.maker
            .make(Place(order))
            .await
            .map_err(|error| anyhow!("{error}"))?;
        Ok(())
    }

    async fn add_line(&self, order_id: Uuid, line: Line) -> Result<()> {
        self.maker
            .make(AddLine { order_id, line })
            .await
            .map_err(|error| anyhow!("{error}"))?;
        Ok(())
    }

    async fn fill(&self, orders: &[Uuid]) -> Result<()> {
        for orders in orders.chunks(STREAMS_AT_ONCE) {
            let mut events = Vec::new();
            for &order_id in orders {
                events.push(placed(OrderPlaced::example(order_id)));
                for _ in 1..EVENTS_BEFORE {
                    events.push(DomainEvent::LineAdded {
                        order_id,
                        line: Line::example(),
                    });
                }
            }
            self.store.append_without_validation(events).await?;
        }
        sqlx::query("ANALYZE event").execute(&self.pool).await?;
        Ok(())
    }

    async fn count(&self) -> Result<u64> {
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM event")
            .fetch_one(&self.pool)
            .await?;
        Ok(count.unsigned_abs())
    }
}

fn main() -> ExitCode {
    harness::main::<Disintegrate>()
}
