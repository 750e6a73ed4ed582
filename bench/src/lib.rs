//! Load generator, real orders and the demonstration.
//!
//! - [`orders`] reads a retailer's invoices as orders and returns of stock.
//! - [`load`] is a lean HTTP client and the loops that drive many of them.
//! - [`demo`] is what `cargo xtask demo` runs once everything is up.
//! - [`start`] times the starts of a command service.
//!
//! But for the last, it knows the pipeline from outside only: over HTTP, and over Kafka as any subscriber does.

pub mod demo;
pub mod load;
pub mod orders;
pub mod start;
