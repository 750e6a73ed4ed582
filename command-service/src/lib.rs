//! REST writes, decided against aggregates and appended to Kafka.
//!
//! - [`cluster`]: several instances side by side: who decides what, and how requests get there.
//! - [`http`]: requests in, answers out; nothing is decided there.
//! - [`instance`]: the engine and its part in the cluster, run together.
//! - [`engine`]: threads, Kafka, the process manager; the way in is [`engine::Handle`].
//! - [`writer`]: the pure state machine of one partition.
//! - [`store`]: snapshots of partitions on disk, for starts and for what does not fit in memory.
//! - [`shop`]: the shop as the writer's domain.

mod clock;
pub mod cluster;
pub mod config;
pub mod engine;
pub mod http;
pub mod instance;
pub mod metrics;
pub mod shop;
pub mod store;
pub mod writer;
