//! Load generator, real orders and the demonstration.
//!
//! - [`orders`] reads a retailer's invoices as orders and returns of stock.
//! - [`load`] is a lean HTTP client and the loops that drive many of them.
//! - [`demo`] is what `cargo xtask demo` runs once everything is up.
//! - [`memory`] says what a command service needs in memory for many aggregates.
//! - [`suite`] is what `cargo xtask bench` runs: the write side, each measurement beside what it is compared with.
//!
//! It knows the pipeline from outside only: over HTTP, and over Kafka as any subscriber does. The exceptions are [`memory`] and
//! [`suite::append`], which run the writers themselves, and [`suite::start`], which makes their log.

pub mod demo;
pub mod load;
pub mod memory;
pub mod orders;
pub mod suite;

mod history;
mod stolen;
