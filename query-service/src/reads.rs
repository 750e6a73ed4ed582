//! Finds a model that is far enough, waits for one, or says that there is none.

use std::time::{Duration, Instant};

use eventlog::{Positions, TopicPartition};
use futures::FutureExt;
use futures::future::{BoxFuture, select_all};
use service_kit::Problem;

use crate::ends::Ends;
use crate::metrics;
use crate::models::{Found, Model, Models, Query};
use crate::watcher::covers;

/// A token is compared with the log's end only after this much waiting: until then the models are likely just catching up.
const SUSPICIOUS_AFTER: Duration = Duration::from_millis(100);
/// What `Retry-After` says.
const RETRY_AFTER_S: u32 = 1;

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

/// Reads from the models.
#[derive(Clone, Debug)]
pub(crate) struct Reads {
    models: Models,
    ends: Ends,
}

impl Reads {
    pub(crate) const fn new(models: Models, ends: Ends) -> Self {
        Self { models, ends }
    }

    /// An answer that is as far as is wanted, and the model that it came from; or the problem why there is none.
    pub(crate) async fn read(
        &self,
        query: &Query<'_>,
        need: &Need,
        partitions: i32,
    ) -> Result<(Model, Found), Problem> {
        let wanted = matter(&need.wanted, &query.partitions(partitions));
        let mut candidates: Vec<Model> = Model::ALL
            .into_iter()
            .filter(|model| query.can_ask(*model) && need.only.is_none_or(|only| only == *model))
            .collect();
        candidates.sort_by_key(|model| self.models.is_spared(*model));
        let begun = Instant::now();
        let mut judged = false;
        loop {
            let mut failures = 0;
            for model in &candidates {
                let alone = candidates.len() == 1;
                match self.models.ask(*model, query, partitions, alone).await {
                    Ok(found) if covers(&found.positions, &wanted) => {
                        metrics::served(*model);
                        if begun.elapsed() > Duration::from_millis(1) && !wanted.is_empty() {
                            metrics::waited(begun.elapsed());
                        }
                        return Ok((*model, found));
                    }
                    Ok(_) => {}
                    Err(_) => failures += 1,
                }
            }
            if wanted.is_empty()
                || candidates.is_empty()
                || (failures == candidates.len() && begun.elapsed() >= need.patience)
            {
                metrics::refused("models");
                return Err(Problem::unavailable("No read model answers now.", RETRY_AFTER_S));
            }
            let left = need.patience.saturating_sub(begun.elapsed());
            let first = self
                .wait(&candidates, &wanted, partitions, left, &mut judged)
                .await?;
            // Whoever got there first is asked first.
            candidates.sort_by_key(|model| *model != first);
        }
    }

    /// Waits until a model covers what is wanted; a problem at the end of patience, or where the log itself does not have it.
    async fn wait(
        &self,
        candidates: &[Model],
        wanted: &Positions,
        partitions: i32,
        patience: Duration,
        judged: &mut bool,
    ) -> Result<Model, Problem> {
        let waits = candidates.iter().map(|model| {
            let model = *model;
            let wait: BoxFuture<'_, Model> = async move {
                self.models.watcher(model).covers(wanted, partitions).await;
                model
            }
            .boxed();
            wait
        });
        let reached = tokio::time::timeout(patience, select_all(waits));
        tokio::pin!(reached);
        if !*judged {
            tokio::select! {
                reached = &mut reached => return reached.map(|(model, ..)| model).map_err(|_| not_in_time()),
                () = tokio::time::sleep(SUSPICIOUS_AFTER) => {}
            }
            *judged = true;
            tokio::select! {
                reached = &mut reached => return reached.map(|(model, ..)| model).map_err(|_| not_in_time()),
                ahead = self.is_ahead(wanted) => if ahead {
                    metrics::refused("future-token");
                    return Err(Problem::future_token(RETRY_AFTER_S));
                }
            }
        }
        reached.await.map(|(model, ..)| model).map_err(|_| not_in_time())
    }

    /// Whether the log's end is before what is wanted. No, where nobody says.
    async fn is_ahead(&self, wanted: &Positions) -> bool {
        for (partition, offset) in wanted.iter() {
            if self.ends.of(partition).await.is_some_and(|end| end < offset) {
                return true;
            }
        }
        false
    }
}

fn not_in_time() -> Problem {
    metrics::refused("not-yet-visible");
    Problem::not_yet_visible("No read model came as far as the token in time.", RETRY_AFTER_S)
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
    use eventlog::Topic;

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
