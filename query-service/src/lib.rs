//! REST reads from the read models, as fresh as each caller asks.
//!
//! * [`http`] has the endpoints: what is asked, and how it is answered.
//! * `reads` finds an answer that is far enough: in memory, in Redis or Postgres, whichever is there first, or nowhere in time.
//! * `models` are asked for it, and `answers` makes of what they say what goes out, with `documents` for what is no single view.
//! * `watcher` knows how far the models are, while somebody waits; `ends` how far the log is, when a token seems to be ahead of it.
//! * `tail` follows the topics, and so knows what changed; `cache` keeps answers until then.
//! * `live` are streams of events: what is kept first, then what the tail brings.
//! * [`cursor`] is where the next page of a list begins.
//! * [`bugs`] are mistakes that tests put in, to show that they would be found.
//! * [`writers`] asks the writers how far the log goes, proven, and what an aggregate is.
//! * `identity` is which log the tokens belong to.
//!
//! **Architecture invariant:** an answer is never older than the token that its request brought. What decides it is the position
//! that came with the data, in the same call; what the watcher saw only says when to look again.

mod answers;
pub mod bugs;
mod cache;
mod config;
pub mod cursor;
mod documents;
mod ends;
pub mod http;
mod identity;
mod live;
mod metrics;
mod models;
mod reads;
mod tail;
mod watcher;
pub mod writers;

use std::sync::{Arc, OnceLock};

use anyhow::Context as _;
use eventlog::LogConfig;
use service_kit::basics::{self, Basics};
use service_kit::health::START;
use service_kit::{run::Context, serve};

pub use config::QueryConfig;

use crate::cache::Cache;
use crate::ends::Ends;
use crate::http::{App, Known};
use crate::live::Streams;
use crate::models::Models;
use crate::reads::Reads;
use crate::tail::{Following, Tail};
use crate::writers::Writers;

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
        &log.prefix,
        &shutdown,
    )?;
    let ends = Ends::spawn(log.clone())?;
    let writers = Writers::new(config.command_urls.clone(), &config.token.key)?;
    let streams = Streams::new(
        config.streams,
        &log.prefix,
        models.clone(),
        ends.clone(),
        &shutdown,
    );
    let app = Arc::new(App {
        reads: Reads::new(models.clone(), ends.clone(), writers),
        streams: Arc::new(streams),
        known: OnceLock::new(),
    });
    let basics = Basics {
        health: health.clone(),
        metrics,
        openapi: Some(http::openapi()),
        problems: http::problems(),
        leaving: basics::Leaving::default(),
        streams: &http::STREAMS,
    };
    let front = basics::finish_with_shortcut(
        http::routes(Arc::clone(&app)),
        basics,
        http::shortcut(Arc::clone(&app)),
    );
    let server = tokio::spawn(serve::serve_front(listener, front, shutdown.clone()));
    let work = async {
        let identity = identity::learn(&log, &config.token.key, &models, &health).await?;
        let (tags_bytes, live_bytes) = (config.cache.tags_mib << 20, config.cache.live_mib << 20);
        let tail = Arc::new(Tail::new(identity.partitions, tags_bytes, live_bytes));
        let following = Following {
            log: log.clone(),
            registry_url: config.registry.url.clone(),
            data_dir: config.data_dir.clone(),
            models: models.clone(),
            ends,
        };
        tokio::spawn(tail::keep(following, Arc::clone(&tail), shutdown.clone()));
        let cache = Cache::new(tail, config.cache.cache_mib << 20);
        let known = app.known.get_or_init(|| Arc::new(Known { identity, cache }));
        health.up(START);
        identity::watch(&log, &known.identity, &models, &health).await
    };
    tokio::select! {
        worked = work => worked?,
        () = shutdown.cancelled() => {}
    }
    server.await.context("the HTTP server panicked")?
}
