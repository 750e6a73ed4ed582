//! What the pipeline does when everything is there.

mod api;
mod cached;
mod checkers;
mod checkpoints;
mod cluster;
mod commands;
mod deadlines;
mod foreign;
mod history;
mod pages;
mod past;
mod problems;
mod projectors;
mod reads;
mod rebuild;
mod registry;
mod store;
mod streams;
mod two_writers;
mod writers;
