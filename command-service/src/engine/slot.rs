//! One partition's writer and what surrounds it.

use std::time::{Duration, Instant};

use eventlog::{Checkpoint, Fault, TopicPartition};

use super::caller::Caller;
use super::messages::Role;
use super::readers::{Reader, Readers};
use crate::metrics;
use crate::shop::Shop;
use crate::writer::{Core, Fold, Limits, Sources};

/// How often void records of a partition are logged at most.
const LOG_VOIDS: Duration = Duration::from_mins(1);

/// After that long without commands, it is looked now and then whether somebody else wrote.
const QUIET: Duration = Duration::from_millis(500);

pub(super) struct Slot {
    pub partition: TopicPartition,
    pub core: Core<Shop, Caller>,
    /// What this instance is to the partition; none until somebody said so.
    pub role: Option<Role>,
    /// Which read is current.
    pub generation: u64,
    /// Whether the following reader reads for it.
    pub following: bool,
    /// Which accepted command is to be carried out next.
    pub sources: Sources,
    /// Who waits for the fold.
    readers: Readers,
    /// Since when nobody waits for anything.
    quiet_since: Instant,
    /// Void records since the last log line, and when that was.
    voids: u64,
    voids_logged: Option<Instant>,
}

impl Slot {
    pub fn new(partition: TopicPartition, shop: Shop, limits: Limits) -> Self {
        Self {
            partition,
            core: resting(shop, limits),
            role: None,
            generation: 0,
            following: false,
            sources: Sources::default(),
            readers: Readers::default(),
            quiet_since: Instant::now(),
            voids: 0,
            voids_logged: None,
        }
    }

    pub fn is_owned(&self) -> bool {
        self.role == Some(Role::Owner)
    }

    /// Finds out where the accepted commands are to be read from, now that it decides commands; false where that is known
    /// already or is not its affair.
    pub fn begin_sources(&mut self) -> bool {
        if !self.is_owned() || self.sources.next().is_some() || !self.core.is_writing() {
            return false;
        }
        self.sources.begin(self.core.fold().carried_out());
        true
    }

    /// Whether nobody has waited for anything for a while; to be asked often.
    pub fn is_quiet(&mut self) -> bool {
        if self.core.backlog() > 0 {
            self.quiet_since = Instant::now();
        }
        self.quiet_since.elapsed() >= QUIET
    }

    /// Somebody wants to read an aggregate: told at once where enough is folded.
    pub fn look(&mut self, reader: Reader) {
        let is_first = self.readers.is_empty();
        let is_ahead = reader.at_least > self.core.fold().next_offset();
        self.readers.push(reader);
        // Somebody else may have written, which a leader that is quiet does not notice; the others wait for the same look.
        if is_ahead && is_first {
            self.core.look();
        }
    }

    /// Tells readers for whom enough is folded; turns them away where nothing more will be.
    pub fn tell_readers(&mut self) {
        if self.readers.is_empty() {
            return;
        }
        // What could not be folded is counted as folded there.
        if !self.core.is_stopped() {
            self.readers.tell(self.core.fold());
        }
        if self.core.is_stopped() || self.core.is_resting() {
            self.readers.turn_away();
        }
    }

    /// Forgets readers who gave up.
    pub fn forget_readers(&mut self) {
        self.readers.forget_gone();
    }

    /// Counts a void record, and says so now and then.
    pub fn void(&mut self, offset: i64, fault: Fault) {
        metrics::void(fault);
        self.voids += 1;
        if self
            .voids_logged
            .is_none_or(|logged| logged.elapsed() >= LOG_VOIDS)
        {
            tracing::warn!(partition = ?self.partition, offset, %fault, count = self.voids, "writer.record.void");
            self.voids = 0;
            self.voids_logged = Some(Instant::now());
        }
    }
}

fn resting(shop: Shop, limits: Limits) -> Core<Shop, Caller> {
    Core::resting(shop, limits, Fold::new(Checkpoint::BEGINNING))
}
