//! The tail's life: sessions, one after another, for as long as the service runs.
//!
//! A session starts where the one before ended, if the log still has what that read; else everything that is known is
//! thrown away, and it starts where the models are. Whatever goes wrong ends the session, and the next one looks again.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use eventlog::{LogConfig, Topic, registry};
use schemas::Codec;
use service_kit::config::SecretUrl;
use tokio_util::sync::CancellationToken;

use super::follow::{self, Ended, Places};
use super::{Tail, start};
use crate::ends::Ends;
use crate::metrics;
use crate::models::Models;

const PAUSE: Duration = Duration::from_millis(500);
const LOG_EVERY: Duration = Duration::from_secs(10);
/// How often the log is asked for its ends.
const HEAR_EVERY: Duration = Duration::from_millis(500);
/// How long the tail may take to come as far as those.
const HEAR_WITHIN: Duration = Duration::from_secs(5);

/// What the tail works with.
#[derive(Clone, Debug)]
pub(crate) struct Following {
    pub(crate) log: LogConfig,
    pub(crate) registry_url: SecretUrl,
    /// Where verified schema ids are kept.
    pub(crate) data_dir: Option<PathBuf>,
    pub(crate) models: Models,
    pub(crate) ends: Ends,
}

/// Follows the log until the service stops.
pub(crate) async fn keep(following: Following, tail: Arc<Tail>, shutdown: CancellationToken) {
    tokio::select! {
        never = follow_for_ever(&following, &tail, &shutdown) => match never {},
        () = shutdown.cancelled() => {}
    }
}

async fn follow_for_ever(
    following: &Following,
    tail: &Arc<Tail>,
    shutdown: &CancellationToken,
) -> Infallible {
    let codec = Arc::new(codec(following).await);
    let mut known: Option<Places> = None;
    loop {
        let places = begin(following, tail, known.take()).await;
        tracing::info!(partitions = places.len(), "query.tail.start");
        let stop = shutdown.child_token();
        let _stops_with_this = stop.clone().drop_guard();
        let ended = follow::spawn(
            following.log.clone(),
            Arc::clone(&codec),
            places,
            Arc::clone(tail),
            stop.clone(),
        );
        tokio::pin!(ended);
        let ended = tokio::select! {
            ended = &mut ended => ended,
            () = listen(following, tail) => {
                stop.cancel();
                ended.await
            }
        };
        let (reason, places) = match ended {
            Ok((reason, places)) => (reason, Some(places)),
            Err(_) => (Ended::Thread, None),
        };
        tracing::warn!(%reason, "query.tail.restart");
        metrics::tail_restarted();
        known = places;
        tokio::time::sleep(PAUSE).await;
    }
}

/// How to decode: waits for the registry, unless the ids were verified before and are on disk.
async fn codec(following: &Following) -> Codec {
    let mut logged: Option<Instant> = None;
    loop {
        let url = following.registry_url.expose();
        match registry::load_codec(url, &following.log.prefix, following.data_dir.as_deref()).await {
            Ok(codec) => return codec,
            Err(error) => say(&mut logged, &error),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Where to follow from. What is known stays if the log still has what it was learnt from; else it is forgotten, and what can
/// be known begins where the models are.
async fn begin(following: &Following, tail: &Tail, known: Option<Places>) -> Places {
    let mut logged: Option<Instant> = None;
    if let Some(known) = known {
        loop {
            match start::confirmed(&following.log, known.clone()).await {
                Ok(true) => {
                    return known
                        .into_iter()
                        .map(|(partition, place)| (partition, start::resume(place)))
                        .collect();
                }
                Ok(false) => break,
                Err(error) => say(&mut logged, &error),
            }
            tokio::time::sleep(PAUSE).await;
        }
        tracing::error!(
            "query.tail.lost: the log does not have any more what was read of it; everything in memory is thrown away"
        );
    }
    tail.tags().forget();
    tail.ring().begin([].into());
    let partitions: Vec<_> = tail.partitions().collect();
    let places = loop {
        match start::of_models(&following.models, &following.log, &partitions).await {
            Ok(places) => break places,
            Err(error) => say(&mut logged, &error),
        }
        tokio::time::sleep(PAUSE).await;
    };
    let of_orders = places
        .iter()
        .filter(|(partition, _)| partition.topic == Topic::Orders)
        .map(|(partition, place)| (partition.partition, place.next_offset));
    tail.ring().begin(of_orders.collect());
    for (partition, place) in &places {
        tail.tags().begin(*partition, place.next_offset);
    }
    tail.say_moved();
    places
}

/// Asks the log for its ends, again and again, and notes when the tail is known to have had everything. Returns where the log is
/// shorter than what was read of it.
async fn listen(following: &Following, tail: &Tail) {
    let partitions: Vec<_> = tail.partitions().collect();
    loop {
        let (asked, mut moved) = (Instant::now(), tail.moved.subscribe());
        let had: Vec<i64> = partitions
            .iter()
            .map(|partition| tail.tags().position(*partition))
            .collect();
        if let Some(ends) = following.ends.of(partitions.clone()).await {
            let end = |partition| ends.get(partition).unwrap_or(0);
            if partitions
                .iter()
                .zip(&had)
                .any(|(partition, had)| end(*partition) < *had)
            {
                return;
            }
            let lag: i64 = partitions
                .iter()
                .zip(&had)
                .map(|(partition, had)| end(*partition) - had)
                .sum();
            metrics::tail_lag(lag);
            let has_all = || {
                partitions
                    .iter()
                    .all(|partition| tail.tags().position(*partition) >= end(*partition))
            };
            let caught_up = async { while !has_all() && moved.changed().await.is_ok() {} };
            if tokio::time::timeout(HEAR_WITHIN, caught_up).await.is_ok() {
                tail.heard(asked);
            }
        }
        tokio::time::sleep_until((asked + HEAR_EVERY).into()).await;
    }
}

fn say(logged: &mut Option<Instant>, error: &dyn std::fmt::Display) {
    if logged.is_none_or(|at| at.elapsed() > LOG_EVERY) {
        tracing::warn!(%error, "query.tail.wait");
        *logged = Some(Instant::now());
    }
}
