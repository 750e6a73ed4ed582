//! The commands topic: requests that are answered at once, durably, and carried out when their turn comes.
//!
//! Around the writer's own code ([`command_service::writer::Sources`]) this does what the engine does with threads and Kafka.

use std::collections::{BTreeMap, VecDeque};

use command_service::writer::Sources;
use schemas::Timestamp;
use uuid::Uuid;

use super::{Attempt, Caller, Wire, World};
use crate::Violation;
use crate::choices::Choices;

/// Accepted commands that are read at once.
const BATCH_MAX: u32 = 8;

/// What an instance knows of accepted commands.
#[derive(Debug, Default)]
pub(super) struct Desk {
    /// Which one its writer takes next.
    pub sources: Sources,
    waiting: BTreeMap<Uuid, Waiting>,
    /// Where it was told to read from, and how far it is; none where it reads nothing.
    assigned: Option<usize>,
    position: Option<usize>,
    /// Whether it is to be told anew.
    pub changed: bool,
    /// What was read, and not taken yet.
    read: VecDeque<Vec<usize>>,
}

/// A command that is in the topic, or on its way there.
#[derive(Debug)]
struct Waiting {
    fingerprint: [u8; 16],
    is_there: bool,
    /// Clients that wait until it is, and which of their attempts.
    replies: Vec<(usize, usize)>,
}

impl Desk {
    /// Tells the reader where to read from now on.
    fn assign(&mut self) {
        if !std::mem::take(&mut self.changed) {
            return;
        }
        let next = self.sources.next().and_then(|next| usize::try_from(next).ok());
        if next != self.assigned {
            self.assigned = next;
            self.position = next;
        }
    }

    fn read_again(&mut self, offset: usize) {
        if self.sources.again(i64::try_from(offset).unwrap_or(i64::MAX)) {
            self.assigned = None;
            self.changed = true;
        }
    }

    /// A command has its answer, whoever asked for it.
    fn settled(&mut self, id: Uuid) {
        if self
            .waiting
            .get(&id)
            .is_some_and(|waiting| waiting.replies.is_empty())
        {
            self.waiting.remove(&id);
        }
    }

    /// Somebody else sees to the partition from now on.
    pub fn give_up(&mut self) {
        self.sources.end();
        self.changed = true;
        self.waiting.retain(|_, waiting| !waiting.replies.is_empty());
    }
}

impl World {
    /// A client asks without waiting for more than that its command is durable; later, for the outcome.
    pub(super) fn ask_later(&mut self, writer: usize, client: usize) -> Result<(), Violation> {
        if self.clients[client].accepted {
            return self.look(writer, client);
        }
        let attempt = self.attempt(client);
        let request = self.request_of(writer, client, None);
        let node = &mut self.nodes[writer];
        if !node.core.is_current() {
            self.turned_away(writer, Caller::Client(client, attempt));
            return Ok(());
        }
        if node.core.knows(&request) {
            self.say(|| format!("client {client} asks writer {writer}, which knows its command"));
            self.nodes[writer]
                .core
                .submit(request, Caller::Client(client, attempt));
            return self.collect(writer);
        }
        self.say(|| format!("client {client} asks writer {writer} to accept its command"));
        let waiting = &mut self.nodes[writer].desk.waiting;
        match waiting.get_mut(&request.id) {
            Some(waiting) if waiting.fingerprint != request.fingerprint => {
                self.turned_away(writer, Caller::Client(client, attempt));
            }
            Some(waiting) if waiting.is_there => self.clients[client].accepted = true,
            Some(waiting) => waiting.replies.push((client, attempt)),
            None => {
                waiting.insert(
                    request.id,
                    Waiting {
                        fingerprint: request.fingerprint,
                        is_there: false,
                        replies: vec![(client, attempt)],
                    },
                );
                self.nodes[writer].wire.push_back(Wire::Keep { client });
            }
        }
        Ok(())
    }

