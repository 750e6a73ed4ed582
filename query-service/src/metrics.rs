//! Every metric of the query service, beside those of its HTTP requests. Labels are bounded.

use metrics::{Counter, Gauge, Unit};

use crate::cache::Miss;
use crate::cache::policy::{Kind, POLICIES};
use crate::models::Model;

/// Says what each metric is.
pub(crate) fn describe() {
    metrics::describe_counter!(
        "tailwater_reads_total",
        "Reads served, by where they came from: memory, redis, postgres, writer."
    );
    metrics::describe_counter!(
        "tailwater_model_failures_total",
        "Reads that a model failed, and another one may have served."
    );
    metrics::describe_counter!(
        "tailwater_reads_refused_total",
        "Reads that nobody could serve in time, by reason."
    );
    metrics::describe_histogram!(
        "tailwater_read_wait_seconds",
        Unit::Seconds,
        "How long reads waited for a model to come as far as their token."
    );
    metrics::describe_histogram!(
        "tailwater_proof_seconds",
        Unit::Seconds,
        "How long strong reads waited for the writers' proof."
    );
    metrics::describe_counter!(
        "tailwater_cache_hits_total",
        "Reads answered from memory, by kind of read."
    );
    metrics::describe_counter!(
        "tailwater_cache_misses_total",
        "Reads not answered from memory, by kind of read and by reason: absent, touched, behind the token, silent tail, old."
    );
    metrics::describe_counter!(
        "tailwater_cache_fills_total",
        "Fills begun, by kind of read: each asks the models once."
    );
    metrics::describe_counter!(
        "tailwater_cache_joined_total",
        "Reads that shared a fill which another one had begun, by kind of read."
    );
    metrics::describe_counter!(
        "tailwater_cache_evictions_total",
        "Answers that had to go for others, by kind of read."
    );
    metrics::describe_gauge!("tailwater_cache_fills_running", "Fills under way.");
    metrics::describe_gauge!(
        "tailwater_cache_bytes",
        Unit::Bytes,
        "What the answers in memory take up, about."
    );
    metrics::describe_counter!(
        "tailwater_tail_records_total",
        "Records that the query service's tail of the topics took in."
    );
    metrics::describe_gauge!("tailwater_streams_open", "Streams of events that are open.");
    metrics::describe_counter!(
        "tailwater_streams_refused_total",
        "Streams that were not opened because too many were."
    );
    metrics::describe_counter!(
        "tailwater_streams_dropped_total",
        "Streams ended because their reader was too slow."
    );
    metrics::describe_counter!(
        "tailwater_stream_events_total",
        "Events sent on streams, by where they came from: ring, postgres."
    );
    metrics::describe_counter!(
        "tailwater_tail_restarts_total",
        "Times that the tail had to look again where it stands."
    );
    metrics::describe_gauge!(
        "tailwater_tail_lag_records",
        "Records that the tail was behind the topics' ends when these were asked for last."
    );
}

pub(crate) fn failed(model: Model) {
    metrics::counter!("tailwater_model_failures_total", "model" => model.name()).increment(1);
}

pub(crate) fn served_by_writer() {
    metrics::counter!("tailwater_reads_total", "model" => "writer").increment(1);
}

pub(crate) fn writer_failed() {
    metrics::counter!("tailwater_model_failures_total", "model" => "writer").increment(1);
}

pub(crate) fn refused(reason: &'static str) {
    metrics::counter!("tailwater_reads_refused_total", "reason" => reason).increment(1);
}

pub(crate) fn proven(time: std::time::Duration) {
    metrics::histogram!("tailwater_proof_seconds").record(time);
}

pub(crate) fn tail_records(records: usize) {
    metrics::counter!("tailwater_tail_records_total").increment(records as u64);
}

pub(crate) fn tail_restarted() {
    metrics::counter!("tailwater_tail_restarts_total").increment(1);
}

#[allow(clippy::cast_precision_loss, reason = "a gauge is a float")]
pub(crate) fn tail_lag(records: i64) {
    metrics::gauge!("tailwater_tail_lag_records").set(records as f64);
}

