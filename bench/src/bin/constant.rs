//! `constant`: what `write` is compared with: the services' own HTTP server and layers, which read a note's body whole and
//! answer it with a constant. Nothing is parsed, decided or written.

use std::{net::SocketAddr, process::ExitCode};

use axum::{Router, extract::Path, routing::post};
use bytes::Bytes;
use service_kit::{
    basics::{Basics, Leaving, finish},
    config::{Config, ConfigError, Settings},
    health::START,
    json, run, serve,
};

// As the command service has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// As long as the answer to a note.
const ANSWER: &[u8] = br#"{"order_id":"00000000-0000-0000-0000-000000000000","sequence":2,"command_id":"00000000-0000-0000-0000-000000000000","status":"confirmed","note_id":"00000000-0000-0000-0000-000000000000"}"#;

#[derive(Clone, Debug)]
struct ConstantConfig {
    listen: SocketAddr,
}

impl Config for ConstantConfig {
    fn read(settings: &Settings) -> Result<Self, ConfigError> {
        Ok(Self {
            listen: settings.listen("127.0.0.1:8088")?,
        })
    }
}

fn main() -> ExitCode {
    run::main("constant", constant)
}

async fn constant(context: run::Context<ConstantConfig>) -> anyhow::Result<()> {
    let listener = serve::bind(context.config.listen).await?;
    let note =
        post(|_: Path<String>, _: Bytes| async { json::respond_bytes(201, Bytes::from_static(ANSWER)) });
    context.health.up(START);
    let routes = Router::new().route("/v1/orders/{id}/notes", note);
    let basics = Basics {
        health: context.health,
        metrics: context.metrics,
        openapi: None,
        problems: Vec::new(),
        leaving: Leaving::default(),
        streams: &[],
    };
    serve::serve(listener, finish(routes, basics), context.shutdown).await
}
