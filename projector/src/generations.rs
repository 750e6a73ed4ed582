//! Which generations of a model are projected: all of this code's version that there are, each in a task of its own.
//!
//! It looks again and again, so that one that is made is filled, and one that is discarded is left alone. It makes those
//! that have come to the end of the log ready to be read; and where nothing is live, because all was lost or this is a new
//! version, it makes what is ready live. Any number of projectors may do so at the same time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use eventlog::{LogConfig, LogError, LogReader, Positions, TopicPartition};
use read_model::StoreError;
use read_model::generations::{self, Generation, Generations, State};
use service_kit::Health;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::division::Shares;
use crate::feeds::Feeds;
use crate::halts::Halts;
use crate::lag::{Progress, Watched};
use crate::session::{self, Projection};
use crate::traffic::Traffic;

/// Between two looks.
const EVERY: Duration = Duration::from_millis(250);
/// Between two looks while something is being filled, which somebody waits for.
const EVERY_FILLING: Duration = Duration::from_millis(100);
const LOG_TIMEOUT: Duration = Duration::from_secs(5);

/// What a generation is to its model.
#[derive(Debug, Default)]
pub(crate) struct Role(AtomicBool);

impl Role {
    fn of(leads: bool) -> Arc<Self> {
        Arc::new(Self(AtomicBool::new(leads)))
    }

    /// Whether it is what is read, or will be as soon as it can: nothing else is.
    pub(crate) fn leads(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn set(&self, leads: bool) {
        self.0.store(leads, Ordering::Relaxed);
    }
}

/// What all models share.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    pub(crate) log: LogConfig,
    pub(crate) feeds: Arc<Feeds>,
    /// Which partitions are this projector's.
    pub(crate) shares: Shares,
    pub(crate) health: Health,
    pub(crate) halts: Halts,
    pub(crate) shutdown: CancellationToken,
    pub(crate) watched: Watched,
    pub(crate) traffic: Arc<Traffic>,
    /// How many partitions each topic has.
    pub(crate) count: i32,
}

impl Shared {
    /// All that there are: how far a generation is, is asked of the whole of it.
    fn partitions(&self) -> Vec<TopicPartition> {
        TopicPartition::all(self.count).collect()
    }
}

/// A generation that is projected.
struct Running {
    role: Arc<Role>,
    progress: Progress,
    stop: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

/// Why a look came to nothing.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Log(#[from] LogError),
}

/// Projects every generation of a model until the projector stops.
pub(crate) async fn keep<G: Generations>(generations: G, shared: Shared) -> anyhow::Result<()> {
    let model = G::MODEL;
    let mut running: BTreeMap<i32, Running> = BTreeMap::new();
    let mut ends = None;
    while !shared.shutdown.is_cancelled() {
        let mut every = EVERY;
        match look(&generations).await {
            Ok(all) => {
                follow(&generations, &shared, &all, &mut running).await?;
                if all.iter().any(|one| one.state == State::Filling) {
                    every = EVERY_FILLING;
                }
                if let Err(trouble) = advance(&generations, &shared, &all, &mut ends).await {
                    tracing::warn!(model, %trouble, "projector.generation.wait");
                }
            }
            Err(error) => {
                if running.is_empty() {
                    shared.health.down(model, error.to_string());
                }
                tracing::warn!(model, %error, "projector.generations.unknown");
            }
        }
        tokio::select! {
            () = shared.shutdown.cancelled() => {}
            () = tokio::time::sleep(every) => {}
        }
    }
    for (_, one) in running {
        one.task.await??;
    }
    Ok(())
}

/// Those of this version; the first one is begun where there is none.
async fn look<G: Generations>(generations: &G) -> Result<Vec<Generation>, StoreError> {
    let mut all = generations.list().await?;
    if !all.iter().any(Generation::is_ours) {
        generations.begin().await?;
        all = generations.list().await?;
    }
    all.retain(Generation::is_ours);
    Ok(all)
}