    /// Whether a request must not be decided yet, as another one under its key is accepted.
    pub(super) fn waits_for_another(&mut self, writer: usize, client: usize) -> bool {
        let request = self.request_of(writer, client, None);
        let node = &mut self.nodes[writer];
        !node.core.knows(&request)
            && node
                .desk
                .waiting
                .get(&request.id)
                .is_some_and(|waiting| waiting.fingerprint != request.fingerprint)
    }

    /// A client looks at the outcome of its accepted command.
    fn look(&mut self, writer: usize, client: usize) -> Result<(), Violation> {
        let id = self.clients[client].id;
        let Some(kept) = self.nodes[writer].core.kept(id) else {
            return Ok(());
        };
        self.say(|| format!("client {client} finds at writer {writer}: {:?}", kept.answer));
        self.clients[client].done = true;
        self.seen.looked += 1;
        // Where its key was used twice, the outcome is that of the other request.
        self.judge(id, kept.fingerprint, &kept)?;
        self.acknowledged = self.acknowledged.max(kept.next_offset);
        Ok(())
    }

    /// A command is to be appended to the topic.
    pub(super) fn keep(&mut self, number: usize, client: usize, choices: &mut Choices) {
        let fate = if self.faults { choices.below(12) } else { 0 };
        let is_told = match fate {
            // Lost.
            9 => false,
            // May land later.
            10 => {
                self.late.push(client);
                false
            }
            // Landed, but nobody knows.
            11 => {
                self.accept(client);
                false
            }
            _ => {
                self.accept(client);
                true
            }
        };
        let id = self.clients[client].id;
        let Some(waiting) = self.nodes[number].desk.waiting.get_mut(&id) else {
            return;
        };
        waiting.is_there |= is_told;
        let replies = std::mem::take(&mut waiting.replies);
        if waiting.is_there {
            for (client, _) in replies {
                self.clients[client].accepted = true;
            }
        } else {
            // Whoever waited for it does not know, and asks again.
            self.nodes[number].desk.waiting.remove(&id);
        }
    }

    fn accept(&mut self, client: usize) {
        let offset = self.topic.len();
        self.topic.push(Some(client));
        self.seen.accepted += 1;
        self.say(|| format!("the command of client {client} is accepted at {offset}"));
    }

    /// Something lands in the topic on which nobody counts: a command late, or what cannot be read.
    pub(super) fn land_late(&mut self, choices: &mut Choices) {
        if !self.late.is_empty() {
            let index = choices.index(self.late.len());
            let client = self.late.swap_remove(index);
            self.accept(client);
        } else if choices.one_in(6) {
            self.topic.push(None);
            self.seen.unreadable += 1;
        }
    }

    /// Reads the topic, or takes what was read from it.
    pub(super) fn read_topic(&mut self, number: usize, choices: &mut Choices) -> Result<(), Violation> {
        let end = self.topic.len();
        let desk = &mut self.nodes[number].desk;
        let fetches = desk.read.is_empty() || choices.one_in(4);
        if fetches {
            if let Some(position) = desk.position.filter(|position| *position < end) {
                let length = (BATCH_MAX - choices.below(BATCH_MAX)) as usize;
                let batch: Vec<usize> = (position..end).take(length).collect();
                desk.position = Some(position + batch.len());
                desk.read.push_back(batch);
            }
            return Ok(());
        }
        for offset in desk.read.pop_front().unwrap_or_default() {
            self.take_accepted(number, offset)?;
        }
        Ok(())
    }

    fn take_accepted(&mut self, number: usize, offset: usize) -> Result<(), Violation> {
        let desk = &mut self.nodes[number].desk;
        if !desk.sources.take(i64::try_from(offset).unwrap_or(i64::MAX)) {
            return Ok(());
        }
        let Some(client) = self.topic[offset] else {
            self.nodes[number].wire.push_back(Wire::Bury { offset });
            return Ok(());
        };
        let request = self.request_of(number, client, Some(offset));
        self.say(|| format!("writer {number} takes the accepted command {offset} of client {client}"));
        let node = &mut self.nodes[number];
        let waiting = node.desk.waiting.entry(request.id).or_insert_with(|| Waiting {
            fingerprint: request.fingerprint,
            is_there: true,
            replies: Vec::new(),
        });
        waiting.is_there = true;
        node.core.submit(request, Caller::Accepted(offset));
        self.collect(number)
    }

