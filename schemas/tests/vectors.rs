//! `vectors.json` is part of the contract: what is computed here must not change.

use schemas::{Codec, Event, Framed, all, ids};
use serde_json::Value;
use uuid::Uuid;

fn vectors(name: &str) -> Vec<Value> {
    let all: Value = serde_json::from_str(include_str!("../vectors.json")).expect("vectors.json is JSON");
    let vectors = all[name].as_array().expect(name).clone();
    assert!(!vectors.is_empty());
    vectors
}

fn text<'a>(vector: &'a Value, name: &str) -> &'a str {
    vector[name]
        .as_str()
        .unwrap_or_else(|| panic!("{name} in {vector}"))
}

fn id(vector: &Value, name: &str) -> Uuid {
    text(vector, name).parse().expect("a UUID")
}

#[test]
fn framing() {
    for vector in vectors("framing") {
        let schema_id = u32::try_from(vector["schema_id"].as_u64().unwrap()).unwrap();
        let value = hex::decode(text(&vector, "value_hex")).unwrap();
        assert_eq!(Framed::parse(&value).unwrap().schema_id, schema_id);
        assert_eq!(value[..5], Framed::header(schema_id));

        let record = all()
            .iter()
            .find(|def| def.full_name == text(&vector, "record"))
            .unwrap();
        let ids = all().iter().zip(1_000_000..).map(|(def, other)| {
            (
                def,
                if std::ptr::eq(def, record) {
                    schema_id
                } else {
                    other
                },
            )
        });
        let codec = Codec::new(ids).unwrap();
        let event: Event = codec.decode(record.topic, &value).unwrap();
        assert_eq!(event.full_name(), record.full_name);
        assert_eq!(event.data(), vector["event"]);
        assert_eq!(
            event.occurred_at().micros(),
            vector["occurred_at_micros"].as_i64().unwrap()
        );
        assert_eq!(
            hex::encode(codec.encode(&event).unwrap()),
            text(&vector, "value_hex")
        );
    }
}

#[test]
fn fingerprints() {
    for vector in vectors("fingerprint") {
        let of = ids::fingerprint(
            text(&vector, "method"),
            text(&vector, "path"),
            text(&vector, "body").as_bytes(),
        );
        assert_eq!(hex::encode(of), text(&vector, "fingerprint_hex"));
    }
}

#[test]
fn ids_of_commands_and_of_what_they_create() {
    for vector in vectors("command_id") {
        let (caller, method) = (text(&vector, "caller"), text(&vector, "method"));
        let of = ids::command_id(caller, method, text(&vector, "path"), text(&vector, "key"));
        assert_eq!(of, id(&vector, "command_id"));
    }
    for vector in vectors("created_id") {
        assert_eq!(
            ids::created_id(id(&vector, "command_id"), text(&vector, "kind")),
            id(&vector, "id")
        );
    }
    for vector in vectors("event_id") {
        assert_eq!(ids::event_id(id(&vector, "command_id")), id(&vector, "event_id"));
    }
}

#[test]
fn ids_of_the_process_managers_steps() {
    for vector in vectors("step_id") {
        let line = i32::try_from(vector["line"].as_i64().unwrap()).unwrap();
        let of = ids::step_id(id(&vector, "cause_event_id"), text(&vector, "step"), line);
        assert_eq!(of, id(&vector, "command_id"));
    }
}
