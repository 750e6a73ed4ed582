//! Writers, a log, clients, and everything that can go wrong between them.

mod agree;
mod keep;
mod seen;
mod steps;
mod topic;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use command_service::writer::{Core, Expected, Fold, Kept, Limits, Output, Request, Upto};
use eventlog::{Checkpoint, NewRecord, Outcome};
use schemas::Timestamp;
use uuid::Uuid;

use crate::Violation;
use crate::board::{Boards, CLOCK, Command, Kind, Wish};
use crate::choices::Choices;
use crate::truth::Truth;
use keep::Keep;
pub use seen::Seen;
use steps::{Half, Manager};
use topic::Desk;

/// Small bounds, so that they are met.
const LIMITS: Limits = Limits {
    in_flight_max: 4,
    waiting_max: 4,
    doubt_after_ms: 60,
    barrier_every_ms: 5,
    told_at_once: 1,
};

/// Milliseconds of one unit of the domain's time: coarse, so that different commands make equal values.
const UNIT_MS: u64 = 30;

/// How often a writer that leads and has nothing to do looks at the log, in milliseconds.
const LOOK_MS: u64 = 150;

/// Who waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Caller {
    /// A client, by its number, and which of its attempts.
    Client(usize, usize),
    /// A strong read, by its number.
    Strong(usize),
    /// Nobody any more: the command was accepted, at that offset of the topic.
    Accepted(usize),
    /// The process manager, for half of a step.
    Step(Uuid, Half),
}

/// How a client asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// It waits for the answer.
    Directly,
    /// It waits until the command is accepted, and looks for the outcome later.
    Later,
    /// Now so and now so.
    Both,
}

/// What is under way between a writer and the log.
#[derive(Debug)]
enum Wire {
    Append {
        ticket: usize,
        record: Arc<NewRecord>,
    },
    Report {
        ticket: usize,
        outcome: Outcome,
    },
    Read {
        generation: u64,
        from: i64,
        upto: Upto,
    },
    /// A client's command is to be appended to the commands topic.
    Keep {
        client: usize,
    },
    /// An entry of it that cannot be read is to be put aside.
    Bury {
        offset: usize,
    },
}

struct Node {
    core: Core<Boards, Caller>,
    generation: u64,
    wire: VecDeque<Wire>,
    /// What it would start from, where it has no snapshots.
    saved: Option<Fold<Boards>>,
    /// Its snapshots: every other writer has them, and as little in memory as can be.
    keep: Option<Keep>,
    /// How far its clock is off, in units.
    skew: i64,
    /// Whether it sees to the accepted commands and to what the boards ask for; it answers clients in any case.
    leads: bool,
    desk: Desk,
    manager: Manager,
    /// When it last looked whether somebody else wrote, having nothing to do.
    looked_ms: u64,
}

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attempt {
    /// Nobody knows.
    Open,
    /// Told that nothing was done.
    NotTaken,
}

#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a thing that happened to it or not"
)]
struct Client {
    id: Uuid,
    fingerprint: [u8; 16],
    command: Command,
    way: Way,
    attempts: Vec<Attempt>,
    /// Whether any of them was to be decided at once.
    asks_directly: bool,
    /// Told that its command is durable.
    accepted: bool,
    /// Answered, or told that its key was used with another request.
    done: bool,
    /// It was told each time that nothing was done, and went away.
    gone: bool,
}

struct Strong {
    /// What was acknowledged before it began lies below this offset.
    from: i64,
    proven: bool,
}

/// A request on its way to a writer.
struct Mail {
    writer: usize,
    client: usize,
}

/// The whole of it.
pub struct World {
    truth: Truth,
    nodes: Vec<Node>,
    clients: Vec<Client>,
    commands: BTreeMap<Uuid, Command>,
    strong: Vec<Strong>,
    mail: Vec<Mail>,
    /// Records of which nobody knows, and which may land any time.
    zombies: Vec<Arc<NewRecord>>,
    /// Accepted commands, by their clients; none for what cannot be read.
    topic: Vec<Option<usize>>,
    /// Commands that may land there any time.
    late: Vec<usize>,
    /// What is acknowledged lies below this offset.
    acknowledged: i64,
    now_ms: u64,
    faults: bool,
    /// What happened, how often.
    pub seen: Seen,
    /// What happened, line by line, where somebody asked for it.
    pub trace: Option<Vec<String>>,
}

