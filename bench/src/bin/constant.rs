//! `constant`: what `write` is compared with: the services' own HTTP server and layers, which read a note's body whole and
//! answer it with a constant. Nothing is parsed, decided or written.
//!
//! Asked to, it answers late: each answer comes from a thread that gives out what gathered every few milliseconds, as if a log had
//! acknowledged it. That is what an answer takes that cannot be given at once, whoever decides it: the floor of `write`.

use std::{net::SocketAddr, process::ExitCode, thread, time::Duration};

use axum::{Router, extract::Path, response::Response, routing::post};
use bytes::Bytes;
use crossbeam_channel::Sender;
use service_kit::{
    basics::{Basics, Leaving, finish},
    config::{Config, ConfigError, Settings},
    health::START,
    json, run, serve,
};
use tokio::sync::oneshot;

// As the command service has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// As long as the answer to a note.
const ANSWER: &[u8] = br#"{"order_id":"00000000-0000-0000-0000-000000000000","sequence":2,"command_id":"00000000-0000-0000-0000-000000000000","status":"confirmed","note_id":"00000000-0000-0000-0000-000000000000"}"#;

/// How long answers gather that come late: about a record's way to the broker and back.
const GATHER: Duration = Duration::from_millis(2);

#[derive(Clone, Debug)]
struct ConstantConfig {
    listen: SocketAddr,
    late: bool,
}

impl Config for ConstantConfig {
    fn read(settings: &Settings) -> Result<Self, ConfigError> {
        Ok(Self {
            listen: settings.listen("127.0.0.1:8088")?,
            late: settings.parse_or("CONSTANT_LATE", false)?,
        })
    }
}

fn main() -> ExitCode {
    run::main("constant", constant)
}

async fn constant(context: run::Context<ConstantConfig>) -> anyhow::Result<()> {
    let listener = serve::bind(context.config.listen).await?;
    let note = if context.config.late {
        let waiting = late();
        post(move |_: Path<String>, _: Bytes| {
            let (reply, answer) = oneshot::channel();
            // The thread lives as long as this.
            let _ = waiting.send(reply);
            async move {
                let _ = answer.await;
                noted()
            }
        })
    } else {
        post(|_: Path<String>, _: Bytes| async { noted() })
    };
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

fn noted() -> Response {
    json::respond_bytes(201, Bytes::from_static(ANSWER))
}

/// A thread that answers all who wait, every now and then.
fn late() -> Sender<oneshot::Sender<()>> {
    let (waiting, asked) = crossbeam_channel::unbounded::<oneshot::Sender<()>>();
    thread::spawn(move || {
        while let Ok(first) = asked.recv() {
            thread::sleep(GATHER);
            for reply in std::iter::once(first).chain(asked.try_iter()) {
                // Whoever asked may be gone.
                let _ = reply.send(());
            }
        }
    });
    waiting
}
