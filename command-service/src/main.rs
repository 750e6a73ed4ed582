//! REST writes, decided against aggregates and appended to Kafka.

fn main() {}
