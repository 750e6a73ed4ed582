//! What the pipeline does when everything is there.

mod api;
mod checkpoints;
mod foreign;
mod problems;
mod reads;
mod registry;
mod two_writers;
