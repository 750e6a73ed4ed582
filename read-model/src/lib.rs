//! The read models: views, their Postgres tables and SQL, their Redis keys and scripts.
//!
//! The only owner of either: no other crate has SQL or a key's name.
//!
//! * [`view`] is what a model holds; [`projection`] makes it from events, purely.
//! * [`Store`] is what a projector needs of a model, implemented by [`postgres::PostgresStore`] and [`redis::RedisStore`].
//! * [`postgres::PostgresReader`] and [`redis::RedisReader`] are what queries need: a value *and* the position it was read at, in one call.
//! * [`snapshot`] reads a whole model, to be compared with the log.
//!
//! **Architecture invariant:** a partition's rows and its checkpoint change together or not at all, and only where the
//! checkpoint is the one that the change started from. So whoever writes, however often, a model is always a prefix of the log.

pub mod deployment;
pub mod postgres;
pub mod projection;
pub mod reading;
pub mod redis;
pub mod snapshot;
pub mod store;
pub mod view;

pub use postgres::migrate;
pub use reading::{Document, Reading};
pub use snapshot::ModelSnapshot;
pub use store::{Batch, Committed, Move, Store, StoreError};
pub use view::{Order, OrderView, Stock, StockView};

/// The version of the projection. Another one gets its own tables and keys, and fills them beside these.
pub const MODEL_VERSION: i32 = 1;
