//! Events come back from their bytes as they were, and no bytes can do harm.

mod common;

use std::collections::BTreeSet;

use common::{Parts, any_event, codec};
use proptest::prelude::*;
use schemas::{CodecError, Event, OrderEvent, Topic, all};
use serde_json::{Value, json};
use uuid::Uuid;

fn samples() -> Vec<Event> {
    let (id, other) = (Uuid::from_u128(7), Some(Uuid::from_u128(8)));
    Parts {
        at: 1_291_192_560_000_000,
        id,
        other,
        number: 42,
        line: 3,
        text: "Zoë".into(),
    }
    .one_of_each()
}

#[test]
fn each_event_comes_back_as_it_was() {
    let codec = codec();
    for (event, def) in samples().iter().zip(all()) {
        assert_eq!((event.full_name(), event.topic()), (def.full_name, def.topic));
        let value = codec.encode(event).unwrap();
        assert_eq!(&codec.decode(event.topic(), &value).unwrap(), event);
    }
}

#[test]
fn structs_and_schemas_have_the_same_fields() {
    fn names(fields: &Value) -> BTreeSet<&str> {
        fields
            .as_array()
            .unwrap()
            .iter()
            .map(|field| field["name"].as_str().unwrap())
            .collect()
    }
    for (event, def) in samples().iter().zip(all()) {
        let schema: Value = serde_json::from_str(def.json).unwrap();
        let data = event.data();
        let mut fields: BTreeSet<&str> = data.as_object().unwrap().keys().map(String::as_str).collect();
        assert!(fields.insert("occurred_at"), "data() is without the time");
        assert_eq!(fields, names(&schema["fields"]), "{}", def.full_name);
        assert_eq!(
            schema["fields"][0]["type"]["logicalType"], "timestamp-micros",
            "{}",
            def.full_name
        );
        for field in schema["fields"].as_array().unwrap().iter().chain([&schema]) {
            assert!(
                field["doc"].as_str().is_some_and(|doc| doc.ends_with('.')),
                "{} {field}",
                def.full_name
            );
        }
        if let Some(line) = data["lines"].get(0) {
            let line: BTreeSet<&str> = line.as_object().unwrap().keys().map(String::as_str).collect();
            let lines = schema["fields"]
                .as_array()
                .unwrap()
                .iter()
                .find(|field| field["name"] == "lines")
                .unwrap();
            assert_eq!(line, names(&lines["type"]["items"]["fields"]));
        }
    }
}

#[test]
fn an_older_version_is_read_by_resolution() {
    let mut codec = codec();
    let note = samples()
        .into_iter()
        .find(|event| event.short_name() == "NoteAdded")
        .unwrap();
    let mut older: Value = serde_json::from_str(
        all()
            .iter()
            .find(|def| def.short_name == "NoteAdded")
            .unwrap()
            .json,
    )
    .unwrap();
    older["fields"]
        .as_array_mut()
        .unwrap()
        .retain(|field| field["name"] != "reply_to");
    codec
        .add_writer_schema(Topic::Orders, 7, &older.to_string())
        .unwrap();

    // What the older writer wrote is what ours writes without a reply, less the last byte, which says "no reply".
    let Event::Order(OrderEvent::NoteAdded(mut added)) = note else {
        panic!("a note")
    };
    added.reply_to = None;
    let expected = Event::Order(OrderEvent::NoteAdded(added));
    let mut value = codec.encode(&expected).unwrap();
    assert_eq!(value.pop(), Some(0));
    value[1..5].copy_from_slice(&7_u32.to_be_bytes());

    assert_eq!(codec.decode(Topic::Orders, &value).unwrap(), expected);
    value.push(0);
    assert!(matches!(
        codec.decode(Topic::Orders, &value),
        Err(CodecError::Trailing { bytes: 1, .. })
    ));
}

