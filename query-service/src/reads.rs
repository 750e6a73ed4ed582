//! Finds an answer that is far enough: in memory, in a model, by waiting for one, at the writer; or says that there is none.
//!
//! What decides it is the position that came with the data. What the tail and the watchers saw only says what is still true,
//! and when to look again.

mod fallback;
mod wait;

use std::sync::Arc;
use std::time::{Duration, Instant};

use eventlog::{Positions, Topic, TopicPartition};
use service_kit::Problem;
use service_kit::problem::kinds;
use tokio::sync::watch;

use crate::answers::answer;
use crate::bugs::Bug;
use crate::cache::entry::Entry;
use crate::cache::flights::{Flights, Round, Wanted};
use crate::cache::key::{Key, KeyRef};
use crate::ends::Ends;
use crate::http::Known;
use crate::metrics;
use crate::models::{Model, Models, Query};
use crate::writers::Writers;
use wait::NotYet;

/// What `Retry-After` says.
const RETRY_AFTER_S: u32 = 1;
/// How long a proof may take, however short the caller's patience: it waits for the request of those who came before, then takes
/// a round trip or two itself, which is a third of a second where the machine is small and busy.
const PROOF_TIMEOUT_MIN: Duration = Duration::from_secs(1);

/// What a read asks for, beside the query.
#[derive(Clone, Debug)]
pub(crate) struct Need {
    /// At least this.
    pub(crate) wanted: Positions,
    /// How long to wait for it.
    pub(crate) patience: Duration,
    /// From this model only.
    pub(crate) only: Option<Model>,
}

/// Who answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Memory,
    Model(Model),
    Writer,
}

impl Source {
    /// As in `Served-From`.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Model(model) => model.name(),
            Self::Writer => "writer",
        }
    }
}

/// An answer, and who gave it.
#[derive(Clone, Debug)]
pub(crate) struct Served {
    pub(crate) source: Source,
    pub(crate) entry: Arc<Entry>,
}

/// Reads.
#[derive(Clone, Debug)]
pub(crate) struct Reads {
    models: Arc<Models>,
    ends: Ends,
    writers: Writers,
    flights: Arc<Flights<Key, (Model, Arc<Entry>)>>,
}

impl Reads {
    pub(crate) fn new(models: Models, ends: Ends, writers: Writers) -> Self {
        Self {
            models: Arc::new(models),
            ends,
            writers,
            flights: Arc::default(),
        }
    }

    /// The event topic of that name.
    pub(crate) fn topic(&self, name: &str) -> Option<Topic> {
        self.models.topic(name)
    }

    /// Raises what is wanted to everything that was acknowledged before the call, as the writers prove it.
    pub(crate) async fn prove(&self, known: &Known, query: &Query, need: &mut Need) -> Result<(), Problem> {
        let begun = Instant::now();
        let partitions = query.partitions(known.identity.partitions);
        let timeout = need.patience.max(PROOF_TIMEOUT_MIN);
        match self.writers.prove(&partitions, timeout).await {
            Ok(proven) => {
                metrics::proven(begun.elapsed());
                need.wanted.merge(&proven);
                need.patience = need.patience.saturating_sub(begun.elapsed());
                Ok(())
            }
            Err(error) => {
                tracing::debug!(%error, "query.proof.failed");
                metrics::refused("no-proof");
                let detail = "No writer says now how far the log goes.";
                Err(Problem::of(&kinds::STRONG_UNAVAILABLE, detail).with_retry_after(RETRY_AFTER_S))
            }
        }
    }

    /// The answer from memory, if there is one that will do: no waiting, no copying.
    pub(crate) fn from_memory(known: &Known, key: &KeyRef<'_>, need: &Need) -> Option<Served> {
        if need.only.is_some() {
            return None;
        }
        let entry = known.cache.get(key, &need.wanted).ok()?;
        Some(Served {
            source: Source::Memory,
            entry,
        })
    }

