//! Every interleaving of a small configuration, walked by a model checker over the same code.
//!
//! Two writers, two or three commands, two records in flight; a few retries on the other writer, crashes, unknown outcomes
//! and lost records, each bounded by the configuration. Everything else may happen in any order. In some configurations the first
//! command comes through the commands topic as well, or one of the writers follows the other until it is to lead.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use command_service::writer::{Core, Expected, Limits, Output, Request, Sources, Upto};
use eventlog::bugs::{self, Bug};
use eventlog::{NewRecord, Outcome};
use schemas::Timestamp;
use stateright::{Checker as _, Expectation, Model, Property};
use uuid::Uuid;

use crate::Violation;
use crate::board::{Boards, Command, Wish};
use crate::truth::Truth;

const LIMITS: Limits = Limits {
    in_flight_max: 2,
    waiting_max: 4,
    doubt_after_ms: u64::MAX,
    barrier_every_ms: 0,
    told_at_once: 1,
};

/// What may happen, how often at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Small {
    /// Commands, two or three.
    pub commands: usize,
    /// Retries on the other writer.
    pub retries: u8,
    /// Crashes of a writer.
    pub crashes: u8,
    /// Records whose outcome nobody tells: landed, or to land any time.
    pub unknown: u8,
    /// Records that are lost, and reported as doubtful.
    pub lost: u8,
    /// Strong reads.
    pub strong: u8,
    /// Whether the first command is accepted, too, and carried out from the commands topic.
    pub accepted: bool,
    /// Whether the second writer follows the first one, until it is to lead.
    pub follower: bool,
    /// A mistake that the writers make.
    pub bug: Option<Bug>,
}

/// The small ones, for every test run.
pub const TESTED: [Small; 7] = [
    Small::of(2, [1, 1, 0, 0, 0]),
    Small::of(2, [1, 0, 1, 0, 0]),
    Small::of(2, [1, 0, 0, 1, 1]),
    Small::of(3, [0, 0, 1, 0, 0]),
    Small::of(2, [1, 1, 1, 1, 0]),
    Small::of(1, [0, 1, 0, 0, 0]).with_topic(),
    Small::of(1, [1, 0, 1, 0, 0]).with_topic().with_follower(),
];

/// The larger ones, for `cargo xtask sim --exhaustive`.
pub const LARGE: [Small; 3] = [
    Small::of(3, [1, 0, 1, 1, 0]),
    Small::of(2, [1, 1, 1, 0, 1]),
    Small::of(2, [0, 1, 0, 0, 0]).with_topic().with_follower(),
];

const RIGHT: &str = "answers, decisions and strong reads are right";
const IN_VAIN: &str = "nobody waits in vain";

/// Who waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Caller {
    Client(usize),
    Strong(i64),
    /// The one that was accepted.
    Accepted,
}

#[derive(Clone)]
struct Node {
    core: Core<Boards, Caller>,
    sending: Vec<(usize, Arc<NewRecord>)>,
    reports: Vec<(usize, Outcome)>,
    reading: Option<(i64, Upto)>,
    leads: bool,
    sources: Sources,
}

/// What was met on the way, to show that the walk goes everywhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "each is a situation of its own")]
struct Met {
    void: bool,
    taken_over: bool,
    zombie_effective: bool,
    zombie_void: bool,
    appended_again: bool,
    proven: bool,
    passed: bool,
    follower_led: bool,
}

/// Writers, log and clients at one moment.
#[derive(Clone)]
pub struct Moment {
    nodes: [Node; 2],
    truth: Truth,
    zombies: Vec<Arc<NewRecord>>,
    /// Of each client: the writers that it asked, and whether it was answered.
    asked: Vec<Vec<usize>>,
    answered: Vec<bool>,
    acknowledged: i64,
    left: Small,
    met: Met,
    violation: Option<Violation>,
}

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// A client asks for the first time.
    Ask(usize),
    /// A client asks the other writer, too.
    Retry(usize),
    /// A strong read begins at a writer.
    Prove(usize),
    /// A writer's next record lands, and its offset is reported.
    Land(usize),
    /// It is lost, and reported as doubtful.
    Lose(usize),
    /// It lands, and is reported as doubtful.
    LandUnknown(usize),
    /// It is reported as doubtful, and may land any time.
    MakeZombie(usize),
    /// A writer hears the next report.
    Hear(usize),
    /// A writer reads the log as far as it wanted.
    Read(usize),
    /// Such a record lands.
    LandZombie(usize),
    /// A writer dies and starts from nothing; what it was sending may land any time.
    Crash(usize),
    /// A writer takes the accepted command.
    Take(usize),
    /// The follower is to lead.
    Lead,
}

