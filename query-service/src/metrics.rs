//! Every metric of the query service, beside those of its HTTP requests. Labels are bounded.

use metrics::Unit;

use crate::models::Model;

/// Says what each metric is.
pub(crate) fn describe() {
    metrics::describe_counter!(
        "tailwater_reads_total",
        "Reads served, by the model that they came from."
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
}

pub(crate) fn served(model: Model) {
    metrics::counter!("tailwater_reads_total", "model" => model.name()).increment(1);
}

pub(crate) fn failed(model: Model) {
    metrics::counter!("tailwater_model_failures_total", "model" => model.name()).increment(1);
}

pub(crate) fn refused(reason: &'static str) {
    metrics::counter!("tailwater_reads_refused_total", "reason" => reason).increment(1);
}

pub(crate) fn waited(time: std::time::Duration) {
    metrics::histogram!("tailwater_read_wait_seconds").record(time);
}
