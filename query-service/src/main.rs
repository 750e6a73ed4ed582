//! REST reads from the read models, as fresh as each caller asks.

fn main() {}
