//! Server-sent events: every event once, in order, however often a stream breaks.

use std::collections::BTreeMap;
use std::time::Duration;

use e2e::{Client, DEADLINE, EventStream, Load, Pipeline, Sent, Setup, eventually, key, stocked};
use eventlog::{LogConfig, Topic, TopicPartition, Verdict};
use read_model::{HistoryEvent, KeptEvent};
use schemas::Event;
use serde_json::{Value, json};
use tokio::sync::watch;

const PARTITIONS: i32 = 4;

/// What streams must show of a partition, from an offset on, by the log.
async fn shown(log: &LogConfig, partition: i32, from: i64) -> Vec<Value> {
    let codec = e2e::codec(log).await;
    let topic = Topic::Orders;
    let mut shown = Vec::new();
    for (record, verdict) in e2e::effective(log, TopicPartition { topic, partition }) {
        let Verdict::Effective(envelope) = verdict else {
            continue;
        };
        let Event::Order(event) = codec.decode(topic, &record.value).expect("it is ours") else {
            panic!("an order's event");
        };
        let Some(order_id) = event.order_id() else {
            continue;
        };
        if record.offset < from || !Event::Order(event.clone()).changes_state() {
            continue;
        }
        let kept = HistoryEvent::of(&KeptEvent {
            order_id,
            partition,
            offset: record.offset,
            sequence: envelope.sequence.expect("an order's event has one"),
            command_id: envelope.command_id,
            causes: &envelope.causes,
            event: &event,
        });
        let text = kept.and_then(|kept| kept.json_with_order(&log.prefix));
        shown.push(serde_json::from_str(&text.expect("it can be shown")).expect("it is JSON"));
    }
    shown
}

async fn note(client: &Client, order: &str, text: &str) {
    let path = format!("/v1/orders/{order}/notes");
    let body = json!({"author": "a", "text": text});
    client.post_until_answered(&path, &key(), &body).await.expect(201);
}

async fn events(stream: &mut EventStream, count: usize) -> Vec<Sent> {
    let mut all = Vec::new();
    while all.len() < count {
        let next = tokio::time::timeout(DEADLINE, stream.event()).await;
        all.push(next.expect("it comes in time").expect("the stream goes on"));
    }
    all
}

