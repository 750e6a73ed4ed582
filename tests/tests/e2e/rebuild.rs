//! A model is made again while it is read: nobody notices, nothing is lost, and there is a way back.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use devstack::Signal;
use e2e::{Client, Load, Pipeline, Setup, eventually, forget_in_redis, send, stocked};
use read_model::generations::State;
use read_model::postgres::{PostgresGenerations, PostgresReader};
use read_model::redis::RedisGenerations;
use read_model::{Generations, MODEL_VERSION};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

const PARTITIONS: i32 = 4;
const PROJECTOR: &str = "projector-1";

/// Readers that never see anything older than what they know, whichever model they ask.
struct Readers {
    stop: Arc<AtomicBool>,
    reads: Arc<AtomicUsize>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Readers {
    fn start(client: &Client) -> Self {
        let (stop, reads) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let tasks = ["redis", "postgres", ""].map(|model| {
            let (client, stop, reads) = (client.clone(), Arc::clone(&stop), Arc::clone(&reads));
            tokio::spawn(async move {
                let sku = format!("read-{model}");
                let mut written = 0;
                while !stop.load(Ordering::Relaxed) {
                    let token = client.receive(&sku, 1).await;
                    written += 1;
                    let path = format!("/v1/stock/{sku}");
                    let mut request = client
                        .query(&path)
                        .header("consistency-token", token)
                        .header("prefer", "wait=5");
                    if !model.is_empty() {
                        request = request.header("tailwater-model", model);
                    }
                    let read = send(request).await;
                    // A machine that others use too may be that slow; wrong it must never be.
                    if read.status != 503 {
                        let read = read.expect(200);
                        assert!(
                            read.json["on_hand"].as_u64() >= Some(written),
                            "{model} is older than the token"
                        );
                        reads.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        });
        Self {
            stop,
            reads,
            tasks: tasks.into(),
        }
    }

    /// Waits until some more were answered.
    async fn read_on(&self) {
        let before = self.reads.load(Ordering::Relaxed);
        eventually("reads go on", async || {
            (self.reads.load(Ordering::Relaxed) > before + 20).then_some(())
        })
        .await;
    }

    async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.expect("no reader sees what is older");
        }
    }
}

/// `tailwater rebuild … --json`: exit code and what it printed.
fn rebuild(pipeline: &Pipeline, args: &[&str]) -> (i32, Value) {
    let args = [&["rebuild", "--json"], args].concat();
    let (code, text) = tokio::task::block_in_place(|| pipeline.tailwater(&args));
    let report = text.lines().next().unwrap_or_default();
    let report = serde_json::from_str(report).unwrap_or_else(|_| panic!("no report: {text}"));
    (code, report)
}

/// The state of each generation of a model.
async fn states(generations: &impl Generations) -> Vec<(i32, State)> {
    let all = generations.list().await.expect("the store answers");
    all.iter().map(|one| (one.number, one.state)).collect()
}

fn generations(pipeline: &Pipeline) -> (PostgresGenerations, RedisGenerations) {
    let env = pipeline.services.env();
    (
        PostgresGenerations::new(&env["TAILWATER_DATABASE_URL"], "test").expect("the URL is right"),
        RedisGenerations::new(&env["TAILWATER_REDIS_URL"], &pipeline.name, PARTITIONS)
            .expect("the URL is right"),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn both_models_are_made_again_under_load_and_there_is_a_way_back() {
    let (pipeline, client) = stocked(Setup::new("rebuild")).await;
    let (postgres, redis) = generations(&pipeline);
    let (load, readers) = (
        Load::start(std::slice::from_ref(&client)),
        Readers::start(&client),
    );
    readers.read_on().await;
    let (code, report) = rebuild(&pipeline, &["--model", "all"]);
    assert_eq!(code, 0, "{report}");
    for model in ["postgres", "redis"] {
        let rebuilt = &report["models"][model]["rebuilt"];
        assert_eq!(rebuilt["differences"], 0, "{report}");
        assert_eq!(
            (&rebuilt["generation"], &rebuilt["previous"]),
            (&2.into(), &1.into())
        );
        assert!(rebuilt["compared"].as_u64() > Some(20), "{report}");
    }
    let switched = [(1, State::Kept), (2, State::Live)];
    assert_eq!(states(&postgres).await, switched);
    assert_eq!(states(&redis).await, switched);
    readers.read_on().await;

    // Back, and forth again: what was kept has gone on.
    for live in [1, 2] {
        let (code, report) = rebuild(&pipeline, &["--model", "all", "--back"]);
        assert_eq!(code, 0, "{report}");
        assert_eq!(report["models"]["redis"]["rebuilt"]["generation"], live);
        readers.read_on().await;
    }
    let (code, report) = rebuild(&pipeline, &["--model", "all", "--drop"]);
    assert_eq!(code, 0, "{report}");
    assert_eq!(report["models"]["postgres"]["discarded"], serde_json::json!([1]));
    let (code, _) = rebuild(&pipeline, &["--model", "redis", "--back"]);
    assert_eq!(code, 1, "there is nothing to go back to");
    assert_eq!(states(&postgres).await, [(2, State::Live)]);
    assert_eq!(states(&redis).await, [(2, State::Live)]);
    readers.read_on().await;
    let (code, report) = rebuild(&pipeline, &["--model", "all", "--status"]);
    assert_eq!(code, 0, "{report}");
    assert_eq!(report["models"]["redis"]["generations"][0]["state"], "live");
    readers.end().await;
    load.finish().await;
    pipeline.verify();
    let usage = pipeline.tailwater(&["rebuild", "--model", "redis", "--back", "--drop"]);
    assert_eq!(usage.0, 2, "{}", usage.1);
}

/// `tailwater rebuild` that goes on until somebody ends it.
fn begin(pipeline: &Pipeline) -> Child {
    let program = std::env::current_exe().expect("a program has a path");
    let folder = program
        .ancestors()
        .find(|folder| folder.join("tailwater").exists())
        .expect("it is built");
    Command::new(folder.join("tailwater"))
        .args(["rebuild", "--model", "all"])
        .envs(pipeline.services.env())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts")
}

async fn damage(pipeline: &Pipeline, order_id: &str) {
    let env = pipeline.services.env();
    let mut connection = PgConnection::connect(&env["TAILWATER_DATABASE_URL"])
        .await
        .expect("it answers");
    let harm = "UPDATE g1.orders SET doc = replace(doc, '\"total_minor\":250', '\"total_minor\":251')";
    let done = connection.execute(harm).await.expect("it answers");
    assert_eq!(done.rows_affected(), 1);
    let sale = "UPDATE g1.sales SET quantity = quantity + 1";
    connection.execute(sale).await.expect("it answers");
    connection.close().await.expect("it answers");
    let client = redis::Client::open(env["TAILWATER_REDIS_URL"].as_str()).expect("the URL is right");
    let mut connection = client
        .get_multiplexed_async_connection()
        .await
        .expect("it answers");
    let harm = redis::Script::new(
        "local keys = redis.call('KEYS', ARGV[1]) for _, key in ipairs(keys) do redis.call('DEL', key) end return #keys",
    );
    let pattern = format!("{{{}:*:order:{order_id}", pipeline.name);
    let harmed: i64 = harm
        .arg(pattern)
        .invoke_async(&mut connection)
        .await
        .expect("it answers");
    assert_eq!(harmed, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_interrupted_is_resumed_and_what_is_damaged_is_told_and_repaired() {
    let pipeline = Setup::new("resumed").start().await;
    let client = pipeline.client();
    let (postgres, redis) = generations(&pipeline);
    client.receive("mug", 10).await;
    let placed = client.place("alice", &[("mug", 1)]).await.expect(201);
    let path = format!("/v1/orders/{}", placed.text_of("order_id"));
    eventually("the order is confirmed", async || {
        let read = client.get(&path, &placed.token()).await;
        (read.json["status"] == "confirmed").then_some(())
    })
    .await;
    pipeline.verify();
    damage(&pipeline, &placed.text_of("order_id")).await;

    // Nobody fills it, so it is in the middle for as long as we like.
    pipeline.signal(PROJECTOR, Signal::SIGSTOP);
    let mut interrupted = begin(&pipeline);
    let filling = [(1, State::Live), (2, State::Filling)];
    eventually("both are begun", async || {
        (states(&postgres).await == filling && states(&redis).await == filling).then_some(())
    })
    .await;
    interrupted.kill().expect("it runs");
    interrupted.wait().expect("it ends");
    pipeline.kill(PROJECTOR);
    tokio::task::block_in_place(|| pipeline.services.restart(PROJECTOR)).expect("it starts again");

    let (code, report) = rebuild(&pipeline, &["--model", "all"]);
    assert_eq!(code, 1, "the old ones are damaged: {report}");
    let of = |model: &str| report["models"][model]["rebuilt"].clone();
    for model in ["postgres", "redis"] {
        assert_eq!(
            (&of(model)["generation"], &of(model)["resumed"]),
            (&2.into(), &true.into())
        );
        assert_eq!(report["models"][model]["switched"], false);
        let named = of(model)["named"].to_string();
        assert!(named.contains(&placed.text_of("order_id")), "{named}");
    }
    assert_eq!(
        (&of("postgres")["differences"], &of("redis")["differences"]),
        (&2.into(), &1.into())
    );
    let waiting = [(1, State::Live), (2, State::Ready)];
    assert_eq!(states(&postgres).await, waiting, "nothing is switched unasked");
    assert_ne!(
        pipeline.tailwater(&["verify"]).0,
        0,
        "what is read is still damaged"
    );

    let (code, report) = rebuild(&pipeline, &["--model", "all", "--accept-differences"]);
    assert_eq!(code, 0, "{report}");
    pipeline.verify();
    let read = client.get(&path, &placed.token()).await.expect(200);
    assert_eq!(read.json["total_minor"], 250);
    assert_eq!(states(&redis).await, [(1, State::Kept), (2, State::Live)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_lost_everything_hides_nothing_and_comes_back_by_itself() {
    let (pipeline, client) = stocked(Setup::new("lost")).await;
    let (_, redis) = generations(&pipeline);
    let (load, readers) = (
        Load::start(std::slice::from_ref(&client)),
        Readers::start(&client),
    );
    readers.read_on().await;
    let (code, report) = rebuild(&pipeline, &["--model", "redis"]);
    assert_eq!(code, 0, "{report}");
    for _ in 0..3 {
        forget_in_redis(&pipeline.name).await;
        // Without a token, too, nobody is told that what is there were not there.
        for sku in 0..20 {
            send(client.query(&format!("/v1/stock/sku-{sku}")))
                .await
                .expect(200);
        }
        let live = |states: &[(i32, State)]| states == [(1, State::Live)];
        eventually("Redis is read again", async || {
            live(&states(&redis).await).then_some(())
        })
        .await;
        readers.read_on().await;
    }
    // One partition's slot alone.
    forget_in_redis(&format!("{}:{MODEL_VERSION}:1:0}}", pipeline.name)).await;
    readers.read_on().await;
    readers.end().await;
    load.finish().await;
    pipeline.verify();
}

/// How far a generation is in Postgres, over all partitions.
async fn examined(connection: &mut PgConnection, generation: i32) -> i64 {
    let statement = format!("SELECT sum(next_offset)::bigint FROM g{generation}.checkpoints");
    sqlx::query_scalar(AssertSqlSafe(statement))
        .fetch_one(connection)
        .await
        .expect("it answers")
}

#[tokio::test(flavor = "multi_thread")]
async fn another_version_of_the_model_is_filled_beside_the_old_one_and_takes_over() {
    let (pipeline, client) = stocked(Setup::new("version")).await;
    let (postgres, _) = generations(&pipeline);
    let (list, mut token) = ("/v1/customers/alice/orders", String::new());
    for _ in 0..5 {
        let placed = client.place("alice", &[("sku-1", 1)]).await.expect(201);
        token = placed.token();
    }
    let listed = async |token: &str| {
        let read = client.get(list, token).await;
        (read.status == 200).then(|| read.json["orders"].as_array().map(Vec::len))
    };
    eventually("the first five are read", async || {
        listed(&token).await.filter(|count| *count == Some(5))
    })
    .await;
    tokio::task::block_in_place(|| pipeline.services.stop(PROJECTOR)).expect("it stops");
    let env = pipeline.services.env();
    let mut connection = PgConnection::connect(&env["TAILWATER_DATABASE_URL"])
        .await
        .expect("it answers");
    // What there is was made by the version before.
    let older = "UPDATE public.generations SET model_version = model_version - 1";
    connection.execute(older).await.expect("it answers");
    let before = examined(&mut connection, 1).await;
    let placed = client.place("alice", &[("sku-1", 1)]).await.expect(201);
    // A page that nobody asked for before: memory may still know the other, and rightly.
    let unread = client
        .query("/v1/customers/alice/orders?limit=2")
        .header("consistency-token", &token)
        .header("prefer", "wait=0");
    send(unread).await.expect(503);

    tokio::task::block_in_place(|| pipeline.services.restart(PROJECTOR)).expect("it starts again");
    eventually("the new version is read", async || {
        listed(&placed.token()).await.filter(|count| *count == Some(6))
    })
    .await;
    let all = postgres.list().await.expect("it answers");
    let all: Vec<_> = all
        .iter()
        .map(|one| (one.number, one.is_ours(), one.state))
        .collect();
    assert_eq!(all, [(1, false, State::Live), (2, true, State::Live)]);
    assert_eq!(
        examined(&mut connection, 1).await,
        before,
        "the old one is left to the old code"
    );
    pipeline.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_found_a_tear_a_moment_ago_undoes_no_switch() {
    let pipeline = Setup::new("mended").start().await;
    pipeline.client().receive("mug", 1).await;
    let (_, redis) = generations(&pipeline);
    eventually("the first is live", async || {
        (states(&redis).await == [(1, State::Live)]).then_some(())
    })
    .await;
    assert_eq!(redis.create().await.expect("it answers"), 2);
    eventually("it is filled", async || {
        states(&redis).await.contains(&(2, State::Ready)).then_some(())
    })
    .await;
    redis.switch(2).await.expect("it is ready");
    let switched = [(1, State::Kept), (2, State::Live)];
    // As a projector does that saw the first one live, and then slots that name the second.
    assert!(!redis.is_whole(1).await.expect("it answers"));
    redis.mend(1).await.expect("it answers");
    assert_eq!(states(&redis).await, switched);
    assert!(redis.is_whole(2).await.expect("it answers"));
    redis.mend(2).await.expect("it answers");
    assert_eq!(states(&redis).await, switched);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_follows_a_switch_and_the_end_of_what_it_read() {
    let pipeline = Setup::new("followed").start().await;
    pipeline.client().receive("mug", 1).await;
    let (postgres, _) = generations(&pipeline);
    let reader =
        PostgresReader::new(&pipeline.services.env()["TAILWATER_DATABASE_URL"]).expect("the URL is right");
    reader.positions().await.expect("the first is live at once");
    for number in [2, 3] {
        assert_eq!(postgres.create().await.expect("it answers"), number);
        assert!(postgres.switch(number + 1).await.is_err(), "there is none");
        eventually("it is filled", async || {
            states(&postgres)
                .await
                .contains(&(number, State::Ready))
                .then_some(())
        })
        .await;
        postgres.switch(number).await.expect("it is ready");
        let all = postgres.list().await.expect("it answers");
        let [before, live] = all[..] else {
            panic!("there are two: {all:?}")
        };
        assert!(postgres.discard(live).await.is_err(), "it is read");
        postgres.discard(before).await.expect("it is not read any more");
        let positions = reader.positions().await.expect("it goes after it");
        assert_eq!(positions.iter().count(), 1, "the one partition that has anything");
    }
    assert_eq!(states(&postgres).await, [(3, State::Live)]);
}
