//! Every metric of the projector. Labels are bounded: model, topic, partition, reason. A model's live generation has its name;
//! generations that are filled or kept are `postgres-beside` and `redis-beside`.

use eventlog::TopicPartition;
use metrics::{Counter, Gauge, Histogram, Unit};

/// Says what each metric is.
pub(crate) fn describe() {
    metrics::describe_counter!(
        "tailwater_projected_records_total",
        "Records examined and committed, void ones included."
    );
    metrics::describe_counter!(
        "tailwater_void_records_total",
        "Records that the chain rule passes over, by reason. Counted where they are read: once for models that share a reader."
    );
    metrics::describe_counter!(
        "tailwater_projection_restarts_total",
        "Sessions that ended before the projector did, by reason."
    );
    metrics::describe_counter!(
        "tailwater_projection_resets_total",
        "Partitions thrown away because the log no longer has their checkpoint."
    );
    metrics::describe_histogram!("tailwater_projection_batch_records", "Records of one commit.");
    metrics::describe_histogram!(
        "tailwater_projection_commit_seconds",
        Unit::Seconds,
        "How long a commit took."
    );
    metrics::describe_histogram!(
        "tailwater_projection_delay_seconds",
        Unit::Seconds,
        "From the time of a batch's last event to its commit."
    );
    metrics::describe_gauge!(
        "tailwater_projection_halted",
        "1 where an event that cannot be applied stopped the partition."
    );
    metrics::describe_gauge!(
        "tailwater_projection_lag_records",
        "Records of the log that the model has not examined; 0 for partitions that are another projector's."
    );
    metrics::describe_gauge!(
        "tailwater_projector_partitions",
        "1 for each partition number (of orders and stock) that is this projector's."
    );
}

/// A model as a label: its live generation by its name, those beside it together by another one.
pub(crate) fn label(model: &'static str, leads: bool) -> &'static str {
    match (model, leads) {
        ("postgres", false) => "postgres-beside",
        ("redis", false) => "redis-beside",
        (model, _) => model,
    }
}

/// Handles for one model: looking them up for each batch would cost more than counting.
pub(crate) struct ModelMetrics {
    pub(crate) records: Counter,
    pub(crate) batch_records: Histogram,
    pub(crate) commit_seconds: Histogram,
    pub(crate) delay_seconds: Histogram,
}

impl ModelMetrics {
    pub(crate) fn new(model: &'static str) -> Self {
        Self {
            records: metrics::counter!("tailwater_projected_records_total", "model" => model),
            batch_records: metrics::histogram!("tailwater_projection_batch_records", "model" => model),
            commit_seconds: metrics::histogram!("tailwater_projection_commit_seconds", "model" => model),
            delay_seconds: metrics::histogram!("tailwater_projection_delay_seconds", "model" => model),
        }
    }
}

pub(crate) fn void_records(partition: TopicPartition, reason: &'static str) -> Counter {
    metrics::counter!("tailwater_void_records_total", "topic" => topic(partition), "reason" => reason)
}

pub(crate) fn restarts(model: &'static str, reason: &'static str) -> Counter {
    metrics::counter!("tailwater_projection_restarts_total", "model" => model, "reason" => reason)
}

pub(crate) fn resets(model: &'static str, partition: TopicPartition) -> Counter {
    metrics::counter!("tailwater_projection_resets_total", "model" => model, "topic" => topic(partition))
}

pub(crate) fn halted(model: &'static str, partition: TopicPartition) -> Gauge {
    metrics::gauge!(
        "tailwater_projection_halted",
        "model" => model, "topic" => topic(partition), "partition" => partition.partition.to_string()
    )
}

pub(crate) fn lag(model: &'static str, partition: TopicPartition) -> Gauge {
    metrics::gauge!(
        "tailwater_projection_lag_records",
        "model" => model, "topic" => topic(partition), "partition" => partition.partition.to_string()
    )
}

/// Whether this projector works on that partition of each topic.
pub(crate) fn assigned(number: i32) -> Gauge {
    metrics::gauge!("tailwater_projector_partitions", "partition" => number.to_string())
}

/// A topic as a label, without the prefix of this installation.
pub(crate) const fn topic(partition: TopicPartition) -> &'static str {
    match partition.topic {
        eventlog::Topic::Orders => "orders",
        eventlog::Topic::Stock => "stock",
    }
}