/// Starts and stops what is to be projected, and says to each what it is.
async fn follow<G: Generations>(
    generations: &G,
    shared: &Shared,
    all: &[Generation],
    running: &mut BTreeMap<i32, Running>,
) -> anyhow::Result<()> {
    let model = G::MODEL;
    let leader = generations::live(all).or_else(|| all.last().copied());
    let is_leader = |number: i32| leader.is_some_and(|leader| leader.number == number);
    let gone: Vec<i32> = running
        .keys()
        .copied()
        .filter(|number| all.iter().all(|one| one.number != *number))
        .collect();
    for number in gone {
        if let Some(one) = running.remove(&number) {
            tracing::info!(model, generation = number, "projector.generation.left");
            one.stop.cancel();
            one.task.await??;
            shared.watched.remove(&one.progress);
            shared.halts.keep((model, number), &[]);
        }
    }
    for (number, one) in running.iter() {
        one.role.set(is_leader(*number));
    }
    for generation in all {
        let number = generation.number;
        if running.contains_key(&number) {
            continue;
        }
        tracing::info!(model, generation = number, state = %generation.state, "projector.generation.found");
        let role = Role::of(is_leader(number));
        let progress = Progress::new(model, Arc::clone(&role));
        let stop = shared.shutdown.child_token();
        let projection = Projection {
            log: shared.log.clone(),
            feeds: Arc::clone(&shared.feeds),
            generation: number,
            shares: shared.shares.clone(),
            health: shared.health.clone(),
            halts: shared.halts.clone(),
            shutdown: stop.clone(),
            progress: progress.clone(),
            role: Arc::clone(&role),
            traffic: Arc::clone(&shared.traffic),
        };
        shared.watched.add(progress.clone());
        let task = tokio::spawn(session::keep_projecting(generations.store(number)?, projection));
        let started = Running {
            role,
            progress,
            stop,
            task,
        };
        running.insert(number, started);
    }
    Ok(())
}

/// What is asked where the log ends while something is being filled, and where it ended at the last look.
struct Ends {
    reader: Arc<LogReader>,
    before: Option<Positions>,
}

impl Ends {
    /// Where it ended at the last look: it goes on meanwhile, so who has come that far is near.
    async fn look(&mut self, shared: &Shared) -> Result<Positions, Trouble> {
        let (reader, partitions) = (Arc::clone(&self.reader), shared.partitions());
        let asked = tokio::task::spawn_blocking(move || reader.ends(partitions, LOG_TIMEOUT)).await;
        let now = asked.map_err(|error| StoreError::Corrupt(error.to_string()))??;
        let now: Positions = now.into_iter().collect();
        Ok(self.before.replace(now.clone()).unwrap_or(now))
    }
}

/// Makes ready what has come to the end of the log, and live what nothing else is.
async fn advance<G: Generations>(
    generations: &G,
    shared: &Shared,
    all: &[Generation],
    ends: &mut Option<Ends>,
) -> Result<(), Trouble> {
    let live = generations::live(all);
    let mut behind: Vec<Generation> = all
        .iter()
        .filter(|one| one.state == State::Filling)
        .copied()
        .collect();
    let torn = match live {
        Some(live) if !generations.is_whole(live.number).await? => Some(live),
        _ => None,
    };
    behind.extend(torn);
    if behind.is_empty() {
        if let Some(ends) = ends.take() {
            // A client that goes may block for a while.
            tokio::task::spawn_blocking(move || drop(ends));
        }
    } else {
        let ends = match ends {
            Some(ends) => ends,
            None => ends.insert(Ends {
                reader: Arc::new(LogReader::new(&shared.log, "projector-ends")?),
                before: None,
            }),
        };
        let upto = ends.look(shared).await?;
        for one in behind {
            let (number, at) = (one.number, generations.positions(one).await?);
            if upto
                .iter()
                .all(|(partition, end)| at.get(partition).unwrap_or(0) >= end)
            {
                tracing::info!(
                    model = G::MODEL,
                    generation = number,
                    "projector.generation.filled"
                );
                if Some(one) == torn {
                    // Not a switch: another one may have become live since it was looked at, and was no tear.
                    generations.mend(number).await?;
                } else {
                    generations.complete(number).await?;
                }
            }
        }
    }
    if live.is_none() {
        let all = generations.list().await?;
        let ready = |one: &&Generation| one.is_ours() && matches!(one.state, State::Ready | State::Kept);
        if generations::live(&all).is_none()
            && let Some(newest) = all.iter().rfind(ready)
        {
            tracing::info!(
                model = G::MODEL,
                generation = newest.number,
                "projector.generation.live"
            );
            generations.switch(newest.number).await?;
        }
    }
    Ok(())
}
