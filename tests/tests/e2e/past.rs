//! Reads of what was: histories, versions, sales, and where a subscriber can start. Each must be the fold of the log.

use std::collections::BTreeMap;
use std::time::Duration;

use e2e::{Answer, Client, Load, Pipeline, Setup, codec, effective, eventually, partition, send};
use eventlog::{Chain, Checkpoint, Envelope, Link, LogReader, Topic, TopicPartition, Verdict};
use read_model::Order;
use read_model::projection::apply_order;
use read_model::projection::sales::is_sold;
use read_model::view::{Day, OrderDocument, time};
use schemas::{Event, OrderEvent, Timestamp};
use serde_json::{Value, json};
use uuid::Uuid;

const PARTITIONS: i32 = 4;

/// An effective event of an order, and the order after it.
struct Step {
    at: TopicPartition,
    offset: i64,
    envelope: Envelope,
    event: OrderEvent,
    order: Order,
}

/// Every order's events and versions, as the log alone gives them.
async fn folded(pipeline: &Pipeline) -> BTreeMap<Uuid, Vec<Step>> {
    let log = pipeline.log();
    let codec = codec(&log).await;
    let mut orders: BTreeMap<Uuid, Vec<Step>> = BTreeMap::new();
    for at in (0..PARTITIONS).map(|number| partition(Topic::Orders, number)) {
        for (record, verdict) in effective(&log, at) {
            let Verdict::Effective(envelope) = verdict else {
                continue;
            };
            let event = codec.decode(at.topic, &record.value).expect("it can be read");
            let Event::Order(event) = event else { continue };
            let Some(id) = event.order_id() else { continue };
            let steps = orders.entry(id).or_default();
            let mut order = steps.last().map(|step| step.order.clone());
            let changed = apply_order(&mut order, &event, &envelope.causes).expect("it fits");
            if let (true, Some(order)) = (changed, order) {
                steps.push(Step {
                    at,
                    offset: record.offset,
                    envelope,
                    event,
                    order,
                });
            }
        }
    }
    orders.retain(|_, steps| !steps.is_empty());
    orders
}

fn shown(order: &Order) -> Value {
    let document = OrderDocument {
        order: order.view.clone(),
        notes: order.notes.each().expect("they are notes"),
    };
    serde_json::to_value(document).expect("it is JSON")
}

/// A time in a query: no character of it needs escaping, as it is in UTC.
fn query_time(micros: i64) -> String {
    Timestamp(micros).rfc3339()
}

async fn read(client: &Client, path: &str) -> Answer {
    send(client.query(path)).await
}

async fn versions_are_the_folds(client: &Client, prefix: &str, id: Uuid, steps: &[Step]) {
    let path = format!("/v1/orders/{id}");
    let history = read(client, &format!("{path}/history")).await.expect(200);
    assert_eq!(history.header("served-from"), Some("postgres"));
    assert_eq!(history.header("cache-control"), Some("private, no-cache"));
    let etag = format!("\"{}\"", steps.len());
    assert_eq!(history.header("etag"), Some(etag.as_str()));
    let events = history.json["events"].as_array().expect("there are events");
    assert_eq!(events.len(), steps.len());
    for ((n, step), shown_event) in (1_u64..).zip(steps).zip(events) {
        let causes: Vec<Value> = step
            .envelope
            .causes
            .iter()
            .map(|(at, next)| {
                json!({"topic": at.topic.name(prefix), "partition": at.partition, "offset": next - 1})
            })
            .collect();
        let data: Value =
            serde_json::from_str(&step.event.data_json().expect("it has data")).expect("it is JSON");
        assert_eq!(
            *shown_event,
            json!({
                "sequence": n, "type": step.event.short_name(), "occurred_at": step.event.occurred_at().rfc3339(),
                "command_id": step.envelope.command_id, "partition": step.at.partition, "offset": step.offset,
                "causes": causes, "data": data,
            })
        );
        let version = read(client, &format!("{path}?at_sequence={n}")).await.expect(200);
        assert_eq!(version.json, shown(&step.order));
        assert_eq!(version.header("served-from"), Some("postgres"));
        assert_eq!(
            version.header("cache-control"),
            Some("private, max-age=3600, immutable")
        );
        let then = step.event.occurred_at();
        let as_of = read(client, &format!("{path}?as_of={}", query_time(then.micros())))
            .await
            .expect(200);
        // Up to the first event that is later: two may have happened at the same time.
        let last = steps
            .iter()
            .take_while(|step| step.event.occurred_at() <= then)
            .last();
        assert_eq!(as_of.json, shown(&last.expect("it is there itself").order));
        assert_eq!(as_of.header("cache-control"), Some("private, no-cache"));
    }
    let placed = steps[0].event.occurred_at().micros();
    for none in [
        format!("{path}?at_sequence={}", steps.len() + 1),
        format!("{path}?at_sequence=99999999999999999999999"),
        format!("{path}?at_sequence=0"),
        format!("{path}?as_of={}", query_time(placed - 1)),
    ] {
        read(client, &none).await.problem(404, "order-not-found");
    }
    let now = read(client, &format!("{path}?as_of=9999-01-01T00:00:00Z"))
        .await
        .expect(200);
    assert_eq!(now.json, read(client, &path).await.expect(200).json);
    let same = client
        .query(&format!("{path}/history"))
        .header("if-none-match", &etag);
    assert_eq!(send(same).await.status, 304);
}

