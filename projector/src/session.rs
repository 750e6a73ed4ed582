//! The life of one generation's projection: sessions, one after another, until it is told to stop.
//!
//! A session reads the stored checkpoints, confirms each against the log, and goes on from there, by the shared reader where
//! that is near, else by one of its own (`feeds`). Whatever goes wrong (the store, Kafka, somebody else who commits) ends the
//! session, and the next one starts from what is stored: there is no other state, so there is nothing to repair.
//!
//! A session works on the partitions that are this projector's (`division`). When those change, it ends, what it holds is
//! dropped, and the next one begins with the others at once. Whoever has a partition then may have begun before this one ended:
//! the compare-and-set of the stores sees to it that one of them notices.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use eventlog::{Checkpoint, LogConfig, LogError, LogReader, TopicPartition};
use read_model::{Committed, Store, StoreError};
use service_kit::Health;
use tokio_util::sync::CancellationToken;

use crate::division::{Share, Shares};
use crate::feed::Missed;
use crate::feeds::{Feeds, Source};
use crate::fold::{Fold, Folded, Load};
use crate::generations::Role;
use crate::halts::Halts;
use crate::lag::Progress;
use crate::metrics::{self, ModelMetrics};
use crate::ring::Places;
use crate::traffic::Traffic;

const CONFIRM_TIMEOUT: Duration = Duration::from_secs(10);
/// After so much time without records the store is looked at.
const IDLE: Duration = Duration::from_secs(1);
/// After so much time without records what is held is stored.
const DRY: Duration = Duration::from_millis(50);
/// Who is far behind waits for longer: it is Kafka that takes its time, and more is to come.
const DRY_FAR: Duration = Duration::from_millis(500);
/// It is stored after so much time anyway.
const HELD_FOR: Duration = Duration::from_secs(5);
/// How long a session may take to come to an end by itself when it is told to stop.
const STOP_WITHIN: Duration = Duration::from_secs(1);
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// What a projection works with, beside its store.
#[derive(Clone, Debug)]
pub(crate) struct Projection {
    pub(crate) log: LogConfig,
    pub(crate) feeds: Arc<Feeds>,
    pub(crate) generation: i32,
    pub(crate) shares: Shares,
    pub(crate) health: Health,
    pub(crate) halts: Halts,
    pub(crate) shutdown: CancellationToken,
    pub(crate) progress: Progress,
    pub(crate) role: Arc<Role>,
    pub(crate) traffic: Arc<Traffic>,
}

impl Projection {
    /// What it is called now.
    fn label<S: Store>(&self) -> &'static str {
        metrics::label(S::MODEL, self.role.leads())
    }

    /// Which one it is.
    const fn id<S: Store>(&self) -> (&'static str, i32) {
        (S::MODEL, self.generation)
    }

    /// The service can do its work without what nobody reads.
    fn down<S: Store>(&self, reason: String) {
        if self.role.leads() {
            self.health.down(S::MODEL, reason);
        }
    }
}

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("the projector stops")]
    Stopped,
    #[error("other partitions are this projector's now")]
    Reassigned,
    #[error("somebody else moved a checkpoint, or the store lost it")]
    Superseded,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Reader(Missed),
    #[error("the log did not show the records of the checkpoints in time")]
    Unconfirmed,
}

impl Ended {
    const fn label(&self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Reassigned => "reassigned",
            Self::Superseded => "superseded",
            Self::Store(_) => "store",
            Self::Log(_) | Self::Reader(_) | Self::Unconfirmed => "log",
        }
    }
}