impl Small {
    /// So many commands; retries, crashes, unknown outcomes, lost records, strong reads.
    const fn of(commands: usize, [retries, crashes, unknown, lost, strong]: [u8; 5]) -> Self {
        Self {
            commands,
            retries,
            crashes,
            unknown,
            lost,
            strong,
            accepted: false,
            follower: false,
            bug: None,
        }
    }

    /// The same, with the first command accepted as well.
    const fn with_topic(self) -> Self {
        Self {
            accepted: true,
            ..self
        }
    }

    /// The same, with a follower for the second writer.
    const fn with_follower(self) -> Self {
        Self {
            follower: true,
            ..self
        }
    }

    /// The same, with a mistake.
    #[must_use]
    pub const fn with(self, bug: Bug) -> Self {
        Self {
            bug: Some(bug),
            ..self
        }
    }

    fn wish(number: usize) -> Wish {
        match number {
            0 => Wish::Post,
            1 => Wish::Reply(Self::id(0)),
            _ => Wish::Pay,
        }
    }

    fn id(number: usize) -> Uuid {
        Uuid::from_u64_pair(1, number as u64 + 1)
    }

    fn command(number: usize) -> Command {
        Command {
            board: 0,
            wish: Self::wish(number),
        }
    }

    fn all(self) -> BTreeMap<Uuid, Command> {
        (0..self.commands)
            .map(|number| (Self::id(number), Self::command(number)))
            .collect()
    }
}

impl Moment {
    fn submit(&mut self, client: usize, writer: usize) {
        self.asked[client].push(writer);
        let request = Self::request(client, None);
        self.nodes[writer].core.submit(request, Caller::Client(client));
    }

    fn request(client: usize, source: Option<u64>) -> Request<Command> {
        Request {
            id: Small::id(client),
            fingerprint: [0; 16],
            at: Timestamp(0),
            expected: Expected::Any,
            causes: [].into(),
            traceparent: None,
            source,
            command: Small::command(client),
        }
    }

    fn land(&mut self, record: &NewRecord) -> i64 {
        let void = self.truth.void;
        let again = self
            .truth
            .log
            .iter()
            .any(|there| there.headers.link.one() == Some(&record.link.0));
        self.met.appended_again |= again;
        let commands = self.left.all();
        let landed = self.truth.land(record, &commands);
        self.met.void |= self.truth.void > void;
        self.met.passed |=
            self.truth.carried_out.is_some() && record.command == [0; 32] && record.source.is_some();
        if self.truth.carried_out.is_some() && !self.truth.answered.contains_key(&Small::id(0)) {
            self.violation.get_or_insert(Violation::LeftOut);
        }
        match landed {
            Ok(offset) => offset,
            Err(violation) => {
                self.violation.get_or_insert(violation);
                self.truth.end() - 1
            }
        }
    }

    fn read(&mut self, writer: usize) {
        let Some((from, upto)) = self.nodes[writer].reading.take() else {
            return;
        };
        let end = match upto {
            Upto::Offset(offset) => offset + 1,
            Upto::End | Upto::Ever => self.truth.end(),
        };
        let range = usize::try_from(from).unwrap_or(0)..usize::try_from(end).unwrap_or(0);
        let core = &mut self.nodes[writer].core;
        for record in &self.truth.log[range] {
            core.record(record);
        }
        if !matches!(upto, Upto::Offset(_)) {
            core.reached_end();
        }
        if core.is_following() {
            self.nodes[writer].reading = Some((end, upto));
        }
    }

