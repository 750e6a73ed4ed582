//! End-to-end tests against real components, as processes or containers.
//!
//! The suite is one; `TAILWATER_TEST_STACK` (`processes` or `containers`) says on what it runs. Each test has a
//! [`Pipeline`] of its own: topics under a prefix, a database, Redis keys and services that nobody else uses, on
//! components that all share ([`components`]). A test whose server is missing fails.
//!
//! What is too long for a test is in here, too, and has a command: the checkers of causal consistency ([`causal`]) and of the
//! query service's cache ([`cache`]).

pub mod cache;
pub mod causal;
mod client;
pub mod cluster;
mod components;
mod eventually;
mod load;
mod log;
mod pipeline;
mod stream;

pub use client::{Answer, Client, key, order, send, try_send};
pub use components::{Components, components, flush_redis, forget_in_redis, root};
pub use eventually::{DEADLINE, eventually};
pub use load::{Load, Outcome, settle_and_compare, stocked};
pub use log::{Produced, codec, effective, partition, produce, produce_plain, read_plain};
pub use pipeline::{Pipeline, Setup};
pub use stream::{EventStream, Sent};
