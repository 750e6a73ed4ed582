//! The command service's metrics.

use eventlog::{Fault, Topic, TopicPartition};
use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

const APPENDED: &str = "tailwater_records_appended_total";
const VOID: &str = "tailwater_void_records_total";
const UNSETTLED: &str = "tailwater_writer_unsettled_total";
const STOPPED: &str = "tailwater_writer_partitions_stopped_total";
const BACKLOG: &str = "tailwater_writer_backlog_commands";
const COLD_READS: &str = "tailwater_writer_cold_reads_total";
const EVICTED: &str = "tailwater_writer_evicted_aggregates_total";
const HOT: &str = "tailwater_writer_hot_aggregates";
const SNAPSHOTS: &str = "tailwater_writer_checkpoints_total";
const SNAPSHOT_OFFSET: &str = "tailwater_writer_checkpoint_next_offset";
const SNAPSHOT_AGE: &str = "tailwater_writer_checkpoint_age_seconds";
const SNAPSHOT_TIME: &str = "tailwater_writer_checkpoint_write_seconds";
const DISCARDED: &str = "tailwater_writer_checkpoints_discarded_total";
const DEAD_LETTERS: &str = "tailwater_dead_letters_total";
const SHED: &str = "tailwater_commands_shed_total";
const WORK_MAX: &str = "tailwater_admission_work_max";
const MEMBERS: &str = "tailwater_cluster_members";
const PEERS_GONE: &str = "tailwater_cluster_peers_gone_total";
const PING: &str = "tailwater_cluster_ping_seconds";
const FORWARDED: &str = "tailwater_forwarded_requests_total";
const OWNER: &str = "tailwater_writer_owner";
const STEPS: &str = "tailwater_process_manager_open_steps";

/// Tells what each metric means, and lets counters begin at zero.
pub fn describe() {
    describe_counter!(
        APPENDED,
        "Records sent to Kafka, those that were sent again included."
    );
    describe_counter!(
        VOID,
        "Void records that the writers read, by what made them void."
    );
    describe_counter!(
        UNSETTLED,
        "Times that records in flight had to be settled by reading the log, by cause."
    );
    describe_counter!(
        STOPPED,
        "Partitions that take no commands because an effective record cannot be folded."
    );
    describe_counter!(
        DEAD_LETTERS,
        "Accepted commands that could not be read and went to the dead letters."
    );
    describe_counter!(
        SHED,
        "Commands that were answered 503 at once, because too much was waiting."
    );
    describe_gauge!(
        WORK_MAX,
        "Commands and steps that may wait at once: what can be done within the latency target at the rate of late."
    );
    describe_gauge!(BACKLOG, "Commands that have no answer yet.");
    describe_gauge!(
        OWNER,
        "1 where this instance decides the commands of the partition, as far as it knows; else 0."
    );
    describe_gauge!(STEPS, "Steps of the process manager that are under way.");
    describe_counter!(
        COLD_READS,
        "Reads of the embedded store for aggregates and commands that are not in memory, by kind and whether it was there."
    );
    describe_counter!(EVICTED, "Aggregates that left memory for the embedded store.");
    describe_gauge!(HOT, "Aggregates in memory.");
    describe_counter!(SNAPSHOTS, "Checkpoints written, by outcome.");
    describe_gauge!(
        SNAPSHOT_OFFSET,
        "The first offset that a start from the local checkpoint reads."
    );
    describe_gauge!(
        SNAPSHOT_AGE,
        "Seconds since the oldest partition's state was last in its checkpoint as it is."
    );
    describe_histogram!(
        SNAPSHOT_TIME,
        Unit::Seconds,
        "What writing a checkpoint takes, beside the writers."
    );
    describe_counter!(
        DISCARDED,
        "Local checkpoints that were thrown away, by cause: the file is damaged or foreign, or the log does not hold its last record."
    );
    for cause in ["file", "log", "read"] {
        counter!(DISCARDED, "cause" => cause).absolute(0);
    }
    for outcome in ["stored", "failed"] {
        counter!(SNAPSHOTS, "outcome" => outcome).absolute(0);
    }
    for kind in ["aggregate", "command"] {
        for found in ["true", "false"] {
            counter!(COLD_READS, "kind" => kind, "found" => found).absolute(0);
        }
    }
    counter!(EVICTED).absolute(0);
    describe_cluster();
    for fault in [Fault::Header(""), Fault::After, Fault::Hash] {
        counter!(VOID, "reader" => "writer", "fault" => fault.label()).absolute(0);
    }
    for cause in ["doubt", "other_writer"] {
        counter!(UNSETTLED, "cause" => cause).absolute(0);
    }
    counter!(APPENDED).absolute(0);
    counter!(STOPPED).absolute(0);
    counter!(DEAD_LETTERS).absolute(0);
    counter!(SHED).absolute(0);
}