/// The next notes. A stream begins where the service has heard of the log, and that may be before what a model has shown already.
async fn notes(stream: &mut EventStream, count: usize) -> Vec<Sent> {
    let mut notes = Vec::new();
    while notes.len() < count {
        let next = events(stream, 1).await;
        notes.extend(
            next.into_iter()
                .filter(|sent| sent.event.as_deref() == Some("NoteAdded")),
        );
    }
    notes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_goes_on_behind_its_last_event() {
    let pipeline = Setup::new("streams").start().await;
    let client = pipeline.client();
    client.receive("mug", 10).await;
    let placed = client.place("alice", &[("mug", 1)]).await.expect(201);
    let id = placed.text_of("order_id");
    let path = format!("/v1/orders/{id}/events");
    eventually("it is confirmed", async || {
        let read = client.get(&format!("/v1/orders/{id}"), &placed.token()).await;
        (read.json["status"] == "confirmed").then_some(())
    })
    .await;
    let mut feed = EventStream::open(&client, "/v1/feed", None).await;
    // Whichever model is asked: without a token it may not have heard of the order yet.
    let mut order = eventually("every model has it", async || {
        EventStream::try_open(&client, &path, None).await
    })
    .await;
    let opened = feed.next().await.expect("it says that it is open");
    assert_eq!(opened.event, None);
    for n in 0..4 {
        note(&client, &id, &format!("line\n{n}")).await;
    }
    let of_feed = notes(&mut feed, 4).await;
    let of_order = notes(&mut order, 4).await;
    let data = |sent: &[Sent]| -> Vec<Value> { sent.iter().map(|sent| sent.data.clone()).collect() };
    assert_eq!(data(&of_feed), data(&of_order));
    assert_eq!(of_order[0].event.as_deref(), Some("NoteAdded"));
    assert_eq!(of_order[0].data["order_id"], id);

    // From any event on, and from the opening: now out of memory, then, the service started again, out of Postgres.
    for again in 0..2 {
        for (from, last) in [(0, &opened.id), (1, &of_feed[0].id), (3, &of_feed[2].id)] {
            let mut again = EventStream::open(&client, "/v1/feed", Some(last)).await;
            assert_eq!(data(&notes(&mut again, 4 - from).await), data(&of_feed[from..]));
        }
        let mut all = EventStream::open(&client, &path, Some(&of_order[1].id)).await;
        assert_eq!(data(&notes(&mut all, 2).await), data(&of_order[2..]));
        if again == 0 {
            drop(all);
            pipeline.kill("query-service-1");
            pipeline.services.start().expect("it starts again");
            eventually("it answers", async || {
                EventStream::try_open(&client, "/v1/feed", None).await
            })
            .await;
        }
    }
    // From a token: behind the command that it came with.
    let request = client
        .query(&path)
        .header("consistency-token", placed.token())
        .send()
        .await
        .expect("it answers");
    assert_eq!(request.status(), 200);

    for (id, status, slug) in [("nonsense", 400, "malformed-token"), ("", 400, "malformed-token")] {
        let request = client.query("/v1/feed").header("last-event-id", id);
        e2e::send(request).await.problem(status, slug);
    }
    let nobody = client.query("/v1/orders/00000000-0000-0000-0000-000000000000/events");
    e2e::send(nobody).await.problem(404, "order-not-found");
}

/// Reads the feed until it has as many events as the log and nothing more comes, and breaks off again and again.
async fn follow(
    client: Client,
    logged: watch::Receiver<Option<usize>>,
    begun: tokio::sync::oneshot::Sender<()>,
) -> Vec<Value> {
    let (mut all, mut last, mut begun) = (Vec::new(), None::<String>, Some(begun));
    loop {
        let Some(mut stream) = EventStream::try_open(&client, "/v1/feed", last.as_deref()).await else {
            tokio::task::yield_now().await;
            continue;
        };
        let until = fastrand::usize(1..200);
        let mut count = 0;
        while count < until {
            let Ok(next) = tokio::time::timeout(Duration::from_secs(3), stream.next()).await else {
                if logged.borrow().is_some_and(|logged| all.len() >= logged) {
                    return all;
                }
                break;
            };
            let Some(sent) = next else { break };
            if !sent.id.is_empty() {
                last = Some(sent.id);
            }
            if let Some(begun) = begun.take() {
                let _ = begun.send(());
            }
            match sent.event.as_deref() {
                None | Some("dropped") => {}
                Some(_) => {
                    count += 1;
                    all.push(sent.data);
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn under_load_every_event_comes_once_across_breaks_and_kills() {
    // The least memory there is for live events, so that some come out of Postgres.
    let setup = Setup::new("feed").env("TAILWATER_LIVE_MIB", "1");
    let (pipeline, client) = stocked(setup).await;
    let (log_is, logged) = watch::channel(None);
    let mut readers = Vec::new();
    for _ in 0..12 {
        let (begun, has_begun) = tokio::sync::oneshot::channel();
        readers.push(tokio::spawn(follow(client.clone(), logged.clone(), begun)));
        has_begun.await.expect("it begins before the first order");
    }
    let load = Load::start(&pipeline.clients());
    for orders in [100, 250] {
        load.placed_more_than(orders).await;
        pipeline.kill("query-service-1");
        pipeline.services.start().expect("it starts again");
    }
    load.placed_more_than(400).await;
    let acknowledged = load.finish().await;
    e2e::settle_and_compare(&pipeline, &client, &acknowledged).await;
    let mut expected = BTreeMap::new();
    for partition in 0..PARTITIONS {
        expected.insert(partition, shown(&pipeline.log(), partition, 0).await);
    }
    log_is.send_replace(Some(expected.values().map(Vec::len).sum()));
    for reader in readers {
        let all = tokio::time::timeout(DEADLINE, reader)
            .await
            .expect("every reader gets as many events as there are")
            .expect("no reader fails");
        let mut got: BTreeMap<i32, Vec<Value>> = BTreeMap::new();
        for event in all {
            let partition = event["partition"].as_i64().and_then(|n| i32::try_from(n).ok());
            got.entry(partition.expect("it says")).or_default().push(event);
        }
        for (partition, expected) in &expected {
            let got = got.remove(partition).unwrap_or_default();
            assert_eq!(got.len(), expected.len(), "partition {partition}");
            assert!(
                got == *expected,
                "partition {partition}: the same, in the same order"
            );
        }
    }
    still_open_are(&pipeline, 0.0).await;
}

/// No stream is counted that is not there.
async fn still_open_are(pipeline: &Pipeline, count: f64) {
    eventually("the other streams are closed", async || {
        let open = pipeline
            .metric("query-service-1", "tailwater_streams_open", "")
            .await;
        ((open - count).abs() < 0.5).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_is_told_so_and_misses_nothing() {
    const NOTES: usize = 2_400;
    const CLIENTS: usize = 12;
    let setup = Setup::new("slow-reader").env("TAILWATER_LIVE_MIB", "1");
    let (pipeline, client) = stocked(setup).await;
    let id = client
        .place("slow", &[("sku-1", 1)])
        .await
        .expect(201)
        .text_of("order_id");
    let mut opened = EventStream::open(&client, "/v1/feed", None).await;
    let begin = opened.next().await.expect("it says that it is open").id;
    let mut slow = EventStream::open_slow(&client, "/v1/feed").await;
    // It stands in the ring: it gets what is new.
    note(&client, &id, "first").await;
    loop {
        let sent = slow.event().await.expect("it comes");
        if sent.data["data"]["text"] == "first" {
            break;
        }
    }
    let text = "x".repeat(2_000);
    let writers = (0..CLIENTS).map(|_| async {
        for _ in 0..NOTES / CLIENTS {
            note(&client, &id, &text).await;
        }
    });
    futures::future::join_all(writers).await;
    let (mut last, mut got) = (None, 0);
    while let Some(sent) = slow.event().await {
        got += 1;
        last = Some(sent);
    }
    let last = last.expect("it has a last event");
    assert_eq!(last.event.as_deref(), Some("dropped"), "after {got} events");
    assert_eq!(last.data["type"], "/problems/stream-dropped");
    assert!(got < NOTES, "it was not held for him");
    let dropped = pipeline
        .metric("query-service-1", "tailwater_streams_dropped_total", "")
        .await;
    assert!(dropped >= 1.0);
    // From there on, and from the beginning: the one is the end of the other.
    let end = last_sequence(&client, &id).await;
    let count = async |from: &str| {
        let mut stream = EventStream::open(&client, "/v1/feed", Some(from)).await;
        let mut notes = Vec::new();
        loop {
            let sent = tokio::time::timeout(DEADLINE, stream.event())
                .await
                .expect("it comes in time");
            let sent = sent.expect("the stream goes on");
            if sent.data["type"] == "NoteAdded" {
                notes.push(sent.data["sequence"].as_u64().expect("it has one"));
            }
            if notes.last() == Some(&end) {
                return notes;
            }
        }
    };
    let all = count(&begin).await;
    assert_eq!(all.len(), NOTES + 1);
    let rest = count(&last.id).await;
    assert!(
        all.ends_with(&rest) && rest.len() < all.len(),
        "{} of {}",
        rest.len(),
        all.len()
    );
}

async fn last_sequence(client: &Client, id: &str) -> u64 {
    let request = client
        .query(&format!("/v1/orders/{id}"))
        .header("consistency", "strong")
        .header("prefer", "wait=30");
    let read = e2e::send(request).await.expect(200);
    read.json["sequence"].as_u64().expect("it has one")
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_counted_beat_and_end_with_the_service() {
    let pipeline = Setup::new("few-streams")
        .env("TAILWATER_STREAMS_MAX", "2")
        .env("TAILWATER_HEARTBEAT_SECONDS", "1")
        .start()
        .await;
    let client = pipeline.client();
    client.receive("mug", 10).await;
    let placed = client.place("bob", &[("mug", 1)]).await.expect(201);
    let path = format!("/v1/orders/{}/events", placed.text_of("order_id"));
    let mut feed = EventStream::open(&client, "/v1/feed", None).await;
    let request = client.query(&path).header("consistency-token", placed.token());
    assert_eq!(
        request
            .header("accept", "text/event-stream")
            .send()
            .await
            .expect("it answers")
            .status(),
        200
    );
    still_open_are(&pipeline, 1.0).await;
    let mut order = EventStream::open(&client, &path, None).await;
    let refused = e2e::send(client.query("/v1/feed")).await;
    refused.problem(503, "too-many-streams");
    assert_eq!(refused.header("retry-after"), Some("5"));
    for stream in [&mut feed, &mut order] {
        let mut beats = 0;
        while beats < 3 {
            let sent = tokio::time::timeout(DEADLINE, stream.next())
                .await
                .expect("it beats");
            let sent = sent.expect("the stream goes on");
            assert!(!sent.id.is_empty(), "each says where to come again: {sent:?}");
            beats += usize::from(sent.event.is_none());
        }
    }
    pipeline.signal("query-service-1", devstack::Signal::SIGTERM);
    for stream in [&mut feed, &mut order] {
        while tokio::time::timeout(DEADLINE, stream.next())
            .await
            .expect("it ends")
            .is_some()
        {}
    }
}
