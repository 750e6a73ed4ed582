//! What can go wrong between us and Kafka.

use rdkafka::error::KafkaError;

/// An error of the log. All are transient but for [`LogError::is_fatal`].
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The client library said no.
    #[error("Kafka: {0}")]
    Kafka(#[from] KafkaError),
    /// A topic is not there, or not as it has to be.
    #[error("{0}")]
    Topic(String),
    /// The cluster did not tell its id in time.
    #[error("Kafka did not tell its cluster id within the timeout; is the address right?")]
    NoClusterId,
    /// The records at this offset are gone: the log was truncated.
    #[error("the log does not hold offset {offset} of {topic}/{partition} any more")]
    OffsetOutOfRange {
        /// The topic's name.
        topic: String,
        /// The partition.
        partition: i32,
        /// The offset asked for.
        offset: i64,
    },
}

impl LogError {
    /// Whether trying again cannot help.
    pub const fn is_fatal(&self) -> bool {
        matches!(self, Self::Topic(_) | Self::OffsetOutOfRange { .. })
    }
}
