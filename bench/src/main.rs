//! Load generator, real orders and the demonstration.

fn main() {}
