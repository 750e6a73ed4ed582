//! What the pipeline does when everything is there.

mod api;
mod checkpoints;
mod cluster;
mod commands;
mod deadlines;
mod foreign;
mod problems;
mod reads;
mod registry;
mod two_writers;