impl World {
    /// Two to four writers, and clients that want something of two boards.
    pub fn new(choices: &mut Choices, traced: bool) -> Self {
        let mut world = Self {
            truth: Truth::default(),
            nodes: Vec::new(),
            clients: Vec::new(),
            commands: BTreeMap::new(),
            strong: Vec::new(),
            mail: Vec::new(),
            zombies: Vec::new(),
            topic: Vec::new(),
            late: Vec::new(),
            acknowledged: 0,
            now_ms: 0,
            faults: true,
            seen: Seen::default(),
            trace: traced.then(Vec::new),
        };
        for number in 0..2 + choices.below(3) {
            world.nodes.push(Node {
                core: Core::new(Boards, LIMITS),
                generation: 0,
                wire: VecDeque::new(),
                saved: None,
                keep: (number % 2 == 1).then(Keep::default),
                skew: i64::from(choices.below(5)) - 2,
                leads: !choices.one_in(3),
                desk: Desk::default(),
                manager: Manager::default(),
                looked_ms: 0,
            });
        }
        let mut posts: Vec<Uuid> = Vec::new();
        for number in 0..3 + choices.below(14) {
            let id = Uuid::from_u64_pair(1, u64::from(number) + 1);
            let wish = match choices.below(10) {
                4 | 5 if !posts.is_empty() => Wish::Reply(posts[choices.index(posts.len())]),
                6..=8 => Wish::Pay,
                9 => Wish::Expire,
                _ => Wish::Post,
            };
            if wish == Wish::Post {
                posts.push(id);
            }
            let board = u8::try_from(choices.below(2)).unwrap_or(0);
            let command = Command { board, wish };
            world.commands.insert(id, command);
            // Some keys are used for two requests.
            for fingerprint in 0..=u8::from(choices.one_in(6)) {
                world.clients.push(Client {
                    id,
                    fingerprint: [fingerprint; 16],
                    command,
                    way: match choices.below(8) {
                        5 | 6 => Way::Later,
                        7 => Way::Both,
                        _ => Way::Directly,
                    },
                    attempts: Vec::new(),
                    asks_directly: false,
                    accepted: false,
                    done: false,
                    gone: false,
                });
            }
        }
        for node in 0..world.nodes.len() {
            // A writer that has just begun answers nobody.
            let _ = world.collect(node);
        }
        world
    }

