//! What every service shares: configuration, telemetry, shutdown, health, problem+json, HTTP headers.
//!
//! It knows HTTP and processes, and nothing of Kafka, the stores or the shop.
//!
//! * [`run::main`] wraps a binary: configuration, telemetry, signals, exit codes.
//! * [`basics::finish`] completes a router: health, metrics, `OpenAPI`, the problems' pages, and 404 and 405 as problem+json.
//! * [`Problem`] is every error answer; [`problem::ProblemKind`] is one row of the catalogue behind `/problems/<slug>`.
//! * [`auth`] keeps everybody but the services themselves out.
//! * [`json`] reads request bodies, [`headers`] the request headers, [`path`] the ids in paths. All of them refuse with a [`Problem`].
//!
//! **Architecture invariant:** nothing here costs a request more than a few microseconds: one layer, no span, no log line above debug.

pub mod auth;
pub mod basics;
pub mod config;
mod edge;
mod front;
pub mod headers;
pub mod health;
pub mod json;
pub mod openapi;
pub mod path;
pub mod problem;
pub mod rate_limit;
mod requests;
pub mod run;
pub mod serve;
pub mod telemetry;

pub use headers::trace::TraceContext;
pub use health::Health;
pub use problem::{FieldError, Problem, ProblemKind};
