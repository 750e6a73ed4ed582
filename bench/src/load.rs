//! A lean HTTP client and the loops that drive many of them.
//!
//! The generator shares its machine with everything that it measures, so it does as little as it can for a request: one
//! write, one read, no pool, no task of its own for a connection. It speaks just enough HTTP/1.1 for our own services.

mod client;
mod histogram;
mod loops;

pub use client::{Client, Request, Response, Target};
pub use histogram::Latencies;
pub use loops::{Driven, closed_loop, each, open_loop};
