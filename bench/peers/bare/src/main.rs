//! An event table by hand: one insert for each command, and a primary key that refuses the second writer of a version.

use std::process::ExitCode;

use anyhow::{Result, bail, ensure};
use harness::{Args, LINES_AT_MOST, Line, LineAdded, OrderPlaced, Peer, Refused};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use sqlx::types::Json;
use uuid::Uuid;

const TABLE: &str = "CREATE TABLE IF NOT EXISTS events (
    stream uuid, version bigint, type text NOT NULL, payload jsonb NOT NULL, PRIMARY KEY (stream, version))";
const SELECT: &str = "SELECT version, payload FROM events WHERE stream = $1 ORDER BY version";
const INSERT: &str = "INSERT INTO events (stream, version, type, payload) VALUES ($1, $2, $3, $4)";
const INSERT_MANY: &str = "INSERT INTO events (stream, version, type, payload)
    SELECT * FROM UNNEST($1::uuid[], $2::bigint[], $3::text[], $4::jsonb[])";
const STREAMS_AT_ONCE: usize = 500;
const CONNECTIONS: u32 = 16;

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Event {
    OrderPlaced(OrderPlaced),
    LineAdded(LineAdded),
}

impl Event {
    fn name(&self) -> &'static str {
        match self {
            Self::OrderPlaced(_) => "OrderPlaced",
            Self::LineAdded(_) => "LineAdded",
        }
    }
}

struct Bare(PgPool);

impl Bare {
    async fn append(&self, stream: Uuid, version: i64, event: Event) -> Result<()> {
        let insert = sqlx::query(INSERT)
            .bind(stream)
            .bind(version)
            .bind(event.name())
            .bind(Json(event));
        insert.execute(&self.0).await?;
        Ok(())
    }
}

impl Peer for Bare {
    const NAME: &'static str = "bare";
    const VERSION: &'static str = "0.9.0";

    async fn connect(args: &Args) -> Result<Self> {
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS)
            .connect(&args.url)
            .await?;
        sqlx::query(TABLE).execute(&pool).await?;
        Ok(Self(pool))
    }

    async fn place(&self, order: OrderPlaced) -> Result<()> {
        self.append(order.order_id, 1, Event::OrderPlaced(order)).await
    }

    async fn add_line(&self, order: Uuid, line: Line) -> Result<()> {
        let events: Vec<(i64, Json<Event>)> = sqlx::query_as(SELECT).bind(order).fetch_all(&self.0).await?;
        let (mut placed, mut lines, mut version) = (false, 0, 0);
        for (at, Json(event)) in events {
            version = at;
            match event {
                Event::OrderPlaced(order) => (placed, lines) = (true, order.lines.len()),
                Event::LineAdded(_) => lines += 1,
            }
        }
        ensure!(placed, Refused::NotPlaced);
        if lines >= LINES_AT_MOST {
            bail!(Refused::TooManyLines);
        }
        self.append(
            order,
            version + 1,
            Event::LineAdded(LineAdded {
                order_id: order,
                line,
            }),
        )
        .await
    }

    async fn fill(&self, orders: &[Uuid]) -> Result<()> {
        for orders in orders.chunks(STREAMS_AT_ONCE) {
            let (mut streams, mut versions, mut names, mut payloads) = (vec![], vec![], vec![], vec![]);
            for &order in orders {
                for version in 1..=harness::EVENTS_BEFORE as i64 {
                    let event = match version {
                        1 => Event::OrderPlaced(OrderPlaced::example(order)),
                        _ => Event::LineAdded(LineAdded {
                            order_id: order,
                            line: Line::example(),
                        }),
                    };
                    streams.push(order);
                    versions.push(version);
                    names.push(event.name());
                    payloads.push(Json(event));
                }
            }
            let insert = sqlx::query(INSERT_MANY)
                .bind(streams)
                .bind(versions)
                .bind(names)
                .bind(payloads);
            insert.execute(&self.0).await?;
        }
        sqlx::query("ANALYZE events").execute(&self.0).await?;
        Ok(())
    }

    async fn count(&self) -> Result<u64> {
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM events")
            .fetch_one(&self.0)
            .await?;
        Ok(count.unsigned_abs())
    }
}

fn main() -> ExitCode {
    harness::main::<Bare>()
}
