//! The floor of `visible`: the same way with nothing of ours on it, beside the same load. A record goes to a topic of its own; from its
//! acknowledgement on, a bare consumer takes it, stores it alone, and reads it back.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use crossbeam_channel::Sender;
use rdkafka::{
    ClientContext, Message as _, Offset, TopicPartitionList,
    consumer::Consumer as _,
    message::DeliveryResult,
    producer::{BaseRecord, ProducerContext, ThreadedProducer},
};
use redis::Commands as _;
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::runtime::Handle;

use super::MODELS;
use crate::{
    load::Latencies,
    suite::{
        consumer::bare,
        producer::{create_topic, like_the_writers},
        requests::RECORD_BYTES,
    },
};

/// How long Kafka may take for the next record.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Between two records: fewer than the probes of ours, which they must not slow down.
const PAUSE: Duration = Duration::from_millis(20);

/// Where the components are.
#[derive(Clone, Debug)]
pub(super) struct Parts {
    pub bootstrap: String,
    pub redis_url: String,
    pub database_url: String,
}

/// Where a record is stored, and read again.
enum Store {
    Redis(Box<redis::Connection>),
    Postgres(Box<PgConnection>),
}

/// Tells whether a record was delivered.
struct Delivered(Sender<bool>);

impl ClientContext for Delivered {}

impl ProducerContext for Delivered {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        // Nobody waits any more where it is closed.
        let _ = self.0.send(result.is_ok());
    }
}

/// How long a record takes from its acknowledgement until it was read from that store, one after the other for so long, without those
/// of the warm-up.
pub(super) async fn probe(
    parts: Parts,
    model: &'static str,
    round: usize,
    warm_up: Duration,
    duration: Duration,
) -> anyhow::Result<Latencies> {
    let topic = format!("least-{model}-{round}");
    create_topic(&parts.bootstrap, &topic, 1).await?;
    let store = Store::open(&parts, model, &topic).await?;
    let probing = tokio::task::spawn_blocking(move || run(&parts, &topic, store, warm_up, duration));
    probing.await.context("the thread of the bare probes panicked")?
}

fn run(
    parts: &Parts,
    topic: &str,
    mut store: Store,
    warm_up: Duration,
    duration: Duration,
) -> anyhow::Result<Latencies> {
    let runtime = Handle::current();
    let (told, delivered) = crossbeam_channel::unbounded();
    let producer: ThreadedProducer<Delivered> =
        like_the_writers(&parts.bootstrap).create_with_context(Delivered(told))?;
    let consumer = bare(&parts.bootstrap)?;
    let mut from = TopicPartitionList::new();
    from.add_partition_offset(topic, 0, Offset::Offset(0))?;
    consumer.assign(&from)?;
    let value = "x".repeat(RECORD_BYTES);
    let (begin, mut latencies) = (Instant::now(), Latencies::default());
    for index in 0.. {
        if begin.elapsed() >= duration {
            break;
        }
        let key = format!("{topic}-{index}");
        let record = BaseRecord::to(topic).partition(0).key(&key).payload(&value);
        producer
            .send(record)
            .map_err(|(error, _)| error)
            .context("the bare producer refused a record")?;
        ensure!(delivered.recv_timeout(TIMEOUT)?, "a record was not delivered");
        let acknowledged = Instant::now();
        let record = consumer.poll(TIMEOUT).context("the record does not come")??;
        ensure!(record.key() == Some(key.as_bytes()), "another record came");
        store.put_and_get(&runtime, topic, &key, &value)?;
        if begin.elapsed() >= warm_up {
            latencies.record(acknowledged.elapsed());
        }
        std::thread::sleep(PAUSE);
    }
    Ok(latencies)
}

impl Store {
    async fn open(parts: &Parts, model: &str, name: &str) -> anyhow::Result<Self> {
        if model == MODELS[0] {
            let connection = redis::Client::open(parts.redis_url.as_str())?.get_connection()?;
            return Ok(Self::Redis(Box::new(connection)));
        }
        let mut connection = PgConnection::connect(&parts.database_url).await?;
        let table = format!(r#"CREATE TABLE "{name}" (key text PRIMARY KEY, value text)"#);
        connection.execute(sqlx::AssertSqlSafe(table)).await?;
        Ok(Self::Postgres(Box::new(connection)))
    }

    fn put_and_get(&mut self, runtime: &Handle, name: &str, key: &str, value: &str) -> anyhow::Result<()> {
        let read: String = match self {
            Self::Redis(connection) => {
                let () = connection.set(key, value)?;
                connection.get(key)?
            }
            Self::Postgres(connection) => runtime.block_on(async {
                let insert = format!(r#"INSERT INTO "{name}" VALUES ($1, $2)"#);
                let insert = sqlx::query(sqlx::AssertSqlSafe(insert)).bind(key).bind(value);
                insert.execute(&mut **connection).await?;
                let select = format!(r#"SELECT value FROM "{name}" WHERE key = $1"#);
                let select = sqlx::query_scalar(sqlx::AssertSqlSafe(select)).bind(key);
                anyhow::Ok(select.fetch_one(&mut **connection).await?)
            })?,
        };
        ensure!(read == value, "what was stored is not what is read");
        Ok(())
    }
}