/// Pieces and revenue by day and SKU of orders that count.
fn sold(orders: &BTreeMap<Uuid, Vec<Step>>) -> BTreeMap<(String, String), (i64, i64)> {
    let mut sold = BTreeMap::new();
    for order in orders
        .values()
        .filter_map(|steps| steps.last())
        .map(|step| &step.order.view)
    {
        for line in order.lines.iter().filter(|_| is_sold(order.status)) {
            let key = (line.sku.clone(), Day::of(order.placed_at).to_string());
            let sums = sold.entry(key).or_insert((0, 0));
            sums.0 += line.quantity;
            sums.1 += line.quantity * line.unit_price_minor;
        }
    }
    sold
}

async fn sales_are_the_folds(client: &Client, orders: &BTreeMap<Uuid, Vec<Step>>) {
    let sold = sold(orders);
    let mut by_day: BTreeMap<&str, Vec<(&str, i64, i64)>> = BTreeMap::new();
    let mut by_sku: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for ((sku, day), (quantity, revenue_minor)) in &sold {
        let (sku, day) = (sku.as_str(), day.as_str());
        by_day
            .entry(day)
            .or_default()
            .push((sku, *quantity, *revenue_minor));
        by_sku.entry(sku).or_default().push(
            json!({"day": day, "quantity": quantity, "revenue_minor": revenue_minor, "currency": "GBP"}),
        );
    }
    assert!(!by_sku.is_empty(), "something was sold");
    for (sku, days) in by_sku {
        let sales = read(client, &format!("/v1/products/{sku}/sales"))
            .await
            .expect(200);
        assert_eq!(sales.json, json!({"sku": sku, "days": days}));
        assert_eq!(sales.header("cache-control"), Some("public, max-age=5"));
        let one = days[0]["day"].as_str().expect("a day is text");
        let path = format!("/v1/products/{sku}/sales?from={one}&to={one}");
        let sales = client.get(&path, &sales.token()).await.expect(200);
        assert_eq!(sales.json, json!({"sku": sku, "days": days[..1]}));
        assert_eq!(
            sales.header("cache-control"),
            Some("private, no-cache"),
            "a read with a token is its reader's own"
        );
    }
    for (day, mut products) in by_day {
        products.sort_by_key(|(sku, quantity, revenue_minor)| (-quantity, -revenue_minor, *sku));
        let products: Vec<Value> = products
            .iter()
            .map(|(sku, quantity, revenue_minor)| {
                json!({"sku": sku, "quantity": quantity, "revenue_minor": revenue_minor, "currency": "GBP"})
            })
            .collect();
        let path = format!("/v1/products/top?period={day}");
        let top = read(client, &path).await.expect(200);
        assert_eq!(top.json, json!({"period": day, "products": products}));
        eventually("memory answers", async || {
            let again = read(client, &path).await.expect(200);
            assert_eq!(again.json, top.json);
            (again.header("served-from") == Some("memory")).then_some(())
        })
        .await;
    }
    for empty in [
        "/v1/products/never-sold/sales",
        "/v1/products/sku-0/sales?to=1999-12-31",
    ] {
        let sales = read(client, empty).await.expect(200);
        assert_eq!(sales.json["days"], json!([]));
    }
    let top = read(client, "/v1/products/top?period=1999-12").await.expect(200);
    assert_eq!(top.json, json!({"period": "1999-12", "products": []}));
}