    /// An answer that is as far as is wanted; or the problem why there is none. Memory was asked, and had none.
    pub(crate) async fn read(
        &self,
        known: &Arc<Known>,
        query: &Query,
        need: &Need,
    ) -> Result<Served, Problem> {
        let count = known.identity.partitions;
        let mut wanted = if need.wanted.is_empty() {
            Positions::new()
        } else {
            matter(&need.wanted, &query.partitions(count))
        };
        if Bug::WrongPartition.is_in() {
            self.wait_elsewhere(query, need, count).await;
            wanted = Positions::new();
        }
        let key = query.key().filter(|_| need.only.is_none());
        let mut candidates: Vec<Model> = Model::ALL
            .into_iter()
            .filter(|model| query.can_ask(*model) && need.only.is_none_or(|only| only == *model))
            .collect();
        candidates.sort_by_key(|model| self.models.is_spared(*model));
        let (begun, mut suspected) = (Instant::now(), false);
        loop {
            let round = self.ask(known, query, key.as_ref(), &candidates, &wanted).await;
            let failed = round.best.is_none();
            if let Some((model, entry)) = round.best
                && known.cache.is_enough(&entry, &wanted)
            {
                known.cache.metrics().served(model);
                if begun.elapsed() > Duration::from_millis(1) && !wanted.is_empty() {
                    metrics::waited(begun.elapsed());
                }
                let source = Source::Model(model);
                return Ok(Served { source, entry });
            }
            if failed && let Some(served) = spare(known, key.as_ref(), &wanted) {
                return Ok(served);
            }
            if candidates.is_empty() || (failed && wanted.is_empty()) {
                metrics::refused("models");
                return Err(no_model());
            }
            if failed && begun.elapsed() >= need.patience {
                return self.at_last(known, query, need, &wanted, no_model()).await;
            }
            // Another one's fill may have ended before it heard of us.
            if round
                .judged
                .is_some_and(|judged| !crate::watcher::covers(&judged, &wanted))
            {
                continue;
            }
            let left = need.patience.saturating_sub(begun.elapsed());
            match self.wait(&candidates, &wanted, count, left, &mut suspected).await {
                // Whoever got there first is asked first.
                Ok(first) => candidates.sort_by_key(|model| *model != first),
                Err(NotYet::Future) => {
                    metrics::refused("future-token");
                    return Err(Problem::future_token(RETRY_AFTER_S));
                }
                Err(NotYet::InTime) => {
                    let problem =
                        Problem::not_yet_visible("Nobody came as far as the token in time.", RETRY_AFTER_S);
                    return self.at_last(known, query, need, &wanted, problem).await;
                }
            }
            if let Some(key) = &key
                && let Ok(entry) = known.cache.get(&key.as_ref(), &wanted)
            {
                let source = Source::Memory;
                return Ok(Served { source, entry });
            }
        }
    }

    /// At the end of patience: the writer, else the problem.
    async fn at_last(
        &self,
        known: &Arc<Known>,
        query: &Query,
        need: &Need,
        wanted: &Positions,
        problem: Problem,
    ) -> Result<Served, Problem> {
        if need.only.is_none()
            && let Some(served) = self.of_writer(known, query, wanted).await
        {
            return Ok(served);
        }
        metrics::refused(match problem.slug() {
            "not-yet-visible" => "not-yet-visible",
            _ => "models",
        });
        Err(problem)
    }

    /// Asks the models once, with all others who ask the same.
    async fn ask(
        &self,
        known: &Arc<Known>,
        query: &Query,
        key: Option<&Key>,
        candidates: &[Model],
        wanted: &Positions,
    ) -> Round<(Model, Arc<Entry>)> {
        let Some(key) = key else {
            let get = || wanted.clone();
            return ask_each(&self.models, known, query, candidates, get, |_| {}).await;
        };
        let enough = |(_, entry): &(Model, Arc<Entry>)| known.cache.is_enough(entry, wanted);
        let fill = |all: Arc<Wanted>, say: watch::Sender<Round<_>>| {
            let (models, known) = (Arc::clone(&self.models), Arc::clone(known));
            let (query, key, candidates) = (query.clone(), key.clone(), candidates.to_vec());
            async move {
                let filling = known.cache.metrics().fill(query.kind());
                let tell = |best: &(Model, Arc<Entry>)| {
                    say.send_replace(Round {
                        best: Some(best.clone()),
                        judged: None,
                    });
                };
                let round = ask_each(&models, &known, &query, &candidates, || all.get(), tell).await;
                if let Some((_, entry)) = &round.best {
                    known.cache.put(key, entry);
                }
                drop(filling);
                round
            }
        };
        let (round, joined) = self.flights.share(key, wanted, enough, fill).await;
        if joined {
            known.cache.metrics().joined(query.kind());
        }
        round
    }