    /// What cannot be read goes to the dead letters; the topic is done with it once it is there.
    pub(super) fn bury(&mut self, number: usize, offset: usize, choices: &mut Choices) {
        if self.faults && choices.one_in(6) {
            self.nodes[number].desk.read_again(offset);
        } else {
            self.pass(number, offset);
        }
    }

    /// An accepted command is done with. Its own record says so; where it left none, a barrier has to.
    fn pass(&mut self, number: usize, offset: usize) {
        let at = Timestamp(self.clock(number));
        let source = u64::try_from(offset).unwrap_or(u64::MAX);
        let core = &mut self.nodes[number].core;
        if core.fold().carried_out() < Some(source) {
            core.pass(source, at);
        }
    }

    /// An accepted command has its answer, or is known to be another request's.
    pub(super) fn accepted_ends(&mut self, number: usize, offset: usize) {
        if let Some(client) = self.topic[offset] {
            let id = self.clients[client].id;
            self.nodes[number].desk.settled(id);
        }
        self.seen.carried_out += 1;
        self.pass(number, offset);
    }

    /// An accepted command was turned away.
    pub(super) fn accepted_again(&mut self, number: usize, offset: usize) {
        self.say(|| format!("writer {number} turns the accepted command {offset} away"));
        self.seen.taken_again += 1;
        self.nodes[number].desk.read_again(offset);
    }

    /// Finds out where a writer is to read the topic from, once it may decide what lies there.
    pub(super) fn begin_sources(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        if node.leads && node.desk.sources.next().is_none() && node.core.is_writing() {
            node.desk.sources.begin(node.core.fold().carried_out());
            node.desk.assigned = None;
            node.desk.changed = true;
        }
    }

    pub(super) fn assign(&mut self, number: usize) {
        self.nodes[number].desk.assign();
    }

    /// What a record that counts says of the topic is so: every command up to there has its answer.
    pub(super) fn judge_sources(&self, before: Option<u64>) -> Result<(), Violation> {
        if self.truth.carried_out == before {
            return Ok(());
        }
        let index = |source: Option<u64>| {
            source.map_or(0, |source| {
                usize::try_from(source).unwrap_or(usize::MAX).saturating_add(1)
            })
        };
        let done = self.topic.get(index(before)..index(self.truth.carried_out));
        let is_done = |client: &Option<usize>| {
            client.is_none_or(|client| self.truth.answered.contains_key(&self.clients[client].id))
        };
        if done.is_some_and(|done| done.iter().all(is_done)) {
            Ok(())
        } else {
            Err(Violation::LeftOut)
        }
    }

    /// Whether nothing is left to carry out.
    pub(super) fn is_carried_out(&self) -> bool {
        let last = self.topic.len().checked_sub(1);
        self.truth.carried_out == last.and_then(|last| u64::try_from(last).ok())
    }

    /// What was accepted and never asked for directly is carried out in the order of the topic, on each board.
    pub(super) fn judge_order(&self) -> Result<(), Violation> {
        let mut last = BTreeMap::new();
        let mut met = std::collections::BTreeSet::new();
        for client in self.topic.iter().flatten() {
            let id = self.clients[*client].id;
            let mut same = self.clients.iter().filter(|client| client.id == id);
            if !met.insert(id) || same.any(|client| client.asks_directly) {
                continue;
            }
            let Some(answered) = self.truth.answered.get(&id) else {
                return Err(Violation::LeftOut);
            };
            let before = last.insert(self.clients[*client].command.board, answered.offset);
            if before > Some(answered.offset) {
                return Err(Violation::OutOfTurn);
            }
        }
        Ok(())
    }

    /// Which of its attempts a client makes now.
    pub(super) fn attempt(&mut self, client: usize) -> usize {
        let attempts = &mut self.clients[client].attempts;
        attempts.push(Attempt::Open);
        attempts.len() - 1
    }
}
