//! One partition's writer and what surrounds it.

use std::time::{Duration, Instant};

use eventlog::{Checkpoint, Fault, TopicPartition};

use super::caller::Caller;
use super::messages::Role;
use crate::metrics;
use crate::shop::Shop;
use crate::writer::{Core, Fold, Limits, Sources};

/// How long an owner that writes nothing goes without looking whether somebody else did.
const LOOK: Duration = Duration::from_secs(5);

/// How often void records of a partition are logged at most.
const LOG_VOIDS: Duration = Duration::from_mins(1);

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
    /// How far the history went when it was last looked at, and when that was.
    looked: (i64, Instant),
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
            looked: (0, Instant::now()),
            voids: 0,
            voids_logged: None,
        }
    }

    pub fn is_owned(&self) -> bool {
        self.role == Some(Role::Owner)
    }

    /// Gives up everything that it knows.
    pub fn forget(&mut self, shop: Shop, limits: Limits) {
        self.core = resting(shop, limits);
        self.generation += 1;
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

    /// Looks now and then whether another instance wrote something that asks for steps: this one's own records tell, but it may
    /// write none.
    pub fn look(&mut self) {
        let (next_offset, at) = self.looked;
        if !self.is_owned() || at.elapsed() < LOOK {
            return;
        }
        self.looked = (self.core.fold().next_offset(), Instant::now());
        if self.looked.0 == next_offset {
            self.core.look();
        }
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
