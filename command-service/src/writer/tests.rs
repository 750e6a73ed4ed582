//! Two writers on one log, from a seed: lost and late reports, records that never land, zombies that land late, retries
//! on the other writer. Whatever happens, every answer is the log's.

use std::collections::{BTreeMap, VecDeque};

use eventlog::{Chain, Checkpoint, LogRecord, NewRecord, Outcome, Verdict};
use schemas::Timestamp;
use uuid::Uuid;

use super::{Core, Domain, Expected, Limits, Output, Request, Upto};

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
    fn has_work(&self, _: &u64) -> bool {
        false
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
};

/// Something under way between a writer and the log.
enum Wire {
    Append { ticket: usize, record: NewRecord },
    Report { ticket: usize, outcome: Outcome },
    Read { generation: u64, from: i64, upto: Upto },
}

struct Node {
    core: Core<Counters, u64>,
    generation: u64,
    wire: VecDeque<Wire>,
}

impl Node {
    fn new() -> Self {
        Self {
            core: Core::new(Counters, LIMITS),
            generation: 0,
            wire: VecDeque::new(),
        }
    }
}

#[derive(Default)]
struct World {
    log: Vec<LogRecord>,
    /// Records of which nobody knows, and which may land any time.
    zombies: Vec<NewRecord>,
    /// What each command was answered, by whom however often.
    answers: BTreeMap<u64, (bool, u64)>,
}

impl World {
    fn land(&mut self, record: &NewRecord) -> i64 {
        let offset = i64::try_from(self.log.len()).unwrap();
        self.log.push(record.at_offset(offset));
        offset
    }

    fn collect(&mut self, node: &mut Node) {
        while let Some(output) = node.core.next_output() {
            match output {
                Output::Append { ticket, record } => node.wire.push_back(Wire::Append { ticket, record }),
                Output::Read { from, upto } => {
                    node.generation += 1;
                    node.wire.push_back(Wire::Read {
                        generation: node.generation,
                        from,
                        upto,
                    });
                }
                Output::Answer { caller, kept, .. } => {
                    let earlier = self.answers.insert(caller, kept.answer);
                    assert!(
                        earlier.is_none_or(|earlier| earlier == kept.answer),
                        "an answer is given for ever"
                    );
                }
                Output::Stopped { reason, .. } => panic!("a fold failed: {reason}"),
                Output::Mismatch { .. } => panic!("nobody reuses a key"),
                Output::Unavailable { .. }
                | Output::Changed { .. }
                | Output::Void { .. }
                | Output::Unsettled { .. } => {}
            }
        }
    }

    /// One step of what is under way. `faults`: whether things may go wrong.
    fn step(&mut self, node: &mut Node, rng: &mut fastrand::Rng, faults: bool) {
        let Some(wire) = node.wire.pop_front() else { return };
        match wire {
            Wire::Append { ticket, record } => {
                let fate = if faults { rng.u8(0..20) } else { 19 };
                let outcome = match fate {
                    // Dropped, while later ones arrive.
                    0 => Some(Outcome::Doubt),
                    // May land later.
                    1 => {
                        self.zombies.push(record);
                        Some(Outcome::Doubt)
                    }
                    // Landed, but nobody says where.
                    2 => {
                        self.land(&record);
                        Some(Outcome::Doubt)
                    }
                    // Landed, and its report is lost.
                    3 => {
                        self.land(&record);
                        None
                    }
                    _ => Some(Outcome::At(self.land(&record))),
                };
                if let Some(outcome) = outcome {
                    let at = rng.usize(0..=node.wire.len());
                    node.wire.insert(at, Wire::Report { ticket, outcome });
                }
            }
            Wire::Report { ticket, outcome } => node.core.report(ticket, outcome),
            Wire::Read {
                generation,
                from,
                upto,
            } => {
                let end = self.log.len();
                for record in &self.log[usize::try_from(from).unwrap()..end] {
                    if generation == node.generation {
                        node.core.record(record);
                    }
                }
                if upto == Upto::End {
                    node.core.reached_end();
                }
            }
        }
        self.collect(node);
    }

