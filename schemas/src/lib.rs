//! The event contract: Avro schemas, typed events and their codec.
//!
//! `avro/*.avsc` is what subscribers in any language rely on; the structs here mirror it field by field.
//! Nothing here talks to a registry or to Kafka: see the crate `eventlog` for that.

mod codec;
mod control;
mod data;
mod definitions;
mod event;
mod framing;
pub mod ids;
pub mod orders;
pub mod stock;
mod time;

pub use codec::{Codec, CodecError, DECODED_BYTES_MAX};
pub use control::{Barrier, CommandRejected};
pub use data::DataError;
pub use definitions::{SchemaDef, all};
pub use event::Event;
pub use framing::Framed;
pub use orders::OrderEvent;
pub use stock::StockEvent;
pub use time::Timestamp;

/// An event topic: one for each aggregate type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Topic {
    /// `<prefix>.orders.events`
    Orders,
    /// `<prefix>.stock.events`
    Stock,
}

impl Topic {
    /// Every event topic, in the order of [`Topic::index`].
    pub const ALL: [Self; 2] = [Self::Orders, Self::Stock];

    /// The topic's number in positions and tokens. Frozen.
    pub const fn index(self) -> u8 {
        match self {
            Self::Orders => 0,
            Self::Stock => 1,
        }
    }

    /// The topic of that number.
    pub fn from_index(index: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|topic| topic.index() == index)
    }

    /// The topic's name under a prefix (`shop` unless a test chooses another).
    pub fn name(self, prefix: &str) -> String {
        match self {
            Self::Orders => format!("{prefix}.orders.events"),
            Self::Stock => format!("{prefix}.stock.events"),
        }
    }
}
