//! Records that are not ours, and records that nobody can read.

use e2e::{Produced, Setup, codec, effective, key, partition, produce};
use eventlog::{NewRecord, Topic, Verdict, partition_of};
use schemas::{Event, OrderEvent, Timestamp};
use serde_json::json;
use uuid::Uuid;

/// The last link of a partition.
fn tail(pipeline: &e2e::Pipeline, topic: Topic, number: i32) -> eventlog::Link {
    let records = effective(&pipeline.log(), partition(topic, number));
    let mut links = records.iter().rev().filter_map(|(_, verdict)| match verdict {
        Verdict::Effective(envelope) => Some(envelope.link),
        Verdict::Void(_) => None,
    });
    links.next().unwrap_or(eventlog::Link::ZERO)
}

fn record(key: &str, value: Vec<u8>, after: eventlog::Link) -> NewRecord {
    NewRecord {
        key: key.as_bytes().to_vec(),
        value,
        event_id: Uuid::new_v4(),
        event_type: "foreign",
        occurred_at: Timestamp(0),
        sequence: None,
        traceparent: None,
        command: [7; 32],
        after,
        link: eventlog::Link::ZERO,
        causes: [].into(),
        source: None,
    }
    .chained(after)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_not_ours_changes_nothing_anywhere() {
    let pipeline = Setup::new("foreign").partitions(1).start().await;
    let client = pipeline.client();
    client.receive("mug", 10).await;
    let placed = client.place("alice", &[("mug", 1)]).await.expect(201);
    let path = format!("/v1/orders/{}", placed.text_of("order_id"));
    e2e::eventually("the order is confirmed", async || {
        let read = client.get(&path, &placed.token()).await.expect(200);
        (read.json["status"] == "confirmed").then_some(())
    })
    .await;
    let codec = codec(&pipeline.log()).await;
    let cancel = Event::Order(OrderEvent::Cancelled(schemas::orders::OrderCancelled {
        occurred_at: Timestamp(1),
        order_id: placed.text_of("order_id").parse().unwrap(),
        reason: "foreign".to_owned(),
    }));
    // A legal event, correctly linked, but for one thing each.
    let good: Produced = (&record(
        &placed.text_of("order_id"),
        codec.encode(&cancel).unwrap(),
        tail(&pipeline, Topic::Orders, 0),
    ))
        .into();
    let variant = |change: &dyn Fn(&mut Produced)| {
        let mut record = Produced {
            key: good.key.clone(),
            value: good.value.clone(),
            headers: good.headers.clone(),
        };
        change(&mut record);
        record
    };
    let mut records = vec![
        variant(&|record| record.headers.clear()),
        variant(&|record| record.value.push(0)),
        variant(&|record| record.key.push(b'x')),
        Produced {
            key: Vec::new(),
            value: b"hello".to_vec(),
            headers: Vec::new(),
        },
    ];
    for name in ["ce_id", "tw_command", "tw_after", "tw_link", "tw_causes"] {
        records.push(variant(&|record| {
            record.headers.retain(|(known, _)| *known != name);
        }));
        records.push(variant(&|record| {
            let double = record.headers.iter().find(|(known, _)| *known == name).cloned();
            record.headers.extend(double);
        }));
        if name != "tw_causes" {
            records.push(variant(&|record| {
                for (known, value) in &mut record.headers {
                    if *known == name {
                        value.push(0);
                    }
                }
            }));
        }
    }
    records.push(variant(&|record| record.headers.push(("tw_source", vec![0; 7]))));
    let count = records.len();
    produce(&pipeline.log(), partition(Topic::Orders, 0), &records);

    // The writer and the projectors go on, and count them.
    let next = client.place("alice", &[("mug", 1)]).await.expect(201);
    client
        .get(&format!("/v1/orders/{}", next.text_of("order_id")), &next.token())
        .await
        .expect(200);
    let read = client.get(&path, &next.token()).await.expect(200);
    assert_eq!(
        (&read.json["status"], &read.json["sequence"]),
        (&json!("confirmed"), &json!(2))
    );
    assert_eq!(pipeline.verify()["log"]["void"], count);
    for service in ["command-service-1", "projector-1"] {
        let output = pipeline.output_of(service);
        let lines = output.lines().filter(|line| line.contains("void")).count();
        assert!(
            (1..=2).contains(&lines),
            "{service} says it, once a minute at most:\n{output}"
        );
        let counted = pipeline.metric(service, "tailwater_void_records_total", "").await;
        assert!(
            counted >= f64::from(u32::try_from(count).unwrap()),
            "{service} counts them: {counted}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_effective_record_that_nobody_can_decode_stops_its_partition_loudly_and_no_other() {
    let pipeline = Setup::new("poison").partitions(2).start().await;
    let client = pipeline.client();
    // One SKU in each partition.
    let sku_in = |number| {
        (0..1_000)
            .map(|n| format!("sku-{n}"))
            .find(|sku| partition_of(sku.as_bytes(), 2) == number)
            .unwrap()
    };
    let (poisoned, healthy) = (sku_in(0), sku_in(1));
    let before = client.receive(&poisoned, 5).await;
    client
        .get(&format!("/v1/stock/{poisoned}"), &before)
        .await
        .expect(200);
    let poison = record(
        &poisoned,
        b"\0\xff\xff\xff\xffno schema has that id".to_vec(),
        tail(&pipeline, Topic::Stock, 0),
    );
    produce(&pipeline.log(), partition(Topic::Stock, 0), &[(&poison).into()]);
    e2e::eventually("both models stop that partition", async || {
        (pipeline
            .metric("projector-1", "tailwater_projection_halted", "")
            .await
            >= 2.0)
            .then_some(())
    })
    .await;
    assert!(
        pipeline.output_of("projector-1").contains("ERROR"),
        "it is said loudly"
    );
    // The writer of that partition stops, too, and says so; the other partition goes on everywhere.
    let body = json!({"quantity": 1});
    let path = format!("/v1/stock/{poisoned}/receipts");
    client
        .post(&path, &key(), &body)
        .await
        .problem(503, "unavailable");
    assert!(
        pipeline
            .output_of("command-service-1")
            .contains("writer.partition.stopped")
    );
    let token = client.receive(&healthy, 3).await;
    let read = client
        .get(&format!("/v1/stock/{healthy}"), &token)
        .await
        .expect(200);
    assert_eq!(read.json["on_hand"], 3);
    // What was there before is still read.
    assert_eq!(
        client
            .get(&format!("/v1/stock/{poisoned}"), &before)
            .await
            .expect(200)
            .json["on_hand"],
        5
    );
}