pub(crate) fn waited(time: std::time::Duration) {
    metrics::histogram!("tailwater_read_wait_seconds").record(time);
}

/// What streams count. The handles are kept, as in [`CacheMetrics`].
pub(crate) struct StreamMetrics {
    pub(crate) open: Gauge,
    pub(crate) refused: Counter,
    pub(crate) dropped: Counter,
    pub(crate) of_ring: Counter,
    pub(crate) of_postgres: Counter,
}

impl StreamMetrics {
    pub(crate) fn new() -> Self {
        Self {
            open: metrics::gauge!("tailwater_streams_open"),
            refused: metrics::counter!("tailwater_streams_refused_total"),
            dropped: metrics::counter!("tailwater_streams_dropped_total"),
            of_ring: metrics::counter!("tailwater_stream_events_total", "source" => "ring"),
            of_postgres: metrics::counter!("tailwater_stream_events_total", "source" => "postgres"),
        }
    }
}

impl std::fmt::Debug for StreamMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StreamMetrics")
    }
}

/// What the cache counts, and reads that it does not serve. The handles are kept: looking one up costs more than a hit.
pub(crate) struct CacheMetrics {
    memory: Counter,
    models: [Counter; Model::ALL.len()],
    kinds: [OfKind; POLICIES.len()],
    running: Gauge,
    bytes: Gauge,
}

struct OfKind {
    hits: Counter,
    misses: [Counter; Miss::ALL.len()],
    fills: Counter,
    joined: Counter,
    evictions: Counter,
}

impl std::fmt::Debug for CacheMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CacheMetrics")
    }
}

/// A fill that is under way, until it is dropped.
pub(crate) struct Filling(Gauge);

impl Drop for Filling {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

impl CacheMetrics {
    pub(crate) fn new() -> Self {
        Self {
            memory: metrics::counter!("tailwater_reads_total", "model" => "memory"),
            models: Model::ALL
                .map(|model| metrics::counter!("tailwater_reads_total", "model" => model.name())),
            kinds: POLICIES.map(|policy| {
                let kind = policy.kind.label();
                OfKind {
                    hits: metrics::counter!("tailwater_cache_hits_total", "kind" => kind),
                    misses: Miss::ALL.map(|miss| {
                        let reason = miss.label();
                        metrics::counter!("tailwater_cache_misses_total", "kind" => kind, "reason" => reason)
                    }),
                    fills: metrics::counter!("tailwater_cache_fills_total", "kind" => kind),
                    joined: metrics::counter!("tailwater_cache_joined_total", "kind" => kind),
                    evictions: metrics::counter!("tailwater_cache_evictions_total", "kind" => kind),
                }
            }),
            running: metrics::gauge!("tailwater_cache_fills_running"),
            bytes: metrics::gauge!("tailwater_cache_bytes"),
        }
    }

    const fn of(&self, kind: Kind) -> &OfKind {
        &self.kinds[kind as usize]
    }

    pub(crate) fn hit(&self, kind: Kind) {
        self.memory.increment(1);
        self.of(kind).hits.increment(1);
    }

    pub(crate) fn served(&self, model: Model) {
        self.models[model as usize].increment(1);
    }

    pub(crate) fn miss(&self, kind: Kind, miss: Miss) {
        self.of(kind).misses[miss as usize].increment(1);
    }

    pub(crate) fn fill(&self, kind: Kind) -> Filling {
        self.of(kind).fills.increment(1);
        self.running.increment(1.0);
        Filling(self.running.clone())
    }

    pub(crate) fn joined(&self, kind: Kind) {
        self.of(kind).joined.increment(1);
    }

    pub(crate) fn evicted(&self, kind: Kind) {
        self.of(kind).evictions.increment(1);
    }

    #[allow(clippy::cast_precision_loss, reason = "a gauge is a float")]
    pub(crate) fn bytes(&self, bytes: u64) {
        self.bytes.set(bytes as f64);
    }
}
