//! Load generator, real orders and the demonstration.
//!
//! - [`orders`] reads a retailer's invoices as orders and returns of stock.
//! - [`load`] is a lean HTTP client and the loops that drive many of them.
//! - [`demo`] is what `cargo xtask demo` runs once everything is up.
//! - [`memory`] says what a command service needs in memory for many aggregates.
//! - [`instructions`] are the steps of a command, one at a time.
//! - [`suite`] is what `cargo xtask bench` runs: the pipeline and its parts, each measurement beside what it is compared with.
//!
//! It knows the pipeline from outside only: over HTTP, and over Kafka as any subscriber does. The exceptions are [`memory`],
//! [`suite::append`] and [`suite::peers`], which run the writers themselves, [`instructions`], and [`suite::start`], which makes
//! their log.

pub mod demo;
pub mod instructions;
pub mod load;
pub mod memory;
pub mod orders;
pub mod suite;

mod history;
mod stolen;