    fn crash(&mut self, writer: usize) {
        let node = &mut self.nodes[writer];
        self.zombies.extend(
            std::mem::take(&mut node.sending)
                .into_iter()
                .map(|(_, record)| record),
        );
        node.reports.clear();
        node.reading = None;
        node.core = Core::new(Boards, LIMITS);
        node.sources.end();
    }

    /// Takes what a writer wants done, and judges what it says.
    fn collect(&mut self, writer: usize) {
        while let Some(output) = self.nodes[writer].core.next_output() {
            let node = &mut self.nodes[writer];
            match output {
                Output::Append { ticket, record } => node.sending.push((ticket, record)),
                Output::Read { from, upto } => node.reading = Some((from, upto)),
                Output::Answer { caller, kept, .. } => {
                    let client = match caller {
                        Caller::Client(client) => client,
                        Caller::Accepted => 0,
                        Caller::Strong(_) => continue,
                    };
                    self.answered[client] |= caller == Caller::Client(client);
                    self.acknowledged = self.acknowledged.max(kept.next_offset);
                    let found = self.truth.answered.get(&Small::id(client));
                    if found.is_none_or(|found| {
                        found.answer != kept.answer || found.offset + 1 != kept.next_offset
                    }) {
                        self.violation = Some(Violation::WrongAnswer);
                    }
                    self.met.taken_over |= self.asked[client].len() > 1;
                    // Its own record says that the topic is done with it; where it left none, a barrier has to.
                    let core = &mut self.nodes[writer].core;
                    if caller == Caller::Accepted && core.fold().carried_out().is_none() {
                        core.pass(0, Timestamp(0));
                    }
                }
                Output::Proven { caller, next_offset } => {
                    self.met.proven = true;
                    if matches!(caller, Caller::Strong(from) if next_offset < from) {
                        self.violation = Some(Violation::StaleRead);
                    }
                }
                Output::StateLost { .. } | Output::Stopped { .. } => {
                    self.violation = Some(Violation::FoldFailed);
                }
                Output::Mismatch { .. } | Output::Unavailable { .. } => {
                    self.violation = Some(Violation::WrongAnswer);
                }
                Output::Changed { .. } | Output::Void { .. } | Output::Unsettled { .. } => {}
            }
        }
        let node = &mut self.nodes[writer];
        if node.leads && node.sources.next().is_none() && node.core.is_writing() {
            node.sources.begin(node.core.fold().carried_out());
        }
    }

    fn steps(&self, steps: &mut Vec<Step>) {
        for client in 0..self.asked.len() {
            if self.asked[client].is_empty() {
                steps.push(Step::Ask(client));
            } else if self.left.retries > 0 && self.asked[client].len() == 1 {
                steps.push(Step::Retry(client));
            }
        }
        for writer in 0..2 {
            let node = &self.nodes[writer];
            if !node.sending.is_empty() {
                steps.push(Step::Land(writer));
                if self.left.lost > 0 {
                    steps.push(Step::Lose(writer));
                }
                if self.left.unknown > 0 {
                    steps.extend([Step::LandUnknown(writer), Step::MakeZombie(writer)]);
                }
            }
            if !node.reports.is_empty() {
                steps.push(Step::Hear(writer));
            }
            let tells =
                |(from, _)| !node.core.is_following() || !node.core.is_current() || self.truth.end() > from;
            if node.reading.is_some_and(tells) {
                steps.push(Step::Read(writer));
            }
            if self.left.accepted && node.sources.next() == Some(0) {
                steps.push(Step::Take(writer));
            }
            if self.left.crashes > 0 {
                steps.push(Step::Crash(writer));
            }
            if self.left.strong > 0 {
                steps.push(Step::Prove(writer));
            }
        }
        if self.left.follower {
            steps.push(Step::Lead);
        }
        steps.extend((0..self.zombies.len()).map(Step::LandZombie));
    }

