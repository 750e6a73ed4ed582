//! `rebuild`: both models made again from a million events while they are read, beside a Postgres `COPY` of the same rows; and how
//! much slower what is read follows the log meanwhile.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use devstack::services::Services;
use read_model::Generations;
use read_model::generations::Generation;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use tempfile::TempDir;
use tokio::io::{AsyncWriteExt as _, BufWriter};

use super::{
    ROUNDS,
    consumer::read_everything,
    models::Models,
    report::{Figure, Finding, Goal},
    rig::{PARTITIONS, PREFIX, Rig},
    spent::PerOperation,
    start::Log,
};

/// Aggregates in the log, and how many events each has: 1,000,000.
const AGGREGATES: usize = 100_000;
const EVENTS_EACH: u64 = 10;
/// What the live generations have to follow, alone and beside a rebuild.
const BACKLOG: usize = 100_000;
/// How often it is measured how fast the live generations follow.
const FOLLOWED: usize = 3;
const PROJECTOR: &str = "projector-1";
const TABLES: [&str; 4] = ["orders", "order_events", "stock", "sales"];

/// Runs it.
pub async fn run(rig: &Rig) -> anyhow::Result<Finding> {
    rig.deploy(PREFIX, PARTITIONS)?;
    let codec = rig.codec().await?;
    let mut log = Log::begin(rig, codec, AGGREGATES, EVENTS_EACH)?;
    log.append(log.events())?;
    let services = rig.services(0, 1)?;
    let database_url = services.env()["TAILWATER_DATABASE_URL"].clone();
    let models = Models::of(&services)?;
    models.follow(log.appended).await?;
    let (mut both, mut filled, mut postgres, mut copied) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut alone, mut beside, mut floor) = (Vec::new(), Vec::new(), Vec::new());
    let (mut both_cost, mut postgres_cost) = (PerOperation::default(), PerOperation::default());
    for round in 0..rig.pace.times(ROUNDS) {
        let before = rig.spent();
        let report = rebuild(rig, &services, "all")?;
        both_cost.push("an event in both", &rig.spent().since(&before), log.appended);
        both.push(seconds(&report, "took_s", &["postgres", "redis"])?);
        filled.push(seconds(&report, "filled_s", &["postgres", "redis"])?);
        let before = rig.spent();
        let report = rebuild(rig, &services, "postgres")?;
        postgres_cost.push("an event in Postgres", &rig.spent().since(&before), log.appended);
        postgres.push(seconds(&report, "took_s", &["postgres"])?);
        let rows = Rows::of(&database_url, models.live().await?).await?;
        copied.push(rows.copy(async { Ok(Duration::ZERO) }).await?);
        floor.push(rows.copy(read_everything(rig)).await?);
        eprintln!(
            "  round {}: both models in {:.1} s (filled in {:.1} s); Postgres alone in {:.1} s, COPY of its rows {:.1} s, and {:.1} s while a bare consumer reads the log",
            round + 1,
            both[round],
            filled[round],
            postgres[round],
            copied[round],
            floor[round]
        );
    }
    // Afterwards, since the log is longer with each of them.
    let backlog = u64::try_from(rig.pace.count(BACKLOG))?;
    for round in 0..rig.pace.times(FOLLOWED) {
        alone.push(follow(&services, &mut log, &models, backlog).await?);
        let (of_postgres, of_redis) = (models.postgres.create().await?, models.redis.create().await?);
        beside.push(follow(&services, &mut log, &models, backlog).await?);
        discard(&models.postgres, of_postgres).await?;
        discard(&models.redis, of_redis).await?;
        eprintln!(
            "  round {}: {backlog} records followed in {:.1} s, beside a rebuild in {:.1} s",
            round + 1,
            alone[round],
            beside[round]
        );
    }
    Ok(Finding::new(
        Figure::ratio(
            "rebuild of Postgres to COPY of the same rows",
            &copied,
            &postgres,
            Goal::AtLeast(0.5),
        ),
        vec![
            Figure::of(
                "rebuild of both models, compared and switched",
                "s",
                &both,
                Goal::AtMost(10.0),
            ),
            Figure::ratio(
                "what is read follows the log beside a rebuild as fast as alone",
                &alone,
                &beside,
                Goal::AtLeast(0.8),
            ),
            Figure::of(
                "floor: COPY of Postgres' rows while a bare consumer reads the log, nothing in Redis",
                "s",
                &floor,
                Goal::None,
            ),
            Figure::ratio("rebuild of both models to that floor", &both, &floor, Goal::None),
        ],
        json!({
            "events": log.appended, "both_s": both, "filled_s": filled, "postgres_s": postgres, "copy_s": copied,
            "copy_and_read_s": floor,
            "processor_us_per_event_in_both": both_cost.raw(), "processor_us_per_event_in_postgres": postgres_cost.raw(),
            "followed_alone_s": alone, "followed_beside_s": beside,
        }),
    ))
}

