//! Accepted commands: kept durably in the commands topic, taken from there in their order, and carried out.

use std::sync::atomic::Ordering;

use domain::Command;
use eventlog::{Outcome, PlainNew, PlainRecord, PlainTopic, Topic, TopicPartition};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::{TICKET_BITS, Writers};
use crate::engine::accepted::{self, Other};
use crate::engine::caller::Caller;
use crate::engine::messages::{Decision, NotAnswered};
use crate::engine::slot::Slot;
use crate::engine::slots::slot_of;
use crate::metrics;
use crate::writer::Request;

impl Writers {
    /// Keeps a command durably, unless its answer is known, or under way.
    pub(super) fn accept(
        &mut self,
        slot: usize,
        request: Box<Request<Command>>,
        reply: oneshot::Sender<Decision>,
    ) {
        let core = &mut self.slots[slot].core;
        if !core.is_current() {
            let _ = reply.send(Err(NotAnswered::Unavailable));
        } else if core.knows(&request) {
            core.submit(request, Caller::Client(reply));
            self.carry_out(slot);
        } else if self.accepted.is_another(&request) {
            self.accepted.wait_for_another(Other { slot, request, reply });
        } else if let Some(ticket) = self.accepted.expect(slot, &request, reply) {
            let (key, value) = accepted::encode(&request);
            let record = PlainNew {
                topic: PlainTopic::Commands,
                partition: self.slots[slot].partition.partition,
                key: &key,
                value: &value,
                headers: &[("content-type", "application/json")],
            };
            self.append_plain(&record, ticket);
        }
    }

    fn append_plain(&mut self, record: &PlainNew<'_>, ticket: usize) {
        let tagged = (self.slots.len() << TICKET_BITS) | ticket;
        if !self.appender.append_plain(record, tagged) {
            self.report(tagged, Outcome::Doubt);
        }
    }

    /// Carries out an accepted command, if that is this instance's affair.
    pub(super) fn take_accepted(&mut self, record: &PlainRecord) {
        let now = self.clock.now();
        let command = accepted::decode(record, self.config.partitions, now);
        let target = TopicPartition {
            topic: command
                .as_ref()
                .map_or(accepted::UNREADABLE, |request| request.command.target().topic),
            partition: record.partition,
        };
        for topic in Topic::ALL.into_iter().filter(|topic| *topic != target.topic) {
            let slot = slot_of(TopicPartition { topic, ..target }, self.config.partitions);
            if self.slots[slot].sources.skip(record.offset) {
                let source = u64::try_from(record.offset).unwrap_or(0);
                self.slots[slot].core.pass(source, now);
                self.carry_out(slot);
            }
        }
        let slot = slot_of(target, self.config.partitions);
        if !self.slots[slot].sources.take(record.offset) {
            return;
        }
        match command {
            Ok(request) => {
                self.accepted
                    .begin(slot, &request, (record.partition, record.offset));
                let caller = Caller::Accepted(request.id, record.offset);
                self.slots[slot].core.submit(request, caller);
                self.carry_out(slot);
            }
            Err(reason) => self.bury(slot, record, &reason),
        }
    }

    /// Keeps a record of the commands topic that cannot be read among the dead letters, and goes on.
    fn bury(&mut self, slot: usize, record: &PlainRecord, reason: &str) {
        let (partition, offset) = (record.partition, record.offset);
        tracing::error!(
            partition,
            offset,
            reason,
            "commands.unreadable: it goes to the dead letters"
        );
        metrics::dead_letter();
        let topic = PlainTopic::Commands.name(&self.config.log.prefix);
        let key = format!("{topic}/{partition}/{offset}");
        let ticket = self.accepted.bury(slot, u64::try_from(offset).unwrap_or(0));
        self.append_plain(
            &PlainNew {
                topic: PlainTopic::DeadLetters,
                partition: 0,
                key: key.as_bytes(),
                value: &record.value,
                headers: &[
                    ("tw_reason", reason),
                    ("tw_topic", &topic),
                    ("tw_partition", &partition.to_string()),
                    ("tw_offset", &offset.to_string()),
                    ("tw_key", &String::from_utf8_lossy(&record.key)),
                ],
            },
            ticket,
        );
    }

    /// An accepted command was turned away: it is read again, and none is carried out before it.
    pub(super) fn read_again(&mut self, slot: usize, source: u64) {
        let Slot { core, sources, .. } = &mut self.slots[slot];
        if core.is_stopped() {
            sources.end();
        } else if sources.again(i64::try_from(source).unwrap_or(i64::MAX)) {
            self.accepted.read_again();
        }
        self.sources_changed = true;
    }

    /// Reads the accepted commands of the partitions that are this instance's affair.
    pub(super) fn read_sources(&mut self) {
        let mut partitions = std::collections::BTreeMap::new();
        for slot in &self.slots {
            if let Some(next) = slot.sources.next() {
                let from = partitions.entry(slot.partition.partition).or_insert(next);
                *from = (*from).min(next);
            }
        }
        self.accepted.read(partitions.into_iter().collect());
        self.tell_sources();
    }

    /// Tells the way in how far the accepted commands are taken in.
    pub(super) fn tell_sources(&self) {
        for (partition, shared) in self.shared.sources.iter().enumerate() {
            let slots = self.slots.iter().filter(|slot| {
                usize::try_from(slot.partition.partition).is_ok_and(|number| number == partition)
            });
            let next = slots.filter_map(|slot| slot.sources.next()).min().unwrap_or(-1);
            shared.store(next, Ordering::Release);
        }
    }

    /// An accepted command has its answer, or found no writer. Those who waited to know whose its key is are told.
    pub(super) fn accepted_ends(&mut self, id: Uuid, is_answered: bool) {
        for Other { slot, request, reply } in self.accepted.end(id, is_answered) {
            self.slots[slot].core.submit(request, Caller::Client(reply));
            self.carry_out(slot);
        }
    }

    /// An accepted command is done with. Its own record says so; where it left none, a barrier has to.
    pub(super) fn pass(&mut self, slot: usize, offset: i64) {
        let Ok(source) = u64::try_from(offset) else { return };
        if self.slots[slot].core.fold().carried_out() < Some(source) {
            let now = self.clock.now();
            self.slots[slot].core.pass(source, now);
        }
    }
}
