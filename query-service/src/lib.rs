//! REST reads from the read models, as fresh as each caller asks.
//!
//! * [`http`] has the endpoints: what is asked, and how it is answered.
//! * `reads` finds a model that is far enough: Redis, Postgres, whichever is there first, or nobody in time.
//! * `watcher` knows how far the models are, while somebody waits; `ends` how far the log is, when a token seems to be ahead of it.
//! * `identity` is which log the tokens belong to.
//!
//! **Architecture invariant:** an answer is never older than the token that its request brought. What decides it is the position
//! that came with the data, in the same call; what the watcher saw only says when to look again.

mod config;
mod cursor;
mod ends;
pub mod http;
mod identity;
mod metrics;
mod models;
mod reads;
mod watcher;

use std::sync::{Arc, OnceLock};

use anyhow::Context as _;
use eventlog::LogConfig;
use service_kit::basics::{self, Basics};
use service_kit::{run::Context, serve};

pub use config::QueryConfig;

use crate::ends::Ends;
use crate::http::App;
use crate::models::Models;
use crate::reads::Reads;

/// Runs the query service until it is told to stop.
///
/// # Errors
/// Where the address to listen on is taken, or the topics are not as they must be.
pub async fn run(context: Context<QueryConfig>) -> anyhow::Result<()> {
    let Context {
        config,
        health,
        metrics,
        shutdown,
        ..
    } = context;
    crate::metrics::describe();
    let listener = serve::bind(config.listen).await?;
    let log = LogConfig {
        bootstrap: config.kafka.bootstrap.clone(),
        prefix: config.kafka.prefix.clone(),
    };
    let models = Models::new(
        config.database.url.expose(),
        config.redis.url.expose(),
        &config.redis.prefix,
        &shutdown,
    )?;
    let reads = Reads::new(models.clone(), Ends::spawn(log.clone())?);
    let app = Arc::new(App {
        reads,
        identity: OnceLock::new(),
    });
    let basics = Basics {
        health: health.clone(),
        metrics,
        openapi: Some(http::openapi()),
        problems: http::problems(),
        leaving: basics::Leaving::default(),
    };
    let router = basics::finish(http::routes(Arc::clone(&app)), basics);
    let server = tokio::spawn(serve::serve(listener, router, shutdown.clone()));
    tokio::select! {
        learnt = identity::learn(&log, &config.token.key, &models, &app.identity, &health) => learnt?,
        () = shutdown.cancelled() => {}
    }
    tokio::select! {
        watched = identity::watch(&log, &app.identity, &models, &health) => watched?,
        () = shutdown.cancelled() => {}
    }
    server.await.context("the HTTP server panicked")?
}