    /// What [`Bug::WrongPartition`] does.
    async fn wait_elsewhere(&self, query: &Query, need: &Need, count: i32) {
        let next = |partition: &TopicPartition| TopicPartition {
            partition: (partition.partition + 1) % count.max(1),
            ..*partition
        };
        let others: Vec<_> = query.partitions(count).iter().map(next).collect();
        let wanted = matter(&need.wanted, &others);
        if !wanted.is_empty() {
            let watcher = self.models.watcher(Model::Postgres);
            let _ = tokio::time::timeout(need.patience, watcher.covers(&wanted, count)).await;
        }
    }
}

/// Asks one model after the other, until one is far enough for all who wait; the furthest answer.
async fn ask_each(
    models: &Models,
    known: &Known,
    query: &Query,
    candidates: &[Model],
    wanted: impl Fn() -> Positions,
    tell: impl Fn(&(Model, Arc<Entry>)),
) -> Round<(Model, Arc<Entry>)> {
    let identity = &known.identity;
    let alone = candidates.len() == 1;
    let mut best: Option<(Model, Arc<Entry>)> = None;
    let mut judged = Positions::new();
    for model in candidates {
        let generation = known.cache.tail().tags().generation();
        if let Ok(found) = models.ask(*model, query, identity.partitions, alone).await {
            let tags = known.cache.tail().tags();
            let entry = answer(query, found, generation, tags, &identity.key, identity.partitions);
            let further = best
                .as_ref()
                .is_none_or(|(_, best)| !best.was_read_at(&entry.seen));
            if further {
                let answer = (*model, entry);
                tell(&answer);
                best = Some(answer);
            }
        }
        judged = wanted();
        if best
            .as_ref()
            .is_some_and(|(_, best)| known.cache.is_enough(best, &judged))
        {
            break;
        }
    }
    if candidates.is_empty() {
        judged = wanted();
    }
    Round {
        best,
        judged: Some(judged),
    }
}

/// For want of a model: what is in memory and true as far as is known, however long ago that was learnt.
fn spare(known: &Known, key: Option<&Key>, wanted: &Positions) -> Option<Served> {
    let entry = known.cache.spare(&key?.as_ref(), wanted).ok()?;
    Some(Served {
        source: Source::Memory,
        entry,
    })
}

fn no_model() -> Problem {
    Problem::unavailable("No read model answers now.", RETRY_AFTER_S)
}

/// Of a token, what matters to a read.
fn matter(token: &Positions, partitions: &[TopicPartition]) -> Positions {
    token
        .iter()
        .filter(|(partition, _)| partitions.contains(partition))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_partitions_of_the_read_matter() {
        let of = |topic, partition| TopicPartition { topic, partition };
        let token: Positions = [
            (of(Topic::Orders, 0), 5),
            (of(Topic::Orders, 1), 6),
            (of(Topic::Stock, 0), 7),
        ]
        .into_iter()
        .collect();
        let one: Positions = [(of(Topic::Orders, 1), 6)].into_iter().collect();
        assert_eq!(
            matter(&token, &Query::Order(uuid::Uuid::nil()).partitions(1))
                .iter()
                .count(),
            1
        );
        assert_eq!(matter(&token, &[of(Topic::Orders, 1)]), one);
        assert_eq!(matter(&token, &[of(Topic::Stock, 1)]), Positions::new());
    }
}
