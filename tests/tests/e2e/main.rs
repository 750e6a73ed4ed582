//! What the pipeline does when everything is there.

mod api;
mod cluster;
mod foreign;
mod problems;
mod reads;
mod registry;
mod two_writers;
