//! A checker of the query service's cache: as many reads as it can answer, while everything changes, entries are evicted and the
//! service is started again, and each answer held against the log.
//!
//! - [`truth`]: the log, folded by the domain as it grows; what each thing was at each position. Pure but for its reader.
//! - `verifier`: follows the log and judges answers, as soon as it has come as far as they have.
//! - `reader`, `writer`: who reads, and who changes what is read. `wire`: how readers ask, several requests at a time.
//! - [`run()`]: all of it together; [`hot()`]: a single key under many readers, while it changes as fast as it can.
//!
//! An answer's token says as of which positions it is. So its content must be what the log makes of the thing at just those
//! positions: not older, and not newer. That, and that the token covers the request's, is all there is to freshness.

mod hot;
mod reader;
mod report;
mod run;
pub mod truth;
mod verifier;
mod wire;
mod writer;

pub use hot::{Hot, hot};
pub use report::Report;
pub use run::{Options, run};
