//! What Postgres keeps beside the views: the events of orders, and the sales.

use e2e::{Answer, Client, Pipeline, Setup, eventually, key};
use eventlog::{Topic, TopicPartition, Verdict, partition_of};
use read_model::HistoryEvent;
use read_model::postgres::PostgresReader;
use read_model::projection::At;
use read_model::redis::RedisReader;
use read_model::view::{Day, Period, time};
use schemas::Timestamp;
use serde_json::{Value, json};
use sqlx::{Connection, Executor, PgConnection};
use uuid::Uuid;

const PARTITIONS: i32 = 4;

fn database_url(pipeline: &Pipeline) -> &str {
    &pipeline.services.env()["TAILWATER_DATABASE_URL"]
}

fn id_of(placed: &Answer) -> (i32, Uuid) {
    let text = placed.text_of("order_id");
    let id = text.parse().expect("an order's id is a UUID");
    (partition_of(text.as_bytes(), PARTITIONS), id)
}

/// The order's events once Postgres has that one.
async fn history_up_to(reader: &PostgresReader, placed: &Answer, last: &str) -> Vec<HistoryEvent> {
    let (partition, id) = id_of(placed);
    eventually(last, async || {
        let history = reader.history(partition, id).await.expect("Postgres answers");
        assert!(history.events.iter().all(|event| event.offset < history.position));
        let there = history.events.iter().any(|event| event.kind == last);
        there.then_some(history.events)
    })
    .await
}

async fn once(client: &Client, placed: &Answer, status: &str) -> Value {
    let path = format!("/v1/orders/{}", placed.text_of("order_id"));
    eventually(status, async || {
        let read = client.get(&path, &placed.token()).await.expect(200);
        (read.json["status"] == status).then_some(read.json)
    })
    .await
}

async fn pay(client: &Client, placed: &Answer, amount_minor: i64) {
    let path = format!("/v1/orders/{}/payments", placed.text_of("order_id"));
    let body = json!({"amount_minor": amount_minor, "reference": "card"});
    client.post(&path, &key(), &body).await.expect(200);
}