#[test]
fn a_version_that_cannot_be_read_is_refused() {
    let mut codec = codec();
    let barrier = |fields: Value| {
        json!({"type": "record", "name": "Barrier", "namespace": "shop.orders.v1", "fields": fields})
            .to_string()
    };
    let unusable = [
        barrier(json!([])),
        barrier(json!([{"name": "occurred_at", "type": "string"}])),
        barrier(json!([{"name": "occurred_at", "type": "long"}])).replace("orders", "stock"),
        "{".to_owned(),
        "\"long\"".to_owned(),
    ];
    for json in unusable {
        let refused = codec.add_writer_schema(Topic::Orders, 7, &json);
        assert!(
            matches!(refused, Err(CodecError::UnusableSchema { id: 7, .. })),
            "{json}"
        );
    }
}

#[test]
fn what_is_not_ours_is_told_apart() {
    let codec = codec();
    let value = codec.encode(&samples()[0]).unwrap();
    assert!(matches!(
        codec.decode(Topic::Orders, &[]),
        Err(CodecError::NotFramed)
    ));
    assert!(matches!(
        codec.decode(Topic::Orders, &[1, 0, 0, 0, 100, 0]),
        Err(CodecError::NotFramed)
    ));
    assert!(matches!(
        codec.decode(Topic::Orders, &[0, 0, 0, 0, 9, 0]),
        Err(CodecError::UnknownSchema(9))
    ));
    assert!(matches!(
        codec.decode(Topic::Stock, &value),
        Err(CodecError::UnknownSchema(100))
    ));
    assert!(matches!(
        codec.decode(Topic::Orders, &value[..value.len() - 1]),
        Err(CodecError::Malformed {
            full_name: "shop.orders.v1.OrderPlaced",
            ..
        })
    ));
}

#[test]
fn a_length_that_lies_allocates_nothing() {
    let codec = codec();
    // A stock event whose SKU claims to have 2^40 bytes, and an order that claims 2^60 lines.
    let mut sku = vec![0, 0, 0, 0, 114, 0];
    sku.extend([0x80, 0x80, 0x80, 0x80, 0x80, 0x40]);
    assert!(matches!(
        codec.decode(Topic::Stock, &sku),
        Err(CodecError::Malformed { .. })
    ));
    let no_lines = Parts {
        at: 0,
        id: Uuid::nil(),
        other: None,
        number: 0,
        line: 0,
        text: String::new(),
    };
    let placed = codec.encode(&no_lines.one_of_each()[0]).unwrap();
    let mut lines = placed[..placed.len() - 1].to_vec();
    lines.extend([0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x20]);
    assert!(matches!(
        codec.decode(Topic::Orders, &lines),
        Err(CodecError::Malformed { .. })
    ));
}

#[test]
fn a_codec_needs_an_id_for_each_record() {
    let without_the_last = all().iter().zip(1..).take(all().len() - 1);
    assert!(matches!(
        schemas::Codec::new(without_the_last),
        Err(CodecError::NoId("shop.stock.v1.Barrier"))
    ));
}

proptest! {
    #[test]
    fn any_event_comes_back_as_it_was(event in any_event()) {
        let codec = codec();
        let value = codec.encode(&event).unwrap();
        prop_assert_eq!(codec.decode(event.topic(), &value).unwrap(), event);
    }

    #[test]
    fn any_bytes_are_an_event_or_an_error(id in 95_u32..125, body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let codec = codec();
        let value = [&[0], &id.to_be_bytes()[..], &body[..]].concat();
        for topic in Topic::ALL {
            if let Ok(event) = codec.decode(topic, &value) {
                prop_assert_eq!(event.topic(), topic);
            }
            let _error = codec.decode(topic, &body);
        }
    }

    #[test]
    fn a_damaged_event_is_an_event_or_an_error(event in any_event(), at in any::<prop::sample::Index>(), byte: u8) {
        let codec = codec();
        let mut value = codec.encode(&event).unwrap();
        let at = at.index(value.len());
        value[at] = byte;
        let _result = codec.decode(event.topic(), &value);
        value.truncate(at);
        prop_assert!(codec.decode(event.topic(), &value).is_err());
    }
}
