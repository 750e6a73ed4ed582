//! `read`: GETs of the query service from memory, from Redis and from Postgres, and "not modified", each beside the least that
//! could answer the same: axum and nothing else, `redis-benchmark`, axum with one indexed select. And how long histories and
//! earlier versions take, at a steady rate.

use std::process::Command;

use anyhow::{Context as _, bail};
use serde_json::json;
use uuid::Uuid;

use super::{
    ROUNDS,
    drive::{Arrivals, Load, Tally, drive},
    report::{Figure, Finding, Goal},
    requests::{place_orders, receive_stock, rest},
    rig::Rig,
};
use crate::load::{Client, Request, Target};

/// Connections of each closed loop, and of `redis-benchmark`.
const CONNECTIONS: usize = 64;
/// Orders that are read over and over: all of them fit into memory.
const ORDERS: usize = 2_000;
/// What `redis-benchmark` asks for in one run.
const LOOK_UPS: usize = 200_000;

/// One kind of read: what it is, the header that asks for it, what it is compared with, and the goal.
struct Kind {
    what: &'static str,
    headers: &'static [(&'static str, &'static str)],
    with: With,
    goal: f64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum With {
    Bare(&'static str),
    RedisBenchmark,
}

const KINDS: [Kind; 5] = [
    Kind {
        what: "GET from memory to bare axum with the same bytes",
        headers: &[],
        with: With::Bare("/constant"),
        goal: 0.85,
    },
    Kind {
        what: "304 to bare axum with the document",
        headers: &[("if-none-match", "*")],
        with: With::Bare("/constant"),
        goal: 0.95,
    },
    Kind {
        what: "304 to bare axum with a constant 304",
        headers: &[("if-none-match", "*")],
        with: With::Bare("/unchanged"),
        goal: 0.85,
    },
    Kind {
        what: "GET from Redis to redis-benchmark's GET",
        headers: &[("tailwater-model", "redis")],
        with: With::RedisBenchmark,
        goal: 0.6,
    },
    Kind {
        what: "GET from Postgres to bare axum with a select",
        headers: &[("tailwater-model", "postgres")],
        with: With::Bare("/select"),
        goal: 0.85,
    },
];

/// What comes from the kept events alone, by what is behind an order's path.
const PAST: [(&str, &str); 2] = [("history", "/history"), ("an earlier version", "?at_sequence=1")];
/// Reads of those a second.
const PAST_PER_SECOND: u32 = 500;

/// Runs it.
pub async fn run(rig: &Rig) -> anyhow::Result<Finding> {
    let services = rig.services_for_reads(&[])?;
    let commands = Target::new(&services.command_urls()[0])?;
    let queries = Target::new(&services.query_urls()[0])?;
    receive_stock(&commands, "read").await?;
    let orders = place_orders(&commands, "read-order", rig.pace.count(ORDERS)).await?;
    rest().await;
    let documents = documents(&queries, &orders).await?;
    let database = &services.env()["TAILWATER_DATABASE_URL"];
    fill(database, &documents).await?;
    let document = &documents.first().context("there are orders")?.1;
    let bare = Target::new(&rig.bare_server(document, database)?)?;
    let redis_port = port_of(&services.env()["TAILWATER_REDIS_URL"])?;
    let mut ours = [const { Vec::new() }; KINDS.len()];
    let mut theirs = [const { Vec::new() }; KINDS.len()];
    for round in 0..rig.pace.times(ROUNDS) {
        for (index, kind) in KINDS.iter().enumerate() {
            let compared = match kind.with {
                With::Bare(path) => rate(rig, &bare, path, &[], &orders).await?,
                With::RedisBenchmark => {
                    redis_benchmark(redis_port, rig.pace.count(LOOK_UPS), document.len())?
                }
            };
            theirs[index].push(compared);
            let read = rate(rig, &queries, "/v1/orders", kind.headers, &orders).await?;
            ours[index].push(read);
            eprintln!(
                "  round {}: {}: {read:.0}/s of {compared:.0}/s",
                round + 1,
                kind.what
            );
        }
    }
    let mut figures = KINDS.iter().zip(ours.iter().zip(&theirs));
    let mut figures = std::iter::from_fn(|| {
        let (kind, (ours, theirs)) = figures.next()?;
        Some(Figure::ratio(kind.what, ours, theirs, Goal::AtLeast(kind.goal)))
    });
    let ratio = figures.next().context("there are kinds")?;
    let mut also: Vec<Figure> = figures.collect();
    for (what, suffix) in PAST {
        let mut p99 = Vec::new();
        for _ in 0..rig.pace.times(ROUNDS) {
            let load = Load {
                arrivals: Arrivals::Open(PAST_PER_SECOND),
                ..closed(rig, &queries)
            };
            let tally = drive_reads(load, |id| format!("/v1/orders/{id}{suffix}"), &[], &orders).await?;
            p99.push(tally.ms(99.0));
        }
        let what = format!("p99 of {what} at {PAST_PER_SECOND} a second");
        also.push(Figure::of(what, "ms", &p99, Goal::AtMost(20.0)));
    }
    let raw: serde_json::Map<String, serde_json::Value> = KINDS
        .iter()
        .zip(ours.iter().zip(&theirs))
        .map(|(kind, (ours, theirs))| {
            let figures = json!({"per_second": ours, "compared_per_second": theirs});
            (kind.what.to_owned(), figures)
        })
        .chain([("document_bytes".to_owned(), json!(document.len()))])
        .collect();
    Ok(Finding::new(ratio, also, raw.into()))
}

/// Reads a second, over so many connections, one order after the other.
async fn rate(
    rig: &Rig,
    target: &Target,
    path: &str,
    headers: &[(&str, &str)],
    orders: &[Uuid],
) -> anyhow::Result<f64> {
    let tally = drive_reads(closed(rig, target), |id| format!("{path}/{id}"), headers, orders).await?;
    Ok(tally.per_second())
}

fn closed(rig: &Rig, target: &Target) -> Load {
    Load {
        targets: vec![target.clone()],
        connections: CONNECTIONS,
        arrivals: Arrivals::Closed,
        warm_up: rig.pace.seconds(1),
        duration: rig.pace.seconds(3),
        again: false,
    }
}

async fn drive_reads(
    load: Load,
    path: impl Fn(&Uuid) -> String,
    headers: &[(&str, &str)],
    orders: &[Uuid],
) -> anyhow::Result<Tally> {
    let target = load.targets.first().context("there is a target")?;
    let requests: Vec<Request> = orders
        .iter()
        .map(|id| Request::get(target, &path(id), headers))
        .collect();
    let tally = drive(load, move |index| requests[index % requests.len()].clone()).await?;
    anyhow::ensure!(
        tally.failed == 0 && tally.unavailable == 0,
        "reads failed: {:?}",
        tally.failures
    );
    Ok(tally)
}

/// Each order as it is answered once both models have it as it will stay.
async fn documents(target: &Target, orders: &[Uuid]) -> anyhow::Result<Vec<(Uuid, String)>> {
    let mut client = Client::new(target);
    let mut documents = Vec::with_capacity(orders.len());
    for id in orders {
        let path = format!("/v1/orders/{id}");
        let answer = client
            .attempt(&Request::get(target, &path, &[("consistency", "strong")]))
            .await?;
        anyhow::ensure!(answer.status == 200, "an order was answered {}", answer.summary());
        documents.push((*id, String::from_utf8(answer.body)?));
    }
    Ok(documents)
}

/// A table of the same documents, with an index and nothing else.
async fn fill(database_url: &str, documents: &[(Uuid, String)]) -> anyhow::Result<()> {
    use sqlx::Connection as _;
    let mut connection = sqlx::PgConnection::connect(database_url).await?;
    sqlx::query("CREATE TABLE bare (id uuid PRIMARY KEY, doc text NOT NULL)")
        .execute(&mut connection)
        .await?;
    let (ids, docs): (Vec<Uuid>, Vec<&str>) = documents.iter().map(|(id, doc)| (*id, doc.as_str())).unzip();
    sqlx::query("INSERT INTO bare SELECT * FROM UNNEST($1::uuid[], $2::text[])")
        .bind(ids)
        .bind(docs)
        .execute(&mut connection)
        .await?;
    connection.close().await?;
    Ok(())
}

fn port_of(url: &str) -> anyhow::Result<u16> {
    let port = url.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    port.with_context(|| format!("{url} has no port"))
}

/// GETs a second by Redis's own tool, of values of that size.
fn redis_benchmark(port: u16, count: usize, bytes: usize) -> anyhow::Result<f64> {
    let (port, bytes) = (port.to_string(), bytes.to_string());
    let run = |test: &str, count: usize| -> anyhow::Result<String> {
        let output = Command::new("redis-benchmark")
            .args([
                "-p",
                &port,
                "-c",
                &CONNECTIONS.to_string(),
                "-n",
                &count.to_string(),
            ])
            .args(["-d", &bytes, "-t", test, "--csv"])
            .output()
            .context("cannot start redis-benchmark; it comes with the package redis-tools")?;
        if !output.status.success() {
            bail!(
                "redis-benchmark failed: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(String::from_utf8(output.stdout)?)
    };
    run("set", 100)?;
    parse_rate(&run("get", count)?).context("redis-benchmark says no rate")
}

/// From `"GET","51234.56",…`.
fn parse_rate(csv: &str) -> Option<f64> {
    let line = csv.lines().find(|line| line.starts_with("\"GET\""))?;
    line.split(',').nth(1)?.trim_matches('"').parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_read_from_what_redis_benchmark_prints() {
        let csv = "\"test\",\"rps\",\"avg_latency_ms\"\n\"GET\",\"51234.56\",\"0.5\"\n";
        assert_eq!(parse_rate(csv), Some(51234.56));
        assert_eq!(parse_rate("\"SET\",\"1.0\"\n"), None);
    }
}
