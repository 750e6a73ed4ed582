//! Folds the events into the Postgres and Redis read models.

fn main() {}