async fn cancel(client: &Client, placed: &Answer) {
    let path = format!("/v1/orders/{}/cancellations", placed.text_of("order_id"));
    let body = json!({"reason": "why \u{0} not"});
    client.post(&path, &key(), &body).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orders_events_are_kept_and_give_it_again_as_it_was() {
    let pipeline = Setup::new("history").start().await;
    let client = pipeline.client();
    let reader = PostgresReader::new(database_url(&pipeline)).unwrap();
    let seen = client.receive("mug", 10).await;
    let body = e2e::order("alice", &[("mug", 2), ("mug", 1)]);
    let request = client.command(reqwest::Method::POST, "/v1/orders");
    let request = request
        .header("consistency-token", &seen)
        .header("idempotency-key", key());
    let placed = e2e::send(request.json(&body)).await.expect(201);
    let (partition, id) = id_of(&placed);
    once(&client, &placed, "confirmed").await;
    pay(&client, &placed, 750).await;
    cancel(&client, &placed).await;
    eventually("both lines are released", async || {
        let order = once(&client, &placed, "cancelled").await;
        let lines = order["lines"].as_array()?;
        lines
            .iter()
            .all(|line| line["reservation"] == "released")
            .then_some(())
    })
    .await;
    eventually("Postgres has all of it", async || {
        let events = history_up_to(&reader, &placed, "OrderLineReleased").await;
        (events.len() == 7).then_some(())
    })
    .await;
    let events = reader.history(partition, id).await.unwrap().events;

    let kinds: Vec<&str> = events.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(kinds[0], "OrderPlaced");
    assert_eq!(kinds[3..5], ["OrderPaid", "OrderCancelled"], "{kinds:?}");
    assert_eq!(events[0].command_id.to_string(), placed.text_of("command_id"));
    let log = pipeline.log();
    let at = TopicPartition {
        topic: Topic::Orders,
        partition,
    };
    let records = e2e::effective(&log, at);
    for (n, event) in (1..).zip(&events) {
        assert_eq!((event.sequence, event.partition), (n, partition));
        let (record, verdict) = &records[usize::try_from(event.offset).unwrap()];
        let Verdict::Effective(envelope) = verdict else {
            panic!("a void record is kept")
        };
        assert_eq!(record.headers.sequence, Some(n));
        assert_eq!(
            (event.command_id, &event.causes),
            (envelope.command_id, &envelope.causes)
        );
    }
    assert!(
        events[0].causes.iter().any(|(at, _)| at.topic == Topic::Stock),
        "what its caller had seen"
    );
    let shown: Value = serde_json::from_str(&events[4].json(&log.prefix).unwrap()).unwrap();
    assert_eq!(shown["data"], json!({"order_id": id, "reason": "why \u{0} not"}));

    let now = client
        .get(&format!("/v1/orders/{id}"), &placed.token())
        .await
        .expect(200);
    it_is_there_as_it_was(&reader, &events, &now.json).await;
    streams_go_on(&reader, &events).await;
    // Of an order that never was there is nothing, as of the same position.
    let never = reader.history(partition, Uuid::nil()).await.unwrap();
    assert!(never.events.is_empty() && never.position > events[6].offset);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sold_is_counted_by_day_and_taken_out_when_it_is_cancelled() {
    let pipeline = Setup::new("sales").start().await;
    let client = pipeline.client();
    let reader = PostgresReader::new(database_url(&pipeline)).unwrap();
    for sku in ["mug", "tea", "pot"] {
        client.receive(sku, 100).await;
    }
    let mut placed = Vec::new();
    for lines in [
        &[("mug", 2), ("tea", 3), ("mug", 1)][..],
        &[("mug", 1)],
        &[("pot", 3)],
        &[("tea", 5)],
        &[("tea", 1_000)],
    ] {
        placed.push(client.place("alice", lines).await.expect(201));
    }
    for order in &placed[..4] {
        once(&client, order, "confirmed").await;
    }
    once(&client, &placed[4], "rejected").await;
    pay(&client, &placed[1], 250).await;
    pay(&client, &placed[3], 1_250).await;
    for order in [&placed[1], &placed[3]] {
        once(&client, order, "paid").await;
    }
    cancel(&client, &placed[3]).await;
    once(&client, &placed[3], "cancelled").await;

    let confirmed = once(&client, &placed[0], "confirmed").await;
    let day = Day::of(time::parse(confirmed["placed_at"].as_str().unwrap()).unwrap());
    let month: Period = day.to_string()[..7].parse().unwrap();
    let expected = json!([
        {"sku": "mug", "quantity": 4, "revenue_minor": 1_000, "currency": "GBP"},
        {"sku": "pot", "quantity": 3, "revenue_minor": 750, "currency": "GBP"},
        {"sku": "tea", "quantity": 3, "revenue_minor": 750, "currency": "GBP"},
    ]);
    let top = eventually("the sales come to rest", async || {
        let top = reader.top(month).await.expect("Postgres answers");
        (serde_json::to_value(&top.products).unwrap() == expected).then_some(top)
    })
    .await;
    let all = top.positions.iter().filter(|(at, _)| at.topic == Topic::Orders);
    assert!(all.count() > 0, "it says as of where");
    assert_eq!(reader.top(Period::Day(day)).await.unwrap().products, top.products);
    let mug = reader.sales("mug", None, None).await.unwrap();
    assert_eq!(
        serde_json::to_value(&mug.days).unwrap(),
        json!([{"day": day.to_string(), "quantity": 4, "revenue_minor": 1_000, "currency": "GBP"}])
    );
    assert_eq!(
        reader.sales("mug", Some(day), Some(day)).await.unwrap().days,
        mug.days
    );
    let (before, after) = (Day(day.0 - 1), Day(day.0 + 1));
    for (from, to) in [
        (None, Some(before)),
        (Some(after), None),
        (Some(after), Some(before)),
    ] {
        assert!(reader.sales("mug", from, to).await.unwrap().days.is_empty());
    }
    assert!(reader.sales("cup", None, None).await.unwrap().days.is_empty());
    let report = pipeline.verify();
    assert!(
        report["models"]["postgres"]["sales"].as_u64() >= Some(3),
        "{report}"
    );

    the_models_say_where_they_stand(&pipeline, &reader).await;
    what_is_changed_by_hand_is_found(&pipeline).await;
}

/// The order by sequence and by time.
async fn it_is_there_as_it_was(reader: &PostgresReader, events: &[HistoryEvent], now: &Value) {
    let (partition, id) = (events[0].partition, events[0].order_id);
    let as_it_was = async |at: At| {
        let reading = reader.order_at(partition, id, at).await.expect("it answers");
        assert!(reading.position > events[6].offset);
        reading
            .document
            .map(|document| serde_json::from_str::<Value>(&document.json).expect("it is JSON"))
    };
    let statuses = [
        "pending",
        "pending",
        "confirmed",
        "paid",
        "cancelled",
        "cancelled",
        "cancelled",
    ];
    for (n, status) in (1..).zip(statuses) {
        let order = as_it_was(At::Sequence(n)).await.expect("it was there");
        assert_eq!(
            (order["sequence"].as_u64(), order["status"].as_str()),
            (Some(n), Some(status))
        );
    }
    assert_eq!(as_it_was(At::Sequence(7)).await.expect("it answers"), *now);
    assert_eq!(
        as_it_was(At::Time(Timestamp(i64::MAX)))
            .await
            .expect("it answers"),
        *now
    );
    let placed_at = now["placed_at"]
        .as_str()
        .and_then(time::parse)
        .expect("it is a time");
    let order = as_it_was(At::Time(placed_at)).await.expect("it answers");
    assert_eq!(order["status"], "pending");
    assert_eq!(as_it_was(At::Time(Timestamp(placed_at.micros() - 1))).await, None);
    for beyond in [0, 8, u64::MAX] {
        assert_eq!(as_it_was(At::Sequence(beyond)).await, None);
    }
}

/// From any offset, in steps of any size; the end is where the model ends.
async fn streams_go_on(reader: &PostgresReader, events: &[HistoryEvent]) {
    let (partition, id) = (events[0].partition, events[0].order_id);
    for limit in [1, 2, 100] {
        let (mut from, mut all) = (0, Vec::new());
        loop {
            let some = reader
                .order_events_after(id, partition, from, limit)
                .await
                .expect("it answers");
            assert!(some.events.iter().all(|event| event.offset >= from));
            all.extend(some.events);
            if some.reached == some.position {
                break;
            }
            from = some.reached;
        }
        assert_eq!(all, events);
    }
    let whole = reader.events_after(partition, 0, 100).await.expect("it answers");
    assert_eq!((&whole.events[..], whole.reached), (events, whole.position));
    let rest = reader
        .events_after(partition, events[2].offset, 2)
        .await
        .expect("it answers");
    assert_eq!(
        (&rest.events[..], rest.reached),
        (&events[2..4], events[3].offset + 1)
    );
}

/// Both models name the same offsets and links once they are at rest: those of the log.
async fn the_models_say_where_they_stand(pipeline: &Pipeline, reader: &PostgresReader) {
    let env = pipeline.services.env();
    let redis = RedisReader::new(&env["TAILWATER_REDIS_URL"], &pipeline.name).expect("the URL is right");
    for topic in Topic::ALL {
        let of_redis = redis
            .positions_with_links(topic, PARTITIONS)
            .await
            .expect("it answers");
        assert_eq!(
            reader.positions_with_links(topic).await.expect("it answers"),
            of_redis
        );
        for (partition, checkpoint) in of_redis {
            let records = e2e::effective(&pipeline.log(), TopicPartition { topic, partition });
            assert_eq!(checkpoint.next_offset.cast_unsigned(), records.len() as u64);
            let last = records.iter().rev().find_map(|(_, verdict)| match verdict {
                Verdict::Effective(envelope) => Some(envelope.link),
                Verdict::Void(_) => None,
            });
            assert_eq!(checkpoint.link, last.unwrap_or(eventlog::Link::ZERO));
        }
    }
    let absent = redis.positions_with_links(Topic::Orders, PARTITIONS + 1).await;
    assert!(matches!(absent, Err(read_model::StoreError::Absent)));
}

/// `tailwater verify` looks at events and sales, too.
async fn what_is_changed_by_hand_is_found(pipeline: &Pipeline) {
    let mut connection = PgConnection::connect(database_url(pipeline))
        .await
        .expect("it answers");
    connection
        .execute("SET search_path = g1")
        .await
        .expect("it answers");
    for (harm, differences) in [
        (
            "UPDATE order_events SET sequence = sequence + 1 WHERE type = 'OrderRejected'",
            1,
        ),
        ("DELETE FROM order_events WHERE type = 'OrderCancelled'", 1),
        (
            "INSERT INTO order_events SELECT 9, \"offset\", order_id, sequence, type, occurred_at_us, command_id, causes, data \
          FROM order_events WHERE type = 'OrderRejected'",
            1,
        ),
        (
            "UPDATE sales SET revenue_minor = revenue_minor - 1 WHERE sku = 'pot'",
            1,
        ),
        ("UPDATE sales SET day = day + 1 WHERE sku = 'pot'", 2),
    ] {
        connection
            .execute("CREATE TABLE events_before AS TABLE order_events")
            .await
            .expect("it answers");
        connection
            .execute("CREATE TABLE sales_before AS TABLE sales")
            .await
            .expect("it answers");
        connection.execute(harm).await.expect("it answers");
        let (code, text) = pipeline.tailwater(&["verify", "--json"]);
        let report: Value =
            serde_json::from_str(text.lines().next().unwrap_or_default()).expect("it is JSON");
        assert_eq!(code, 1, "{harm}: {text}");
        assert_eq!(
            report["models"]["postgres"]["differences"], differences,
            "{harm}: {text}"
        );
        for undo in [
            "TRUNCATE order_events, sales",
            "INSERT INTO order_events TABLE events_before",
            "INSERT INTO sales TABLE sales_before",
            "DROP TABLE events_before, sales_before",
        ] {
            connection.execute(undo).await.expect("it answers");
        }
    }
    connection.close().await.expect("it answers");
    pipeline.verify();
}