    fn take(&mut self, step: Step) {
        let writer = match step {
            Step::Ask(client) => {
                self.submit(client, client % 2);
                client % 2
            }
            Step::Retry(client) => {
                self.left.retries -= 1;
                let other = 1 - self.asked[client][0];
                self.submit(client, other);
                other
            }
            Step::Prove(writer) => {
                self.left.strong -= 1;
                let caller = Caller::Strong(self.acknowledged);
                self.nodes[writer].core.prove(Timestamp(0), caller);
                writer
            }
            Step::Land(writer) => {
                let (ticket, record) = self.nodes[writer].sending.remove(0);
                let offset = self.land(&record);
                self.nodes[writer].reports.push((ticket, Outcome::At(offset)));
                writer
            }
            Step::Lose(writer) => {
                self.left.lost -= 1;
                self.doubt(writer);
                writer
            }
            Step::LandUnknown(writer) => {
                self.left.unknown -= 1;
                let record = self.doubt(writer);
                self.land(&record);
                writer
            }
            Step::MakeZombie(writer) => {
                self.left.unknown -= 1;
                let record = self.doubt(writer);
                self.zombies.push(record);
                writer
            }
            Step::Hear(writer) => {
                let (ticket, outcome) = self.nodes[writer].reports.remove(0);
                self.nodes[writer].core.report(ticket, outcome);
                writer
            }
            Step::Read(writer) => {
                self.read(writer);
                writer
            }
            Step::LandZombie(index) => {
                let zombie = self.zombies.remove(index);
                let void = self.truth.void;
                self.land(&zombie);
                if self.truth.void > void {
                    self.met.zombie_void = true;
                } else {
                    self.met.zombie_effective = true;
                }
                0
            }
            Step::Crash(writer) => {
                self.left.crashes -= 1;
                self.crash(writer);
                writer
            }
            Step::Take(writer) => {
                let node = &mut self.nodes[writer];
                if node.sources.take(0) {
                    node.core.submit(Self::request(0, Some(0)), Caller::Accepted);
                }
                writer
            }
            Step::Lead => {
                self.left.follower = false;
                self.met.follower_led |= self.nodes[1].core.is_following();
                self.nodes[1].leads = true;
                self.nodes[1].core.lead();
                1
            }
        };
        self.collect(writer);
    }

    fn doubt(&mut self, writer: usize) -> Arc<NewRecord> {
        let node = &mut self.nodes[writer];
        let (ticket, record) = node.sending.remove(0);
        node.reports.push((ticket, Outcome::Doubt));
        record
    }

    /// Nothing is left to happen, no writer died, and somebody waits in vain.
    fn is_stuck(&self, small: Small) -> bool {
        let mut steps = Vec::new();
        self.steps(&mut steps);
        let ended = steps.iter().all(|step| {
            matches!(
                step,
                Step::Retry(_) | Step::Prove(_) | Step::Crash(_) | Step::LandZombie(_) | Step::Lead
            )
        });
        let all_done = self.answered.iter().all(|answered| *answered)
            && small.accepted == self.truth.carried_out.is_some();
        ended && self.left.crashes == small.crashes && !all_done
    }
}

impl Hash for Moment {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for node in &self.nodes {
            node.core.hash(state);
            for (ticket, record) in &node.sending {
                (ticket, record.link).hash(state);
            }
            node.reports.hash(state);
            node.reading.hash(state);
            (node.leads, node.sources).hash(state);
        }
        for record in &self.truth.log {
            record.headers.link.one().hash(state);
        }
        // In whatever order they were made.
        let mut zombies: Vec<_> = self.zombies.iter().map(|zombie| zombie.link).collect();
        zombies.sort_unstable();
        zombies.hash(state);
        (&self.asked, &self.answered, self.acknowledged).hash(state);
        (self.left, self.met, self.violation).hash(state);
    }
}

impl PartialEq for Moment {
    /// The checker knows states by their hash alone; so do we.
    fn eq(&self, other: &Self) -> bool {
        let hash = |moment: &Self| {
            let mut hasher = DefaultHasher::new();
            moment.hash(&mut hasher);
            hasher.finish()
        };
        hash(self) == hash(other)
    }
}

impl fmt::Debug for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Moment")
            .field("records", &self.truth.log.len())
            .field("answered", &self.answered)
            .field("violation", &self.violation)
            .finish_non_exhaustive()
    }
}

impl Model for Small {
    type State = Moment;
    type Action = Step;

