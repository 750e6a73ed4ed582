//! REST writes, decided against aggregates and appended to Kafka.
//!
//! - [`cluster`]: several instances side by side: who decides what, and how requests get there.
//! - [`http`]: requests in, answers out; nothing is decided there.
//! - [`instance`]: the engine and its part in the cluster, run together.
//! - `seeding`: a start from another instance's checkpoints.
//! - [`engine`]: threads, Kafka, the process manager; the way in is [`engine::Handle`].
//! - [`writer`]: the pure state machine of one partition.
//! - [`store`]: snapshots of partitions on disk, for starts and for what does not fit in memory.
//! - [`shop`]: the shop as the writer's domain.
//! - `states`: aggregates for readers in other services.

mod clock;
pub mod cluster;
pub mod config;
pub mod engine;
pub mod http;
pub mod instance;
pub mod metrics;
mod seeding;
pub mod shop;
mod states;
pub mod store;
pub mod writer;