/// Projects into one store until the projector stops.
pub(crate) async fn keep_projecting<S: Store>(mut store: S, projection: Projection) -> anyhow::Result<()> {
    let (metrics, mut pause) = (Handles::new(S::MODEL), PAUSE_MIN);
    let mut shares = projection.shares.clone();
    loop {
        let share = tokio::select! {
            () = projection.shutdown.cancelled() => return Ok(()),
            share = shares.known() => share,
        };
        let begun = Instant::now();
        let ended = tokio::select! {
            // A commit that is cut off here is made again, or turns out to be there: the checkpoint knows.
            () = late(&projection.shutdown) => Ended::Stopped,
            ended = session(&mut store, &projection, &share, &metrics) => ended,
        };
        let model = projection.label::<S>();
        match ended {
            Ended::Stopped => return Ok(()),
            // Who took over may have committed before this one heard of it.
            Ended::Reassigned | Ended::Superseded if shares.has_left(&share) => {
                for partition in share.partitions() {
                    metrics::halted(model, partition).set(0.0);
                }
                metrics::restarts(model, Ended::Reassigned.label()).increment(1);
                continue;
            }
            // Another projector was there, for a moment at a handover or, where it is of a version that knows of no division or
            // does not hear us, again and again: nothing is wrong, and nothing is missing.
            Ended::Superseded => {}
            _ => projection.down::<S>(ended.to_string()),
        }
        metrics::restarts(model, ended.label()).increment(1);
        pause = if begun.elapsed() > PAUSE_MAX {
            PAUSE_MIN
        } else {
            (pause * 2).min(PAUSE_MAX)
        };
        tracing::warn!(model, reason = %ended, pause_ms = pause.as_millis(), "projector.session.restart");
        tokio::select! {
            () = projection.shutdown.cancelled() => return Ok(()),
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// A while after the projector was told to stop. Until then a session may end by itself: what it commits in that moment is
/// there before anybody takes over.
async fn late(shutdown: &CancellationToken) {
    shutdown.cancelled().await;
    tokio::time::sleep(STOP_WITHIN).await;
}

/// Why a session is to end now, once it is.
async fn over(projection: &Projection, shares: &mut Shares, share: &Share) -> Ended {
    tokio::select! {
        () = projection.shutdown.cancelled() => Ended::Stopped,
        _ = shares.other_than(share) => Ended::Reassigned,
    }
}

async fn session<S: Store>(
    store: &mut S,
    projection: &Projection,
    share: &Share,
    handles: &Handles,
) -> Ended {
    match try_session(store, projection, share, handles).await {
        Ok(never) => match never {},
        Err(ended) => ended,
    }
}

async fn try_session<S: Store>(
    store: &mut S,
    projection: &Projection,
    share: &Share,
    handles: &Handles,
) -> Result<std::convert::Infallible, Ended> {
    let (mut shares, partitions) = (projection.shares.clone(), share.partitions());
    let stored = confirmed(store, projection, &partitions).await?;
    let places = stored
        .iter()
        .map(|(partition, checkpoint)| (*partition, resume(checkpoint)))
        .collect();
    let model = projection.label::<S>();
    for partition in &partitions {
        metrics::halted(model, *partition).set(0.0);
    }
    projection.halts.keep(projection.id::<S>(), &partitions);
    projection.progress.begin(&stored);
    if projection.role.leads() {
        projection.health.up(S::MODEL);
    }
    tracing::info!(model, partitions = stored.len(), "projector.session.start");
    if partitions.is_empty() {
        // There are more projectors than partitions: this one stands by.
        return Err(over(projection, &mut shares, share).await);
    }
    let mut source = open(model, projection, share, &places)?;
    let mut fold = Fold::new(stored);
    loop {
        let leads = projection.role.leads();
        projection
            .feeds
            .settle(model, leads, &mut source, || fold.places());
        let patience = match (fold.holds(), source.is_far()) {
            (true, false) => DRY,
            (true, true) => DRY_FAR,
            (false, _) => IDLE,
        };
        let next = tokio::select! {
            biased;
            ended = over(projection, &mut shares, share) => return Err(ended),
            next = tokio::time::timeout(patience, source.subscription.next()) => next,
        };
        let Ok(next) = next else {
            if fold.holds() {
                fold.commit(store).await?;
                note(&mut fold, projection, handles)?;
                continue;
            }
            // Nothing came, so nothing was committed: look whether the store still has what it had.
            if store.checkpoints(&partitions).await? != *fold.stored() {
                return Err(Ended::Superseded);
            }
            continue;
        };
        let chunks = match next {
            Ok(chunks) => chunks,
            Err(Missed::Behind) => {
                source = open(model, projection, share, &fold.places())?;
                continue;
            }
            Err(missed) => return Err(Ended::Reader(missed)),
        };
        let steps = source.subscription.fresh(&chunks);
        if steps.is_empty() {
            continue;
        }
        let (folding, steps_before) = (Instant::now(), projection.traffic.steps());
        let backlog = leads.then(|| projection.traffic.take(steps.len())).flatten();
        // Who is far behind is not waited for.
        let folded = if source.is_far() {
            fold.hold(store, &steps).await?
        } else {
            fold.run(store, &steps).await?
        };
        report_halted::<S>(&folded, projection);
        if fold.held().is_some_and(|held| held.begun.elapsed() > HELD_FOR) {
            fold.commit_beside(store).await?;
        }
        if note(&mut fold, projection, handles)?
            && let Some(delay) = folded.last.and_then(since)
        {
            handles.of(&projection.role).delay_seconds.record(delay);
        }
        drop(backlog);
        if !leads && source.is_far() {
            projection
                .traffic
                .make_way(steps_before, steps.len(), folding.elapsed())
                .await;
        }
    }
}

/// Notes the batches that came to their end; whether there were any.
fn note(fold: &mut Fold, projection: &Projection, handles: &Handles) -> Result<bool, Ended> {
    let ended = fold.take_ended();
    for (committed, Load { begun, records }) in &ended {
        if *committed == Committed::Superseded {
            return Err(Ended::Superseded);
        }
        let metrics = handles.of(&projection.role);
        metrics.commit_seconds.record(begun.elapsed());
        metrics.records.increment(*records as u64);
        #[allow(clippy::cast_precision_loss, reason = "a histogram is of floats")]
        metrics.batch_records.record(*records as f64);
    }
    if !ended.is_empty() {
        projection.progress.note(fold.stored());
    }
    Ok(!ended.is_empty())
}

/// Where reading goes on: right behind the last effective record. The void ones behind it are looked at again, since the
/// link vouches for nothing but effective records: what is there now may be others.
fn resume(checkpoint: &Checkpoint) -> Checkpoint {
    Checkpoint {
        next_offset: checkpoint.last_offset + 1,
        ..*checkpoint
    }
}

fn open(
    model: &'static str,
    projection: &Projection,
    share: &Share,
    places: &Places,
) -> Result<Source, Ended> {
    projection
        .feeds
        .open(model, projection.role.leads(), share.epoch, places)
        .map_err(|error| StoreError::Corrupt(format!("no thread for the reader: {error}")).into())
}

/// The stored checkpoints, each confirmed by the record that it was taken after; where the log has another, the partition
/// is thrown away and made again from its beginning.
async fn confirmed<S: Store>(
    store: &mut S,
    projection: &Projection,
    partitions: &[TopicPartition],
) -> Result<BTreeMap<TopicPartition, Checkpoint>, Ended> {
    // Also where there are none: it lets go of what was taken in and not committed.
    let mut stored = store.checkpoints(partitions).await?;
    if stored.is_empty() {
        return Ok(stored);
    }
    let (log, asked) = (projection.log.clone(), stored.clone());
    let lost = tokio::task::spawn_blocking(move || unconfirmed(&log, &asked))
        .await
        .map_err(|error| StoreError::Corrupt(error.to_string()))??;
    if !lost.is_empty() {
        projection.feeds.retire();
    }
    for partition in lost {
        let found = stored.get(&partition).copied().unwrap_or(Checkpoint::BEGINNING);
        tracing::error!(
            model = projection.label::<S>(), topic = metrics::topic(partition), partition = partition.partition,
            next_offset = found.next_offset, last_offset = found.last_offset, link = %found.link,
            "projector.checkpoint.lost: the log has no such record any more; the partition is projected again from its beginning"
        );
        metrics::resets(projection.label::<S>(), partition).increment(1);
        store.reset(partition, found).await?;
        stored.insert(partition, Checkpoint::BEGINNING);
    }
    Ok(stored)
}

/// The partitions whose log does not have the record that their checkpoint was taken after.
fn unconfirmed(
    log: &LogConfig,
    stored: &BTreeMap<TopicPartition, Checkpoint>,
) -> Result<Vec<TopicPartition>, Ended> {
    let mut reader = LogReader::new(log, "projector-confirm")?;
    let (mut lost, mut wanted) = (Vec::new(), BTreeMap::new());
    for (partition, checkpoint) in stored
        .iter()
        .filter(|(_, checkpoint)| checkpoint.last_offset >= 0)
    {
        let (low, high) = reader.watermarks(*partition, CONFIRM_TIMEOUT)?;
        if (low..high).contains(&checkpoint.last_offset) {
            wanted.insert(*partition, *checkpoint);
        } else {
            lost.push(*partition);
        }
    }
    let starts: Vec<_> = wanted
        .iter()
        .map(|(partition, checkpoint)| (*partition, checkpoint.last_offset))
        .collect();
    reader.assign(&starts)?;
    let deadline = Instant::now() + CONFIRM_TIMEOUT;
    while !wanted.is_empty() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Ended::Unconfirmed);
        }
        // The first record of each partition is the one that was asked for.
        if let Some((partition, record)) = reader.poll(left)?
            && let Some(checkpoint) = wanted.remove(&partition)
            && !checkpoint.confirmed_by(Some(&record))
        {
            lost.push(partition);
        }
    }
    Ok(lost)
}

