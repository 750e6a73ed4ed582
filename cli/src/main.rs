//! tailwater: deploy, verify and look into a running pipeline.

fn main() {}
