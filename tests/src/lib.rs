//! End-to-end tests against real components, as processes or containers.
//!
//! The suite is one; `TAILWATER_TEST_STACK` (`processes` or `containers`) says on what it runs. Each test has a
//! [`Pipeline`] of its own: topics under a prefix, a database, Redis keys and services that nobody else uses, on
//! components that all share ([`components`]). A test whose server is missing fails.

mod client;
pub mod cluster;
mod components;
mod eventually;
mod load;
mod log;
mod pipeline;

pub use client::{Answer, Client, key, order, send, try_send};
pub use components::{Components, components, flush_redis, root};
pub use eventually::eventually;
pub use load::{Load, Outcome, settle_and_compare, stocked};
pub use log::{Produced, codec, effective, partition, produce, produce_plain, read_plain};
pub use pipeline::{Pipeline, Setup};