    fn init_states(&self) -> Vec<Moment> {
        let node = || Node {
            core: Core::new(Boards, LIMITS),
            sending: Vec::new(),
            reports: Vec::new(),
            reading: None,
            leads: true,
            sources: Sources::default(),
        };
        let mut moment = Moment {
            nodes: [node(), node()],
            truth: Truth::default(),
            zombies: Vec::new(),
            asked: vec![Vec::new(); self.commands],
            answered: vec![false; self.commands],
            acknowledged: 0,
            left: *self,
            met: Met::default(),
            violation: None,
        };
        // The log is empty: both have read it.
        for writer in 0..2 {
            moment.collect(writer);
            moment.read(writer);
            if self.follower && writer == 1 {
                moment.nodes[writer].leads = false;
                moment.nodes[writer].core.follow();
            }
            moment.collect(writer);
        }
        vec![moment]
    }

    fn actions(&self, state: &Moment, steps: &mut Vec<Step>) {
        if state.violation.is_none() {
            state.steps(steps);
        }
    }

    fn next_state(&self, last: &Moment, step: Step) -> Option<Moment> {
        let mut next = last.clone();
        let taken = bugs::with(self.bug, || catch_unwind(AssertUnwindSafe(|| next.take(step))));
        if taken.is_err() {
            next.violation = Some(Violation::Assertion);
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(RIGHT, |_, state: &Moment| state.violation.is_none()),
            Property::always(IN_VAIN, |small: &Self, state: &Moment| !state.is_stuck(*small)),
            Property::sometimes("a record is void", |_, state: &Moment| state.met.void),
            Property::sometimes(
                "a writer answers what the other one was asked",
                |_, state: &Moment| state.met.taken_over,
            ),
            Property::sometimes("a zombie lands and counts", |_, state: &Moment| {
                state.met.zombie_effective
            }),
            Property::sometimes("a zombie lands and is void", |_, state: &Moment| {
                state.met.zombie_void
            }),
            Property::sometimes("a record is appended again, the same", |_, state: &Moment| {
                state.met.appended_again
            }),
            Property::sometimes("a strong read is proven", |_, state: &Moment| state.met.proven),
            Property::sometimes("a barrier says what is carried out", |_, state: &Moment| {
                state.met.passed
            }),
            Property::sometimes("a follower is to lead", |_, state: &Moment| {
                state.met.follower_led
            }),
        ]
    }
}

/// What walking a configuration showed.
#[derive(Debug)]
pub struct Walked {
    /// Different states that were reached.
    pub states: usize,
    /// Properties that do not hold, or situations that were not met, with the way there.
    pub failures: Vec<String>,
}

/// The situations that a configuration can meet at all.
fn can_meet(small: Small, situation: &str) -> bool {
    match situation {
        "a zombie lands and counts" | "a zombie lands and is void" => small.unknown + small.crashes > 0,
        "a writer answers what the other one was asked" => small.retries > 0,
        "a record is appended again, the same" => small.unknown + small.retries > 0,
        "a strong read is proven" => small.strong > 0,
        "a barrier says what is carried out" => small.accepted,
        "a follower is to lead" => small.follower,
        _ => true,
    }
}

/// Whether a mistake shows in one of the small configurations.
pub fn shows(bug: Bug) -> bool {
    TESTED.iter().any(|small| {
        let checker = small.with(bug).checker().threads(2).spawn_bfs().join();
        checker.discovery(RIGHT).is_some() || checker.discovery(IN_VAIN).is_some()
    })
}

/// Walks every interleaving of a configuration.
pub fn walk(small: Small) -> Walked {
    let checker = small.checker().threads(2).spawn_bfs().join();
    let mut failures = Vec::new();
    for property in small.properties() {
        let found = checker.discovery(property.name);
        let holds = match property.expectation {
            Expectation::Sometimes => found.is_some() || !can_meet(small, property.name),
            Expectation::Always | Expectation::Eventually => found.is_none(),
        };
        if !holds {
            let way = found.map(|path| format!(": {:?}", path.into_actions()));
            failures.push(format!("{}{}", property.name, way.unwrap_or_default()));
        }
    }
    Walked {
        states: checker.unique_state_count(),
        failures,
    }
}
