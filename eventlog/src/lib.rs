//! Kafka as an event log: the chain rule, positions and tokens, append and read, the registry client.
