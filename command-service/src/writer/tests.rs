//! Single rules of the machine. What it does under faults is the simulation's (`tests/simulation`).

use eventlog::{LogRecord, Outcome};
use schemas::Timestamp;
use uuid::Uuid;

use super::{Core, Domain, Expected, Limits, Output, Request, Work};

/// A counter for each key that never gets above a limit: a refusal depends on the state.
#[derive(Clone)]
struct Counters;

const LIMIT: u8 = 5;

#[derive(Clone, Debug, PartialEq)]
enum Event {
    Raised(u8),
    Refused(u8),
}

impl Domain for Counters {
    type Command = u8;
    type Event = Event;
    type State = u64;
    type Key = u8;
    type Answer = (bool, u64);
    type Poison = String;

    fn target(&self, key: &u8) -> u8 {
        *key
    }
    fn key_bytes(&self, key: &u8) -> Vec<u8> {
        vec![*key]
    }
    fn decide(&self, state: Option<&u64>, request: &Request<u8>) -> Event {
        if state.copied().unwrap_or(0) < u64::from(LIMIT) {
            Event::Raised(request.command)
        } else {
            Event::Refused(request.command)
        }
    }
    fn changes(&self, event: &Event) -> Option<u8> {
        match event {
            Event::Raised(key) => Some(*key),
            Event::Refused(_) => None,
        }
    }
    fn evolve(&self, state: Option<u64>, _: &Event, _: Uuid) -> Result<u64, String> {
        let raised = state.unwrap_or(0) + 1;
        if raised <= u64::from(LIMIT) {
            Ok(raised)
        } else {
            Err("above the limit".to_owned())
        }
    }
    fn sequence(&self, state: &u64) -> u64 {
        *state
    }
    fn answer(&self, event: &Event, after: Option<&u64>) -> (bool, u64) {
        (matches!(event, Event::Raised(_)), after.copied().unwrap_or(0))
    }
    fn replay(&self, _: &u64, _: &Request<u8>) -> Option<(bool, u64)> {
        None
    }
    fn work(&self, _: &u64) -> Option<Work> {
        None
    }
    fn barrier(&self, _: Timestamp) -> Event {
        Event::Refused(0)
    }
    fn no_causes(&self) -> Vec<u8> {
        Vec::new()
    }
    fn occurred_at(&self, _: &Event) -> Timestamp {
        Timestamp(0)
    }
    fn type_name(&self, _: &Event) -> &'static str {
        "test.Event"
    }
    fn encode(&self, event: &Event) -> Result<Vec<u8>, String> {
        Ok(match event {
            Event::Raised(key) => vec![1, *key],
            Event::Refused(key) => vec![0, *key],
        })
    }
    fn decode(&self, value: &[u8]) -> Result<Event, String> {
        match value {
            [1, key] => Ok(Event::Raised(*key)),
            [0, key] => Ok(Event::Refused(*key)),
            _ => Err("not an event".to_owned()),
        }
    }
}

fn request(id: u64, key: u8) -> Request<u8> {
    Request {
        id: Uuid::from_u64_pair(1, id),
        fingerprint: [0; 16],
        at: Timestamp(0),
        expected: Expected::Any,
        causes: [].into(),
        traceparent: None,
        source: None,
        command: key,
    }
}

const LIMITS: Limits = Limits {
    in_flight_max: 4,
    waiting_max: 100,
    doubt_after_ms: 50,
    barrier_every_ms: 5,
    told_at_once: 1,
};

#[test]
fn a_key_that_comes_with_another_request_is_told_so_in_flight_and_afterwards() {
    let mut core: Core<Counters, u64> = Core::new(Counters, LIMITS);
    core.reached_end();
    core.submit(request(1, 0), 1);
    let other = || Request {
        fingerprint: [9; 16],
        ..request(1, 0)
    };
    core.submit(other(), 2);
    core.report(0, Outcome::At(0));
    core.submit(other(), 3);
    core.submit(request(1, 0), 4);
    let told: Vec<String> = std::iter::from_fn(|| core.next_output())
        .filter_map(|output| match output {
            Output::Mismatch { caller } => Some(format!("{caller} mismatch")),
            Output::Answer { caller, replayed, .. } => Some(format!("{caller} answer, replayed {replayed}")),
            _ => None,
        })
        .collect();
    assert_eq!(
        told,
        [
            "1 answer, replayed false",
            "2 mismatch",
            "3 mismatch",
            "4 answer, replayed true"
        ]
    );
}

#[test]
fn a_foreign_record_in_between_is_read_and_changes_nothing() {
    let mut core: Core<Counters, u64> = Core::new(Counters, LIMITS);
    core.reached_end();
    core.submit(request(1, 0), 1);
    let appended = std::iter::from_fn(|| core.next_output()).find_map(|output| match output {
        Output::Append { ticket, record } => Some((ticket, record)),
        _ => None,
    });
    let (ticket, record) = appended.unwrap();
    // Somebody else's record took offset 0; ours lies at 1.
    core.report(ticket, Outcome::At(1));
    let foreign = LogRecord {
        offset: 0,
        key: vec![],
        value: vec![],
        headers: eventlog::Headers::default(),
    };
    core.record(&foreign);
    core.record(&record.at_offset(1));
    let outputs: Vec<_> = std::iter::from_fn(|| core.next_output()).collect();
    assert!(
        outputs
            .iter()
            .any(|output| matches!(output, Output::Void { offset: 0, .. }))
    );
    assert!(outputs.iter().any(|output| matches!(
        output,
        Output::Answer {
            caller: 1,
            replayed: false,
            ..
        }
    )));
    assert_eq!(core.fold().next_offset(), 2);
}
