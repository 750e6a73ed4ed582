//! Kafka, the schema registry, Postgres and Redis on one machine, as private processes or containers.
//!
//! The same library starts the developer's stack (`cargo xtask up`), a test's own stack and a benchmark's. It uses
//! the programs that [`install`] brings, keeps everything below one root folder ([`layout`]), never touches the
//! machine's own servers, and needs nothing but Rust and a C compiler to build, so that set-up starts in seconds.
//! Start reading at [`Stack`].

#[cfg(feature = "containers")]
pub mod containers;
pub mod engine;
pub mod images;
pub mod install;
pub mod layout;
pub mod pins;
pub mod ports;
pub mod probe;
pub mod process;
pub mod services;
pub mod stack;
pub mod step;

mod error;
mod kafka;
mod postgres;
mod proc;
mod random;
mod redis;
mod registry;

pub use error::{Error, Result};
pub use kafka::Jvm;
pub use nix::sys::signal::Signal;
pub use stack::{Endpoints, Options, Stack};
