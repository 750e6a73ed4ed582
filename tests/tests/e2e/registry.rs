//! Schemas: registered by the deploy step, looked up by services, read by others.

use std::io::Write;
use std::process::{Command, Stdio};

use e2e::{Setup, codec, components, effective, partition};
use eventlog::{Topic, Verdict};
use schemas::Event;

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_is_not_ours_reads_every_record() {
    let python = std::env::var("TAILWATER_FASTAVRO_PYTHON")
        .expect("TAILWATER_FASTAVRO_PYTHON names a Python with fastavro: `cargo xtask test` sets it");
    let pipeline = Setup::new("avro").partitions(1).start().await;
    let client = pipeline.client();
    client.receive("mug", 10).await;
    let placed = client.place("zoë", &[("mug", 1)]).await;
    assert_eq!(placed.status, 422, "a customer id is ASCII");
    let placed = client.place("zoe", &[("mug", 1), ("none", 1)]).await.expect(201);
    let path = format!("/v1/orders/{}", placed.text_of("order_id"));
    let note = serde_json::json!({"author": "Zoë", "text": "… ✓"});
    client
        .post(&format!("{path}/notes"), &e2e::key(), &note)
        .await
        .expect(201);
    e2e::eventually("the order is rejected", async || {
        let read = client.get(&path, &placed.token()).await.expect(200);
        (read.json["status"] == "rejected").then_some(())
    })
    .await;
    let codec = codec(&pipeline.log()).await;
    let mut ours = Vec::new();
    let mut lines = String::new();
    for topic in Topic::ALL {
        for (record, verdict) in effective(&pipeline.log(), partition(topic, 0)) {
            assert!(matches!(verdict, Verdict::Effective(_)));
            ours.push(codec.decode(topic, &record.value).unwrap());
            lines.push_str(&hex::encode(&record.value));
            lines.push('\n');
        }
    }
    let mut reader = Command::new(python)
        .arg(devstack::layout::workspace().join("tests/fastavro/read.py"))
        .arg(components().endpoints().registry_url)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Python runs");
    reader.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let output = reader.wait_with_output().unwrap();
    assert!(output.status.success());
    let theirs: Vec<serde_json::Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(theirs.len(), ours.len());
    let mut names = std::collections::BTreeSet::new();
    for (ours, theirs) in ours.iter().zip(&theirs) {
        names.insert(ours.short_name());
        assert_eq!(theirs["schema"], ours.full_name());
        assert_eq!(
            theirs["event"]["occurred_at"],
            ours.occurred_at().micros(),
            "{theirs}"
        );
        if let Event::Order(schemas::OrderEvent::NoteAdded(note)) = ours {
            assert_eq!(theirs["event"]["text"], note.text);
            assert_eq!(theirs["event"]["order_id"], note.order_id.to_string());
            assert!(theirs["event"]["reply_to"].is_null());
        }
    }
    for name in [
        "OrderPlaced",
        "NoteAdded",
        "OrderRejected",
        "StockReceived",
        "StockReserved",
        "CommandRejected",
    ] {
        assert!(names.contains(name), "{name} was read: {names:?}");
    }
}

/// Fails unless each service that uses schemas refuses to start with these words.
fn refuse_to_start(pipeline: &e2e::Pipeline, words: &[&str]) {
    for service in ["command-service-1", "projector-1"] {
        let error = pipeline
            .services
            .restart(service)
            .expect_err("it does not start")
            .to_string();
        for word in words {
            assert!(error.contains(word), "{service} says {word}: {error}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_refuses_to_start_where_a_schema_is_missing_or_another_and_names_the_subject() {
    let pipeline = Setup::new("missing").deploy().await;
    let subject = format!("{}.orders.events-shop.orders.v1.OrderExpired", pipeline.name);
    let registry = components().endpoints().registry_url;
    let url = format!("{registry}/subjects/{subject}");
    let client = reqwest::Client::new();
    for permanent in ["", "?permanent=true"] {
        let answer = client
            .delete(format!("{url}{permanent}"))
            .send()
            .await
            .expect("the registry answers");
        assert!(answer.status().is_success(), "{}", answer.status());
    }
    refuse_to_start(
        &pipeline,
        &[&subject, "is not in the schema registry", "tailwater deploy"],
    );

    let ours = schemas::all()
        .iter()
        .find(|def| def.full_name.ends_with(".OrderExpired"))
        .expect("there is such a schema");
    let mut other: serde_json::Value = serde_json::from_str(ours.json).expect("a schema is JSON");
    let field = serde_json::json!({"name": "why", "type": ["null", "string"], "default": null});
    other["fields"]
        .as_array_mut()
        .expect("a record has fields")
        .push(field);
    let body = serde_json::json!({"schema": other.to_string()});
    let answer = client
        .post(format!("{url}/versions"))
        .json(&body)
        .send()
        .await
        .expect("the registry answers");
    assert!(answer.status().is_success(), "{}", answer.status());
    refuse_to_start(&pipeline, &[&subject, "another schema", "tailwater deploy"]);

    let (code, text) = pipeline.tailwater(&["deploy"]);
    assert_eq!(code, 0, "{text}");
    pipeline
        .services
        .start()
        .expect("after the deploy step everything starts");
}