    /// What a reader that knows nothing but the rule makes of the log.
    fn history(&self) -> BTreeMap<u64, (bool, u64)> {
        let mut chain = Chain::from(Checkpoint::BEGINNING);
        let mut states: BTreeMap<u8, u64> = BTreeMap::new();
        let mut answers = BTreeMap::new();
        for record in &self.log {
            let Verdict::Effective(envelope) = chain.judge(record) else {
                continue;
            };
            let event = Counters.decode(&record.value).unwrap();
            let answer = match event {
                Event::Raised(key) => {
                    let state = states.entry(key).or_default();
                    *state += 1;
                    assert!(
                        *state <= u64::from(LIMIT),
                        "an effective event is a legal decision"
                    );
                    (true, *state)
                }
                Event::Refused(key) => {
                    assert_eq!(
                        states.get(&key),
                        Some(&u64::from(LIMIT)),
                        "an effective refusal is a legal decision"
                    );
                    (false, 0)
                }
            };
            let id = envelope.command_id.as_u64_pair().1;
            assert!(
                answers.insert(id, answer).is_none(),
                "a command has one effective record"
            );
        }
        answers
    }
}

/// Runs a seed and returns how many records the log holds.
fn simulate(seed: u64) -> usize {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut world = World::default();
    let mut nodes = [Node::new(), Node::new()];
    let mut now_ms = 0;
    let commands = rng.u64(5..40);
    let mut open: Vec<(u64, u8)> = (0..commands).map(|id| (id, rng.u8(0..3))).collect();
    for round in 0..2_000 {
        let faults = round < 600;
        now_ms += 1;
        for node in &mut nodes {
            world.collect(node);
            if faults && rng.u16(0..300) == 0 {
                // A crash: what was under way may land later or never.
                for wire in node.wire.drain(..) {
                    if let Wire::Append { record, .. } = wire {
                        world.zombies.push(record);
                    }
                }
                *node = Node::new();
            }
        }
        open.retain(|(id, _)| !world.answers.contains_key(id));
        // Whoever has no answer asks again, on any writer.
        if !open.is_empty() && (round < 300 || round % 50 == 0) {
            let (id, key) = open[rng.usize(0..open.len())];
            let node = &mut nodes[rng.usize(0..2)];
            node.core.submit(request(id, key), id);
            world.collect(node);
        }
        if !world.zombies.is_empty() && faults && rng.u8(0..10) == 0 {
            let zombie = world.zombies.swap_remove(rng.usize(0..world.zombies.len()));
            world.land(&zombie);
        }
        for _ in 0..rng.usize(0..6) {
            let node = &mut nodes[rng.usize(0..2)];
            world.step(node, &mut rng, faults);
        }
        for node in &mut nodes {
            node.core.tick(now_ms);
        }
    }
    for (id, key) in open {
        nodes[0].core.submit(request(id, key), id);
    }
    for _ in 0..2_000 {
        now_ms += 100;
        nodes[0].core.tick(now_ms);
        world.collect(&mut nodes[0]);
        world.step(&mut nodes[0], &mut rng, false);
    }
    let history = world.history();
    assert_eq!(
        world.answers.len(),
        usize::try_from(commands).unwrap(),
        "every client gets an answer, seed {seed}"
    );
    for (id, answer) in &world.answers {
        assert_eq!(
            history.get(id),
            Some(answer),
            "an answer is that of the effective record, seed {seed}"
        );
    }
    world.log.len()
}

#[test]
fn two_writers_with_faults_answer_only_what_the_log_says() {
    let records: usize = (0..2_000).map(simulate).sum();
    assert!(records > 10_000, "the seeds do some work: {records} records");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    assert_eq!(simulate(7), simulate(7));
}

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
            "2 mismatch",
            "1 answer, replayed false",
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