/// From a position on, the chain goes on to the end, and counts what counts from the beginning.
fn chains_go_on(pipeline: &Pipeline, positions: &Value) {
    let log = pipeline.log();
    let topic = Topic::ALL
        .into_iter()
        .find(|topic| positions["topic"] == topic.name(&log.prefix))
        .expect("it is one of ours");
    let places = positions["partitions"].as_array().expect("it has partitions");
    assert_eq!(places.len(), usize::try_from(PARTITIONS).expect("it is small"));
    for (number, place) in (0..).zip(places) {
        assert_eq!(place["partition"], number);
        let at = partition(topic, number);
        let offset = place["offset"].as_i64().expect("an offset is a number");
        let link = place["link"].as_str().expect("a link is text").parse::<Link>();
        let mut chain = Chain::from(Checkpoint {
            next_offset: offset,
            last_offset: -1,
            link: link.expect("a link is hex"),
        });
        let all = effective(&log, at);
        let mut reader = LogReader::new(&log, "test").expect("a reader can be made");
        reader.assign(&[(at, offset)]).expect("a partition can be read");
        for (expected, verdict) in all.iter().filter(|(record, _)| record.offset >= offset) {
            let polled = reader.poll(Duration::from_secs(20)).expect("Kafka answers");
            let (_, record) = polled.expect("the record is there");
            assert_eq!(record.offset, expected.offset);
            assert_eq!(chain.judge(&record), *verdict, "{at:?} {}", record.offset);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_is_the_fold_of_the_log() {
    let (pipeline, client) = e2e::stocked(Setup::new("past")).await;
    let load = Load::start(std::slice::from_ref(&client));
    let prefix = pipeline.name.clone();
    // A model that is being made at first is not there yet; once it is, it stays.
    for model in ["redis", "postgres"] {
        let path = format!("/v1/positions?topic={}", Topic::Orders.name(&prefix));
        eventually("the model is there", async || {
            let request = client.query(&path).header("tailwater-model", model);
            (send(request).await.status == 200).then_some(())
        })
        .await;
    }
    let mut positions = Vec::new();
    for placed in [15, 30, 50] {
        eventually("orders are placed", async || {
            (load.placed() >= placed).then_some(())
        })
        .await;
        for topic in Topic::ALL {
            let path = format!("/v1/positions?topic={}&at=latest", topic.name(&prefix));
            for model in ["redis", "postgres"] {
                let request = client.query(&path).header("tailwater-model", model);
                let found = send(request).await.expect(200);
                assert_eq!(found.header("cache-control"), Some("no-store"));
                positions.push(found.json);
            }
        }
    }
    let outcome = load.finish().await;
    let paid = outcome.iter().next().expect("an order was placed");
    let path = format!("/v1/orders/{}/payments", paid.0);
    let body = json!({"amount_minor": paid.1, "reference": "card"});
    client.post(&path, &e2e::key(), &body).await;
    e2e::settle_and_compare(&pipeline, &client, &outcome).await;
    let orders = folded(&pipeline).await;
    assert_eq!(orders.len(), outcome.len());
    for (id, steps) in &orders {
        versions_are_the_folds(&client, &prefix, *id, steps).await;
    }
    sales_are_the_folds(&client, &orders).await;
    for found in &positions {
        chains_go_on(&pipeline, found);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_past_is_as_fresh_as_its_token() {
    let pipeline = Setup::new("past-fresh").start().await;
    let client = pipeline.client();
    client.receive("mug", 1_000).await;
    let mut sequence = 0;
    let placed = client.place("alice", &[("mug", 1)]).await.expect(201);
    let path = format!("/v1/orders/{}", placed.text_of("order_id"));
    for round in 0..20 {
        let note = json!({"author": "a", "text": format!("note {round}")});
        let noted = client
            .post(&format!("{path}/notes"), &e2e::key(), &note)
            .await
            .expect(201);
        let written = noted.json["sequence"].as_u64().expect("it has a sequence");
        let history = client
            .get(&format!("{path}/history"), &noted.token())
            .await
            .expect(200);
        let events = history.json["events"].as_array().expect("there are events");
        assert!(events.len() as u64 >= written, "{}", history.text);
        let version = client
            .get(&format!("{path}?at_sequence={written}"), &noted.token())
            .await
            .expect(200);
        assert_eq!(version.json["sequence"], written);
        assert_eq!(version.header("cache-control"), Some("private, no-cache"));
        assert!(written > sequence);
        sequence = written;
        let topic = format!("/v1/positions?topic={}", Topic::Orders.name(&pipeline.name));
        let positions = client.get(&topic, &noted.token()).await.expect(200);
        let after = |event: &Value| {
            let partition = event["partition"].as_u64().expect("it has a partition");
            let place = &positions.json["partitions"][usize::try_from(partition).expect("it is small")];
            place["offset"].as_i64() > event["offset"].as_i64()
        };
        let of_note = events.iter().find(|event| event["sequence"] == written);
        assert!(of_note.is_some_and(after), "{} {}", history.text, positions.text);
    }
    // What was sold is seen by whoever saw that it was.
    let confirmed = eventually("it is confirmed", async || {
        let read = send(client.query(&path).header("consistency", "strong"))
            .await
            .expect(200);
        (read.json["status"] == "confirmed").then_some(read)
    })
    .await;
    let day = Day::of(time::parse(&confirmed.text_of("placed_at")).expect("it is a time")).to_string();
    let month = &day[..7];
    let top = format!("/v1/products/top?period={month}");
    let expected = json!([{"sku": "mug", "quantity": 1, "revenue_minor": 250, "currency": "GBP"}]);
    let found = client.get(&top, &confirmed.token()).await.expect(200);
    assert_eq!(found.json, json!({"period": month, "products": expected}));
    let body = json!({"reason": "no"});
    let cancelled = client
        .post(&format!("{path}/cancellations"), &e2e::key(), &body)
        .await
        .expect(200);
    for path in [top.as_str(), "/v1/products/mug/sales"] {
        let found = client.get(path, &cancelled.token()).await.expect(200);
        let none = found.json.get("products").or(found.json.get("days"));
        assert_eq!(none, Some(&json!([])), "{}", found.text);
        let strong = client.query(path).header("consistency", "strong");
        send(strong).await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_question_about_the_past_is_refused() {
    let pipeline = Setup::new("past-bad").start().await;
    let client = pipeline.client();
    let never = format!("/v1/orders/{}", Uuid::from_u128(7));
    for path in ["/history", "?at_sequence=1", "?as_of=2026-01-01T00:00:00Z"] {
        read(&client, &format!("{never}{path}"))
            .await
            .problem(404, "order-not-found");
    }
    let topic = Topic::Orders.name(&pipeline.name);
    let bad = [
        "/v1/orders/x/history".to_owned(),
        format!("{never}/history?at=1"),
        format!("{never}?at_sequence=x"),
        format!("{never}?at_sequence=-1"),
        format!("{never}?at_sequence="),
        format!("{never}?as_of=2026-01-01"),
        format!("{never}?at_sequence=1&as_of=2026-01-01T00:00:00Z"),
        "/v1/positions".to_owned(),
        format!("/v1/positions?topic={}.commands", pipeline.name),
        format!("/v1/positions?topic={topic}&at=earliest"),
        "/v1/products/mug/sales?from=2026-02-30".to_owned(),
        "/v1/products/mug/sales?from=2026-01-02&to=2026-01-01".to_owned(),
        "/v1/products/mug/sales?day=2026-01-02".to_owned(),
        "/v1/products/a%20b/sales".to_owned(),
        "/v1/products/top".to_owned(),
        "/v1/products/top?period=2026".to_owned(),
    ];
    for path in bad {
        let answer = read(&client, &path).await;
        assert_eq!(answer.status, 400, "{path}: {}", answer.text);
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    }
    for path in [
        format!("{never}/history"),
        format!("{never}?at_sequence=1"),
        "/v1/products/mug/sales".to_owned(),
        "/v1/products/top?period=2026-01".to_owned(),
    ] {
        let answer = send(client.query(&path).header("tailwater-model", "redis")).await;
        assert_eq!(answer.status, 400, "{path}: {}", answer.text);
    }
    // A topic that nothing was ever written to is at its beginning.
    let path = format!("/v1/positions?topic={}", Topic::Stock.name(&pipeline.name));
    let found = read(&client, &path).await.expect(200);
    for place in found.json["partitions"].as_array().expect("it has partitions") {
        let offset = place["offset"].as_i64();
        assert!(offset.is_some(), "{}", found.text);
    }
}
