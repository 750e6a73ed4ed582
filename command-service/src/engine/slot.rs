//! One partition's writer and what surrounds it.

use std::time::{Duration, Instant};

use eventlog::{Checkpoint, Fault, TopicPartition};

use super::caller::Caller;
use super::messages::Role;
use crate::metrics;
use crate::shop::Shop;
use crate::writer::{Core, Fold, Limits};

/// How often void records of a partition are logged at most.
const LOG_VOIDS: Duration = Duration::from_mins(1);

/// After that long without commands, it is looked now and then whether somebody else wrote.
const QUIET: Duration = Duration::from_millis(500);

/// After so many commands of another topic, the partition's log says how far the commands topic is done with.
const SKIPPED_MAX: u32 = 1_000;

pub(super) struct Slot {
    pub partition: TopicPartition,
    pub core: Core<Shop, Caller>,
    /// What this instance is to the partition; none until somebody said so.
    pub role: Option<Role>,
    /// Which read is current.
    pub generation: u64,
    /// Whether the following reader reads for it.
    pub following: bool,
    /// The next accepted command to carry out; none while that is another instance's affair.
    pub next_source: Option<i64>,
    /// Since when nobody waits for anything.
    quiet_since: Instant,
    /// Accepted commands since the last of its own that were for another topic.
    skipped: u32,
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
            next_source: None,
            quiet_since: Instant::now(),
            skipped: 0,
            voids: 0,
            voids_logged: None,
        }
    }

    pub fn is_owned(&self) -> bool {
        self.role == Some(Role::Owner)
    }

    /// Where the accepted commands are to be read from, now that it decides commands; none where that is known already or
    /// is not its affair.
    pub fn begin_sources(&mut self) -> bool {
        if !self.is_owned() || self.next_source.is_some() || !self.core.is_writing() {
            return false;
        }
        let carried_out = self.core.fold().carried_out();
        let next = carried_out.map_or(0, |source| {
            i64::try_from(source).unwrap_or(i64::MAX).saturating_add(1)
        });
        self.next_source = Some(next);
        true
    }

    /// Takes the accepted command at an offset for this partition; false where it was taken before, or is not its affair.
    pub fn take_source(&mut self, offset: i64) -> bool {
        match &mut self.next_source {
            Some(next) if *next <= offset => {
                *next = offset + 1;
                self.skipped = 0;
                true
            }
            _ => false,
        }
    }

    /// Passes over a command of another topic. True where the log should say how far the topic is done with: a new owner
    /// would have to read all of it again.
    pub fn skip_source(&mut self, offset: i64) -> bool {
        match &mut self.next_source {
            Some(next) if *next <= offset => {
                *next = offset + 1;
                self.skipped += 1;
                if self.skipped >= SKIPPED_MAX {
                    self.skipped = 0;
                    return true;
                }
                false
            }
            _ => false,
        }
    }

    /// Whether nobody has waited for anything for a while; to be asked often.
    pub fn is_quiet(&mut self) -> bool {
        if self.core.backlog() > 0 {
            self.quiet_since = Instant::now();
        }
        self.quiet_since.elapsed() >= QUIET
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
