//! A causal-consistency checker: many clients, random operations, and every answer held against a model of what its caller
//! must see.
//!
//! - [`model`]: what has happened before what, and what follows from it for a reader. Pure.
//! - `client`: one client of all services: what it does at random, and how it tells the model; `asking`: how it asks.
//! - `weather`: what is done to the services meanwhile.
//! - [`run()`]: all of it together; [`Report`]: what came of it.
//!
//! A client holds a token and the [`Knowledge`](model::Knowledge) that the token stands for. Reads and writes add to both, a
//! token that is handed to somebody else takes its knowledge along, and a read must never show less than its caller knows:
//! its own writes, what it has read, and whatever those depend on. The checker opens tokens for one purpose only: an answer's
//! is never behind the request's.

mod asking;
mod client;
pub mod model;
mod report;
mod run;
mod shown;
mod weather;

pub use report::{Report, Violation};
pub use run::{Options, run};