/// What is about several instances.
fn describe_cluster() {
    describe_gauge!(
        MEMBERS,
        "Instances of the command service that this one knows to be alive, itself included."
    );
    describe_counter!(
        PEERS_GONE,
        "Times that another instance that was alive refused or lost a connection, or answered no pings."
    );
    describe_histogram!(
        PING,
        Unit::Seconds,
        "How long other instances take to answer a ping."
    );
    describe_counter!(
        FORWARDED,
        "Commands that were forwarded to the owner of their partition, by what came of it."
    );
    for outcome in FORWARD_OUTCOMES {
        counter!(FORWARDED, "outcome" => outcome).absolute(0);
    }
    counter!(PEERS_GONE).absolute(0);
}

/// So many records since the last time: to look a counter up for each would cost more than to count it.
pub(crate) fn appended(records: u64) {
    counter!(APPENDED).increment(records);
}

pub(crate) fn void(fault: Fault) {
    counter!(VOID, "reader" => "writer", "fault" => fault.label()).increment(1);
}

pub(crate) fn unsettled(doubt: bool) {
    counter!(UNSETTLED, "cause" => if doubt { "doubt" } else { "other_writer" }).increment(1);
}

pub(crate) fn shed() {
    counter!(SHED).increment(1);
}

pub(crate) fn dead_letter() {
    counter!(DEAD_LETTERS).increment(1);
}

pub(crate) fn stopped() {
    counter!(STOPPED).increment(1);
}

#[allow(clippy::cast_precision_loss)]
pub(crate) fn record_backlog(commands: usize, steps: usize, work_max: usize) {
    gauge!(BACKLOG).set(commands as f64);
    gauge!(STEPS).set(steps as f64);
    gauge!(WORK_MAX).set(work_max as f64);
}

/// What can come of a forwarded command, as the metric names it.
const FORWARD_OUTCOMES: [&str; 7] = [
    "answered",
    "mismatch",
    "overloaded",
    "unavailable",
    "timed_out",
    "gone",
    "failed",
];

/// A command was forwarded, and this came of it: one of [`FORWARD_OUTCOMES`].
pub(crate) fn forwarded(outcome: &'static str) {
    debug_assert!(
        FORWARD_OUTCOMES.contains(&outcome),
        "{outcome} is missing in FORWARD_OUTCOMES"
    );
    counter!(FORWARDED, "outcome" => outcome).increment(1);
}

/// What this instance is to a partition changed.
pub(crate) fn record_owner(of: TopicPartition, is_owner: bool) {
    let topic = match of.topic {
        Topic::Orders => "orders",
        Topic::Stock => "stock",
    };
    gauge!(OWNER, "topic" => topic, "partition" => of.partition.to_string())
        .set(f64::from(u8::from(is_owner)));
}

pub(crate) fn peer_gone() {
    counter!(PEERS_GONE).increment(1);
}

pub(crate) fn ping(took: std::time::Duration) {
    histogram!(PING).record(took.as_secs_f64());
}

#[allow(clippy::cast_precision_loss)]
pub(crate) fn record_members(members: usize) {
    gauge!(MEMBERS).set(members as f64);
}

pub(crate) fn cold_read(kind: &'static str, found: bool) {
    counter!(COLD_READS, "kind" => kind, "found" => if found { "true" } else { "false" }).increment(1);
}

#[allow(clippy::cast_precision_loss)]
pub(crate) fn record_memory(hot: usize, evicted: usize, checkpoint_age_seconds: f64) {
    gauge!(HOT).set(hot as f64);
    gauge!(SNAPSHOT_AGE).set(checkpoint_age_seconds);
    counter!(EVICTED).increment(evicted as u64);
}

#[allow(clippy::cast_precision_loss)]
pub(crate) fn checkpoint_stored(partition: TopicPartition, next_offset: i64, took_seconds: f64) {
    counter!(SNAPSHOTS, "outcome" => "stored").increment(1);
    histogram!(SNAPSHOT_TIME).record(took_seconds);
    let topic = format!("{:?}", partition.topic).to_lowercase();
    gauge!(SNAPSHOT_OFFSET, "topic" => topic, "partition" => partition.partition.to_string())
        .set(next_offset as f64);
}

pub(crate) fn checkpoint_failed() {
    counter!(SNAPSHOTS, "outcome" => "failed").increment(1);
}

pub(crate) fn checkpoint_discarded(cause: &'static str) {
    counter!(DISCARDED, "cause" => cause).increment(1);
}