    fn say(&mut self, line: impl FnOnce() -> String) {
        let now_ms = self.now_ms;
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{now_ms:>5} ms  {}", line()));
        }
    }

    /// One thing happens.
    pub fn step(&mut self, choices: &mut Choices) -> Result<(), Violation> {
        match choices.below(24) {
            0..=9 => {
                let node = choices.index(self.nodes.len());
                self.work(node, choices)
            }
            10..=12 => self.ask(choices),
            13 => self.ask_strong(choices),
            14 => self.deliver(choices),
            15 => self.land_zombie(choices),
            16 | 17 => {
                let passed = 1 + u64::from(choices.below(30));
                self.tick(passed)
            }
            18 => {
                let node = choices.index(self.nodes.len());
                self.save(node);
                Ok(())
            }
            19 | 20 => {
                let node = choices.index(self.nodes.len());
                self.read_topic(node, choices)
            }
            21 => {
                self.land_late(choices);
                Ok(())
            }
            22 => {
                let node = choices.index(self.nodes.len());
                self.submit_steps(node)
            }
            _ if choices.one_in(4) => self.crash(choices),
            _ if choices.one_in(4) => {
                let node = choices.index(self.nodes.len());
                self.break_down(node);
                Ok(())
            }
            _ if choices.one_in(3) => self.change_role(choices),
            _ => Ok(()),
        }
    }

    /// The faults are over: everybody who has no answer asks until there is one.
    pub fn heal(&mut self) -> Result<(), Violation> {
        self.faults = false;
        let mut none = Choices::of_tape(Vec::new());
        self.lead(0)?;
        for round in 0..1_200_usize {
            let open: Vec<usize> = (0..self.clients.len())
                .filter(|client| !self.clients[*client].done && !self.clients[*client].gone)
                .collect();
            let is_over = open.is_empty() && self.strong.iter().all(|strong| strong.proven);
            if is_over && self.is_carried_out() && self.is_at_rest() {
                return self.agree();
            }
            // There may be two for a while, but not for ever.
            if round == 400 {
                for other in 1..self.nodes.len() {
                    self.stand_by(other)?;
                }
            }
            // In the beginning they ask anybody, later the same one.
            if round % 8 == 0 {
                for client in open {
                    let writer = if round < 400 {
                        (round / 8 + client) % self.nodes.len()
                    } else {
                        0
                    };
                    self.request(writer, client, &mut none)?;
                }
                self.retry_strong()?;
            }
            for node in 0..self.nodes.len() {
                for _ in 0..4 {
                    self.work(node, &mut none)?;
                }
                self.read_topic(node, &mut none)?;
                self.submit_steps(node)?;
            }
            self.tick(10)?;
        }
        let all_done = self.clients.iter().all(|client| client.done || client.gone);
        Err(match all_done {
            true if self.is_at_rest() => Violation::LeftOut,
            true => Violation::Outstanding,
            false => Violation::NoAnswer,
        })
    }

    /// A strong read that died with its writer is begun again.
    fn retry_strong(&mut self) -> Result<(), Violation> {
        for number in 0..self.strong.len() {
            if !self.strong[number].proven {
                let at = self.clock(0);
                self.nodes[0].core.prove(Timestamp(at), Caller::Strong(number));
            }
        }
        self.collect(0)
    }

    fn clock(&self, node: usize) -> i64 {
        i64::try_from(self.now_ms / UNIT_MS).unwrap_or(i64::MAX) + self.nodes[node].skew
    }

    fn ask(&mut self, choices: &mut Choices) -> Result<(), Violation> {
        let client = choices.index(self.clients.len());
        if self.clients[client].gone {
            return Ok(());
        }
        let writer = choices.index(self.nodes.len());
        match choices.below(13) {
            // A rush: the same two writers are asked for the same things at the same time.
            10..=12 => {
                let other = choices.index(self.nodes.len());
                for _ in 0..3 {
                    let client = choices.index(self.clients.len());
                    for writer in [writer, other] {
                        if !self.clients[client].gone {
                            self.request(writer, client, choices)?;
                        }
                    }
                }
                Ok(())
            }
            // Lost.
            7 => Ok(()),
            // Late.
            8 => {
                self.mail.push(Mail { writer, client });
                Ok(())
            }
            // Doubled.
            9 => {
                self.mail.push(Mail { writer, client });
                let other = choices.index(self.nodes.len());
                self.request(other, client, choices)
            }
            _ => self.request(writer, client, choices),
        }
    }

    fn deliver(&mut self, choices: &mut Choices) -> Result<(), Violation> {
        if self.mail.is_empty() {
            return Ok(());
        }
        let index = choices.index(self.mail.len());
        let Mail { writer, client } = self.mail.swap_remove(index);
        if self.clients[client].gone {
            return Ok(());
        }
        self.request(writer, client, choices)
    }

    fn request(&mut self, writer: usize, client: usize, choices: &mut Choices) -> Result<(), Violation> {
        let later = match self.clients[client].way {
            Way::Directly => false,
            Way::Later => true,
            Way::Both => choices.one_in(2),
        };
        if later {
            self.ask_later(writer, client)
        } else {
            self.submit(writer, client)
        }
    }

    /// A client's command as a writer takes it in, with its offset in the commands topic where it came from there.
    fn request_of(&self, writer: usize, client: usize, source: Option<usize>) -> Request<Command> {
        let asking = &self.clients[client];
        Request {
            id: asking.id,
            fingerprint: asking.fingerprint,
            at: Timestamp(self.clock(writer)),
            expected: Expected::Any,
            causes: [].into(),
            traceparent: None,
            source: source.and_then(|source| u64::try_from(source).ok()),
            command: asking.command,
        }
    }

    fn submit(&mut self, writer: usize, client: usize) -> Result<(), Violation> {
        self.clients[client].asks_directly = true;
        let caller = Caller::Client(client, self.attempt(client));
        let request = self.request_of(writer, client, None);
        let command = request.command;
        self.say(|| format!("client {client} asks writer {writer} for {command:?}"));
        if self.waits_for_another(writer, client) {
            self.turned_away(writer, caller);
            return Ok(());
        }
        self.nodes[writer].core.submit(request, caller);
        self.collect(writer)
    }

    fn ask_strong(&mut self, choices: &mut Choices) -> Result<(), Violation> {
        let writer = choices.index(self.nodes.len());
        let number = self.strong.len();
        self.strong.push(Strong {
            from: self.acknowledged,
            proven: false,
        });
        let from = self.acknowledged;
        self.say(|| {
            format!("strong read {number} at writer {writer}: offsets below {from} are acknowledged")
        });
        let at = self.clock(writer);
        self.nodes[writer]
            .core
            .prove(Timestamp(at), Caller::Strong(number));
        self.collect(writer)
    }

    fn tick(&mut self, passed_ms: u64) -> Result<(), Violation> {
        self.now_ms += passed_ms;
        for node in 0..self.nodes.len() {
            self.nodes[node].core.tick(self.now_ms);
            self.collect(node)?;
            let Node {
                core,
                leads,
                looked_ms,
                ..
            } = &mut self.nodes[node];
            if !*leads {
                core.follow();
            } else if self.now_ms >= *looked_ms + LOOK_MS {
                *looked_ms = self.now_ms;
                core.look();
            }
            self.collect(node)?;
            self.close_due(node);
            self.assign(node);
        }
        Ok(())
    }

    /// A writer without anything to do follows the others from now on, or a follower takes over.
    fn change_role(&mut self, choices: &mut Choices) -> Result<(), Violation> {
        let number = choices.index(self.nodes.len());
        if choices.one_in(3) {
            self.lead(number)
        } else {
            self.stand_by(number)
        }
    }

    fn lead(&mut self, number: usize) -> Result<(), Violation> {
        self.say(|| format!("writer {number} is to lead"));
        self.nodes[number].leads = true;
        self.nodes[number].core.lead();
        self.collect(number)
    }

    fn stand_by(&mut self, number: usize) -> Result<(), Violation> {
        let node = &mut self.nodes[number];
        node.leads = false;
        node.manager = Manager::default();
        node.desk.give_up();
        let follows = node.core.follow();
        self.seen.followed += u64::from(follows);
        self.say(|| format!("writer {number} is to stand by, and follows at once: {follows}"));
        self.collect(number)
    }

    fn save(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        match &mut node.keep {
            Some(keep) => keep.step(&mut node.core),
            None => node.saved = Some(node.core.fold().clone()),
        }
        self.say(|| format!("writer {number} saves a checkpoint"));
    }

    /// A snapshot cannot be stored, or not be read any more.
    fn break_down(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        let Some(keep) = &mut node.keep else { return };
        keep.fail(&mut node.core);
        keep.break_down();
        self.say(|| format!("writer {number} cannot read its snapshot any more"));
    }

    /// A writer dies: what was under way may land later or never. It starts again from its checkpoint, or from nothing.
    fn crash(&mut self, choices: &mut Choices) -> Result<(), Violation> {
        let number = choices.index(self.nodes.len());
        let wire = std::mem::take(&mut self.nodes[number].wire);
        for wire in wire {
            match wire {
                Wire::Append { record, .. } => self.zombies.push(record),
                Wire::Keep { client } => self.late.push(client),
                Wire::Report { .. } | Wire::Read { .. } | Wire::Bury { .. } => {}
            }
        }
        let keeps = !choices.one_in(3);
        let node = &mut self.nodes[number];
        if let Some(keep) = &mut node.keep {
            keep.die();
            keep.repair();
        }
        if !keeps {
            node.saved = None;
            node.keep.iter_mut().for_each(Keep::wipe);
        }
        // Before a checkpoint is used, its last record is looked up in the log.
        let log = &self.truth.log;
        let is_there = |checkpoint: Checkpoint| {
            let found = usize::try_from(checkpoint.last_offset)
                .ok()
                .and_then(|offset| log.get(offset));
            checkpoint.confirmed_by(found)
        };
        let resumed = match &node.keep {
            Some(keep) => Some(keep.restored())
                .filter(|restored| is_there(restored.checkpoint))
                .map(|restored| Core::restore(Boards, LIMITS, restored)),
            None => node
                .saved
                .clone()
                .map(Fold::as_saved)
                .filter(|fold| is_there(fold.checkpoint()))
                .map(|fold| Core::resume(Boards, LIMITS, fold)),
        };
        self.seen.crashes += 1;
        self.seen.resumed += u64::from(resumed.is_some());
        let from = resumed.as_ref().map(|core| core.fold().next_offset());
        node.core = resumed.unwrap_or_else(|| Core::new(Boards, LIMITS));
        node.desk = Desk::default();
        node.manager = Manager::default();
        node.core.tick(self.now_ms);
        node.skew = i64::from(choices.below(5)) - 2;
        self.say(|| format!("writer {number} dies and starts from {from:?}"));
        self.collect(number)
    }

    fn land(&mut self, record: &NewRecord) -> Result<i64, Violation> {
        let (void, carried_out) = (self.truth.void, self.truth.carried_out);
        let offset = self.truth.land(record, &self.commands);
        self.seen.records += 1;
        let is_void = self.truth.void > void;
        self.seen.void += u64::from(is_void);
        let command = Uuid::from_slice(&record.command[..16]).map_or(0, |id| id.as_u64_pair().1);
        let at = self.truth.end() - 1;
        self.say(|| {
            let kind = if is_void { "void" } else { "effective" };
            format!("the record of command {command} lands at {at}: {kind}")
        });
        self.judge_sources(carried_out)?;
        offset
    }

    fn land_zombie(&mut self, choices: &mut Choices) -> Result<(), Violation> {
        if self.zombies.is_empty() {
            return Ok(());
        }
        let index = choices.index(self.zombies.len());
        let zombie = self.zombies.swap_remove(index);
        let void = self.seen.void;
        self.say(|| "a zombie".to_owned());
        self.land(&zombie)?;
        if self.seen.void > void {
            self.seen.zombies_void += 1;
        } else {
            self.seen.zombies_effective += 1;
        }
        Ok(())
    }

    /// The next thing between a writer and the log.
    fn work(&mut self, number: usize, choices: &mut Choices) -> Result<(), Violation> {
        let Some(wire) = self.nodes[number].wire.pop_front() else {
            return Ok(());
        };
        CLOCK.set(self.clock(number));
        match wire {
            Wire::Append { ticket, record } => self.append(number, ticket, record, choices)?,
            Wire::Report { ticket, outcome } => {
                self.say(|| format!("writer {number} hears of its record {ticket}: {outcome:?}"));
                self.nodes[number].core.report(ticket, outcome);
            }
            Wire::Read {
                generation,
                from,
                upto,
            } => self.read(number, generation, from, upto, choices),
            Wire::Keep { client } => self.keep(number, client, choices),
            Wire::Bury { offset } => self.bury(number, offset, choices),
        }
        self.collect(number)
    }

    fn append(
        &mut self,
        number: usize,
        ticket: usize,
        record: Arc<NewRecord>,
        choices: &mut Choices,
    ) -> Result<(), Violation> {
        let fate = if self.faults { choices.below(24) } else { 0 };
        let outcome = match fate {
            // Dropped from the local queue, while later ones arrive.
            19 => Some(Outcome::Doubt),
            // Dropped, and nobody says so.
            20 => None,
            // May land later.
            21 => {
                self.zombies.push(record);
                Some(Outcome::Doubt)
            }
            // Landed, but nobody says where.
            22 => {
                self.land(&record)?;
                Some(Outcome::Doubt)
            }
            // Landed, and its report is lost.
            23 => {
                self.land(&record)?;
                None
            }
            _ => Some(Outcome::At(self.land(&record)?)),
        };
        let Some(outcome) = outcome else { return Ok(()) };
        let length = self.nodes[number].wire.len();
        let late = if self.faults && choices.one_in(4) {
            choices.index(length + 1)
        } else {
            length
        };
        self.nodes[number]
            .wire
            .insert(late, Wire::Report { ticket, outcome });
        if self.faults && choices.one_in(8) {
            self.nodes[number]
                .wire
                .push_back(Wire::Report { ticket, outcome });
        }
        Ok(())
    }

    fn read(&mut self, number: usize, generation: u64, from: i64, upto: Upto, choices: &mut Choices) {
        if generation != self.nodes[number].generation {
            return;
        }
        let end = match upto {
            Upto::Offset(offset) => offset + 1,
            // A deposed broker says where the log ended once.
            Upto::End if self.faults && choices.one_in(6) => {
                i64::from(choices.below(u32::try_from(self.truth.end() + 1).unwrap_or(u32::MAX)))
            }
            Upto::End | Upto::Ever => self.truth.end(),
        };
        if self.faults || end != from {
            self.say(|| format!("writer {number} reads from {from} to {end}"));
        }
        let node = &mut self.nodes[number];
        let core = &mut node.core;
        if end < from {
            return core.truncated();
        }
        let range = usize::try_from(from).unwrap_or(0)..usize::try_from(end).unwrap_or(0);
        for record in &self.truth.log[range] {
            core.record(record);
        }
        if !matches!(upto, Upto::Offset(_)) {
            core.reached_end();
        }
        if core.is_following() {
            let from = core.fold().next_offset();
            node.wire.push_back(Wire::Read {
                generation,
                from,
                upto,
            });
        }
    }

    /// Takes what a writer wants done, and judges what it says.
    fn collect(&mut self, number: usize) -> Result<(), Violation> {
        CLOCK.set(self.clock(number));
        let mut proven_upto = 0;
        let mut lost = false;
        while let Some(output) = self.nodes[number].core.next_output() {
            let node = &mut self.nodes[number];
            match output {
                Output::Append { ticket, record } => node.wire.push_back(Wire::Append { ticket, record }),
                Output::Read { from, upto } => {
                    node.generation += 1;
                    let generation = node.generation;
                    node.wire.push_back(Wire::Read {
                        generation,
                        from,
                        upto,
                    });
                }
                Output::Answer {
                    caller,
                    kept,
                    replayed,
                } => self.answered(number, caller, &kept, replayed)?,
                Output::Mismatch { caller } => self.mismatched(number, caller)?,
                Output::Unavailable { caller } => self.turned_away(number, caller),
                Output::Proven { caller, next_offset } => {
                    let Caller::Strong(read) = caller else { continue };
                    self.say(|| {
                        format!("writer {number} proves offsets below {next_offset} to strong read {read}")
                    });
                    self.strong[read].proven = true;
                    self.seen.proven += 1;
                    proven_upto = proven_upto.max(next_offset);
                    if next_offset < self.strong[read].from {
                        return Err(Violation::StaleRead);
                    }
                }
                Output::StateLost { .. } => {
                    if let Some(keep) = &node.keep {
                        keep.repair();
                    }
                    self.seen.lost += 1;
                    lost = true;
                    self.say(|| format!("writer {number} reads the log from its beginning"));
                }
                Output::Stopped { .. } => return Err(Violation::FoldFailed),
                Output::Changed { key, .. } => self.changed(number, key),
                Output::Void { .. } | Output::Unsettled { .. } => {}
            }
        }
        let core = &mut self.nodes[number].core;
        // What was proven is folded, unless the state was lost right afterwards; it is proven all the same.
        if core.fold().next_offset() < proven_upto && !lost {
            return Err(Violation::StaleRead);
        }
        core.evict(0, 0);
        self.begin_sources(number);
        Ok(())
    }

    /// Whether an answer is that of the command's effective record.
    fn judge(&self, id: Uuid, fingerprint: [u8; 16], kept: &Kept<(Kind, u64)>) -> Result<(), Violation> {
        let found = self.truth.answered.get(&id);
        if found.is_some_and(|found| {
            found.answer == kept.answer
                && found.fingerprint == fingerprint
                && found.offset + 1 == kept.next_offset
        }) {
            Ok(())
        } else {
            Err(Violation::WrongAnswer)
        }
    }

    fn answered(
        &mut self,
        number: usize,
        caller: Caller,
        kept: &Kept<(Kind, u64)>,
        replayed: bool,
    ) -> Result<(), Violation> {
        match caller {
            Caller::Client(client, _) => {
                self.say(|| format!("writer {number} answers client {client}: {:?}", kept.answer));
                let asking = &mut self.clients[client];
                asking.done = true;
                let (id, fingerprint) = (asking.id, asking.fingerprint);
                self.judge(id, fingerprint, kept)?;
                self.seen.answers += 1;
                self.acknowledged = self.acknowledged.max(kept.next_offset);
            }
            Caller::Accepted(offset) => {
                self.say(|| format!("writer {number} has carried out {offset}: {:?}", kept.answer));
                if let Some(client) = self.topic[offset] {
                    let asking = &self.clients[client];
                    self.judge(asking.id, asking.fingerprint, kept)?;
                }
                self.accepted_ends(number, offset);
            }
            Caller::Step(id, half) => {
                if let Some(command) = self.step_command(number, id, half) {
                    self.judge(command, kept.fingerprint, kept)?;
                }
                self.step_answered(number, id, half, kept.answer.0, replayed);
            }
            Caller::Strong(_) => {}
        }
        Ok(())
    }

    /// Somebody is told that the key belongs to another request.
    fn mismatched(&mut self, number: usize, caller: Caller) -> Result<(), Violation> {
        let client = match caller {
            Caller::Client(client, _) => {
                self.clients[client].done = true;
                self.seen.mismatches += 1;
                client
            }
            Caller::Accepted(offset) => {
                self.accepted_ends(number, offset);
                let Some(client) = self.topic[offset] else {
                    return Err(Violation::WrongAnswer);
                };
                client
            }
            // A step is the same whoever asks for it.
            Caller::Step(..) => return Err(Violation::WrongAnswer),
            Caller::Strong(_) => return Ok(()),
        };
        self.say(|| format!("writer {number} tells client {client} that its key was used"));
        let asking = &self.clients[client];
        let found = self.truth.answered.get(&asking.id);
        if found.is_none_or(|found| found.fingerprint == asking.fingerprint) {
            return Err(Violation::WrongAnswer);
        }
        Ok(())
    }

    fn turned_away(&mut self, number: usize, caller: Caller) {
        let (client, attempt) = match caller {
            Caller::Client(client, attempt) => (client, attempt),
            Caller::Accepted(offset) => return self.accepted_again(number, offset),
            Caller::Step(id, half) => return self.nodes[number].manager.stall(id, half),
            Caller::Strong(_) => return,
        };
        self.say(|| format!("writer {number} tells client {client} that nothing was done"));
        self.seen.turned_away += 1;
        let asking = &mut self.clients[client];
        asking.attempts[attempt] = Attempt::NotTaken;
        // Some go away, if they are sure.
        let sure = asking
            .attempts
            .iter()
            .all(|attempt| *attempt == Attempt::NotTaken);
        asking.gone |= sure && client % 2 == 0 && !asking.done;
    }
}
