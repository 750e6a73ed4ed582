//! Load generator, real orders and the demonstration.
//!
//! - [`orders`] reads a retailer's invoices as orders and returns of stock.
//! - [`load`] is a lean HTTP client and the loops that drive many of them.
//! - [`demo`] is what `cargo xtask demo` runs once everything is up.
//! - [`suite`] is what `cargo xtask bench` runs: the write side, each measurement beside what it is compared with.
//!
//! It knows the pipeline from outside only: over HTTP, and over Kafka as any subscriber does. The one exception is
//! [`suite::append`], which runs the writer itself.

pub mod demo;
pub mod load;
pub mod orders;
pub mod suite;

mod stolen;
