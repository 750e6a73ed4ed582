//! The read models: views, their Postgres tables and SQL, their Redis keys and scripts.
//!
//! The only owner of either: no other crate has SQL or a key's name.
//!
//! * [`view`] is what a model holds; [`projection`] makes it from events, purely.
//! * [`Store`] is what a projector needs of a model, implemented by [`postgres::PostgresStore`] and [`redis::RedisStore`].
//! * [`postgres::PostgresReader`] and [`redis::RedisReader`] are what queries need: a value *and* the position it was read at, in one call.
//! * [`generations`] are whole models beside each other, of which one is read: how a model is made anew while it is in use.
//! * [`compare`] holds two of them against each other, while both go on.
//! * [`snapshot`] reads a whole model, to be compared with the log.
//!
//! **Architecture invariant:** a partition's rows and its checkpoint change together or not at all, and only where the
//! checkpoint is the one that the change started from. So whoever writes, however often, a model is always a prefix of the log.
//!
//! **Architecture invariant:** which generation is live is read in the same call as the data, and the data is used only if it
//! is of that generation. So no read mixes two, and a switch is one instant.

pub mod compare;
pub mod deployment;
pub mod generations;
pub mod postgres;
pub mod projection;
pub mod reading;
pub mod redis;
pub mod snapshot;
pub mod store;
pub mod view;

pub use generations::{Generation, Generations, MODEL_VERSION};
pub use postgres::migrate;
pub use reading::{Document, Reading};
pub use snapshot::ModelSnapshot;
pub use store::{Batch, Committed, KeptEvent, Move, Store, StoreError, Storing};
pub use view::{HistoryEvent, Notes, Order, OrderView, Stock, StockView};
