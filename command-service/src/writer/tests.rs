//! Single rules of the machine. What it does under faults is the simulation's (`tests/simulation`).

use std::sync::Arc;

use eventlog::{LogRecord, Outcome};
use schemas::Timestamp;
use uuid::Uuid;

use super::{Core, Domain, Expected, Limits, Origin, Output, Request, Work};

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
    fn evolve(&self, state: Option<u64>, _: &Event, _: Origin<'_>) -> Result<u64, String> {
        let raised = state.unwrap_or(0) + 1;
        if raised <= u64::from(LIMIT) {
            Ok(raised)
        } else {
            Err("above the limit".to_owned())
        }
    }
    fn bytes(&self, _: &u64) -> usize {
        8
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
    fn no_causes(&self) -> Arc<[u8]> {
        [].into()
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

/// What a machine wants done: records to append, and who is told how far the history goes.
fn appended_and_proven(core: &mut Core<Counters, u64>) -> (Vec<usize>, Vec<(u64, i64)>) {
    let (mut appended, mut proven) = (Vec::new(), Vec::new());
    while let Some(output) = core.next_output() {
        match output {
            Output::Append { ticket, .. } => appended.push(ticket),
            Output::Proven { caller, next_offset } => proven.push((caller, next_offset)),
            _ => {}
        }
    }
    (appended, proven)
}

#[test]
fn those_who_ask_within_five_milliseconds_share_a_barrier() {
    let mut core: Core<Counters, u64> = Core::new(Counters, LIMITS);
    core.reached_end();
    core.hurry(1_000);
    core.prove(Timestamp(0), 1);
    let (first, _) = appended_and_proven(&mut core);
    assert_eq!(first.len(), 1, "at once where none was sent lately");
    for caller in 2..=1_000 {
        core.prove(Timestamp(0), caller);
        assert!(core.hurry(1_004), "somebody waits");
    }
    assert_eq!(appended_and_proven(&mut core), (vec![], vec![]));
    core.report(first[0], Outcome::At(0));
    assert_eq!(
        appended_and_proven(&mut core),
        (vec![], vec![(1, 1)]),
        "the first barrier was sent before the others asked"
    );
    assert!(!core.hurry(1_005), "nobody waits for a barrier to be sent");
    let (second, _) = appended_and_proven(&mut core);
    assert_eq!(second.len(), 1);
    core.report(second[0], Outcome::At(1));
    let (_, proven) = appended_and_proven(&mut core);
    assert_eq!(proven, (2..=1_000).map(|caller| (caller, 2)).collect::<Vec<_>>());
}

#[test]
fn the_next_command_proves_the_history_without_a_barrier() {
    let mut core: Core<Counters, u64> = Core::new(Counters, LIMITS);
    core.reached_end();
    core.hurry(1_000);
    core.prove(Timestamp(0), 1);
    let (barrier, _) = appended_and_proven(&mut core);
    core.prove(Timestamp(0), 2);
    core.submit(request(1, 0), 3);
    let (command, _) = appended_and_proven(&mut core);
    assert!(!core.hurry(1_005));
    core.report(barrier[0], Outcome::At(0));
    core.report(command[0], Outcome::At(1));
    let (more, proven) = appended_and_proven(&mut core);
    assert!(more.is_empty());
    assert_eq!(proven, [(1, 1), (2, 2)]);
}
