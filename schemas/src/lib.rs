//! The event contract: Avro schemas, typed events and their codec.
