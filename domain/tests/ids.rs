//! The ids and the canonical form of the process manager's commands, as `schemas/vectors.json` freezes them.

use domain::{Command, Deadline, OrderCommand, Reason, Step, StockCommand, Task};
use schemas::{Timestamp, ids};
use serde_json::Value;
use uuid::Uuid;

fn vectors(name: &str) -> Vec<Value> {
    let all: Value =
        serde_json::from_str(include_str!("../../schemas/vectors.json")).expect("vectors.json is JSON");
    all[name].as_array().expect(name).clone()
}

#[test]
fn a_step_has_the_id_that_its_vector_says() {
    for vector in vectors("step_id") {
        let cause: Uuid = vector["cause_event_id"].as_str().unwrap().parse().unwrap();
        if vector["step"] == "expire" {
            let (order_id, due) = (Uuid::nil(), Timestamp(0));
            let deadline = Deadline {
                due,
                cause,
                command: OrderCommand::Expire { order_id, due },
            };
            assert_eq!(deadline.command_id().to_string(), vector["command_id"]);
            continue;
        }
        let step = [Step::Reserve, Step::Release, Step::Ship]
            .into_iter()
            .find(|step| vector["step"] == step.name());
        let line = i32::try_from(vector["line"].as_i64().unwrap()).unwrap();
        let command = StockCommand::Release {
            sku: "A".into(),
            order_id: Uuid::nil(),
            line,
        };
        let task = Task {
            line,
            step: step.unwrap(),
            cause,
            command,
        };
        assert_eq!(task.command_id().to_string(), vector["command_id"]);
    }
}

#[test]
fn a_command_of_our_own_has_the_fingerprint_of_its_canonical_json() {
    let vector = vectors("fingerprint")
        .into_iter()
        .find(|vector| vector["method"] == "")
        .unwrap();
    let order_id = "b9c1c2de-5f0e-5b7a-8d53-0c6f6f2f9a11".parse().unwrap();
    let command = Command::from(StockCommand::Reserve {
        sku: "85123A".into(),
        order_id,
        line: 0,
        quantity: 6,
    });
    let json = command.canonical_json();
    assert_eq!(json, vector["body"]);
    let fingerprint = u128::from_be_bytes(ids::fingerprint("", "", json.as_bytes()));
    assert_eq!(format!("{fingerprint:032x}"), vector["fingerprint_hex"]);
    let read: Command = serde_json::from_str(&json).unwrap();
    assert_eq!(read, command);
    assert!(json.contains(command.name()));
}

#[test]
fn slugs_are_unique_and_lead_back() {
    for &reason in Reason::ALL {
        assert_eq!(Reason::from_slug(reason.slug()), Some(reason));
        assert!(
            reason
                .slug()
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'-')
        );
        assert!(!reason.title().is_empty() && reason.explanation().ends_with('.'));
        assert!((400..500).contains(&reason.status()));
    }
}