fn report_halted<S: Store>(folded: &Folded, projection: &Projection) {
    let model = projection.label::<S>();
    for (partition, reason) in &folded.halted {
        let (topic, number) = (metrics::topic(*partition), partition.partition);
        tracing::error!(
            model,
            topic,
            partition = number,
            reason,
            "projector.partition.halted: its views stand still until the cause is gone and the projector is started again"
        );
        metrics::halted(model, *partition).set(1.0);
        let reason = format!("{topic} {number} ({model}): {reason}");
        projection.halts.add(projection.id::<S>(), *partition, reason);
    }
}

/// Metrics for both roles.
struct Handles {
    leading: ModelMetrics,
    beside: ModelMetrics,
}

impl Handles {
    fn new(model: &'static str) -> Self {
        Self {
            leading: ModelMetrics::new(metrics::label(model, true)),
            beside: ModelMetrics::new(metrics::label(model, false)),
        }
    }

    fn of(&self, role: &Role) -> &ModelMetrics {
        if role.leads() { &self.leading } else { &self.beside }
    }
}

/// Time since an event, by this machine's clock.
fn since(at: schemas::Timestamp) -> Option<Duration> {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .ok()?;
    now.checked_sub(Duration::from_micros(u64::try_from(at.micros()).ok()?))
}