async fn discard<G: Generations>(generations: &G, number: i32) -> anyhow::Result<()> {
    let all = generations.list().await?;
    let one = all
        .iter()
        .find(|one| one.number == number)
        .context("it was there")?;
    Ok(generations.discard(*one).await?)
}

/// `tailwater rebuild`, and then without what was read before; its report.
fn rebuild(rig: &Rig, services: &Services, model: &str) -> anyhow::Result<Value> {
    let output = rig.tailwater(services, &["rebuild", "--model", model, "--json"])?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let dropped = rig.tailwater(services, &["rebuild", "--model", model, "--drop"])?;
    ensure!(
        dropped.status.success(),
        "what was read before cannot be discarded"
    );
    Ok(serde_json::from_str(&text)?)
}

/// The longest of these models.
fn seconds(report: &Value, what: &str, models: &[&str]) -> anyhow::Result<f64> {
    let of = |model: &&str| report["models"][model]["rebuilt"][what].as_f64();
    let all: Option<Vec<f64>> = models.iter().map(of).collect();
    Ok(all
        .context("the report says how long it took")?
        .into_iter()
        .fold(0.0, f64::max))
}

/// How long the live generations take to follow so many records that came while the projector was away.
async fn follow(services: &Services, log: &mut Log, models: &Models, records: u64) -> anyhow::Result<f64> {
    services.stop(PROJECTOR)?;
    log.append(records)?;
    let begun = Instant::now();
    services.restart(PROJECTOR)?;
    models.follow(log.appended).await?;
    Ok(begun.elapsed().as_secs_f64())
}

/// A generation's rows, in files.
struct Rows<'a> {
    database_url: &'a str,
    schema: String,
    folder: TempDir,
}

impl<'a> Rows<'a> {
    async fn of(database_url: &'a str, generation: Generation) -> anyhow::Result<Self> {
        let mut connection = PgConnection::connect(database_url).await?;
        let (schema, folder) = (format!("g{}", generation.number), tempfile::tempdir()?);
        for table in TABLES {
            let statement = format!("COPY {schema}.{table} TO STDOUT (FORMAT binary)");
            let file = tokio::fs::File::create(folder.path().join(table)).await?;
            let mut file = BufWriter::with_capacity(1 << 20, file);
            let mut rows = connection.copy_out_raw(&statement).await?;
            while let Some(chunk) = futures::StreamExt::next(&mut rows).await {
                file.write_all(&chunk?).await?;
            }
            file.flush().await?;
        }
        connection.close().await?;
        Ok(Self {
            database_url,
            schema,
            folder,
        })
    }

    /// How long Postgres takes to copy them into tables like those that they are from, indexes included: made before or after the rows
    /// as a rebuild makes them. And until what is done meanwhile is done.
    async fn copy(&self, meanwhile: impl Future<Output = anyhow::Result<Duration>>) -> anyhow::Result<f64> {
        let mut connection = PgConnection::connect(self.database_url).await?;
        connection
            .execute("DROP SCHEMA IF EXISTS copied CASCADE; CREATE SCHEMA copied")
            .await?;
        for table in TABLES {
            let key = key(table).map_or_else(String::new, |key| {
                format!("ALTER TABLE copied.{table} ADD PRIMARY KEY ({key})")
            });
            let schema = &self.schema;
            let like =
                format!("CREATE TABLE copied.{table} (LIKE {schema}.{table} INCLUDING STORAGE); {key}");
            connection.execute(AssertSqlSafe(like)).await?;
        }
        let begun = Instant::now();
        tokio::try_join!(fill(&mut connection, self.folder.path()), meanwhile)?;
        let took = begun.elapsed().as_secs_f64();
        connection.execute("DROP SCHEMA copied CASCADE").await?;
        connection.close().await?;
        Ok(took)
    }
}

/// Copies the rows from files, and makes the indexes.
async fn fill(connection: &mut PgConnection, folder: &Path) -> anyhow::Result<()> {
    for table in TABLES {
        let statement = format!("COPY copied.{table} FROM STDIN (FORMAT binary)");
        let mut into = connection.copy_in_raw(&statement).await?;
        into.read_from(tokio::fs::File::open(folder.join(table)).await?)
            .await?;
        into.finish().await?;
    }
    let indexes = "CREATE INDEX ON copied.orders (customer_id, placed_at_us, order_id); \
                   CREATE UNIQUE INDEX ON copied.order_events (partition, \"offset\"); \
                   CREATE INDEX ON copied.order_events (order_id, sequence); \
                   CREATE UNIQUE INDEX ON copied.sales (day, sku, currency, partition); \
                   CREATE INDEX ON copied.sales (sku, day)";
    connection.execute(indexes).await?;
    Ok(())
}

/// The key that a table has while rows come in.
fn key(table: &str) -> Option<&'static str> {
    match table {
        "orders" => Some("order_id"),
        "stock" => Some("sku"),
        _ => None,
    }
}
