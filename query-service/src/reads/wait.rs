//! Waiting until a model is far enough.

use std::time::Duration;

use eventlog::Positions;
use futures::FutureExt;
use futures::future::{BoxFuture, select_all};

use super::Reads;
use crate::models::Model;
use crate::watcher::covers;

/// A token is compared with the log's end only after this much waiting: until then the models are likely just catching up.
const SUSPICIOUS_AFTER: Duration = Duration::from_millis(100);

/// Why nobody is far enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotYet {
    /// Patience is at its end.
    InTime,
    /// The log itself does not have it.
    Future,
}

impl Reads {
    /// Waits until a model covers what is wanted. `suspected` is whether it was compared with the log's end already.
    pub(super) async fn wait(
        &self,
        candidates: &[Model],
        wanted: &Positions,
        partitions: i32,
        patience: Duration,
        suspected: &mut bool,
    ) -> Result<Model, NotYet> {
        let waits = candidates.iter().map(|model| {
            let model = *model;
            let wait: BoxFuture<'_, Model> = async move {
                self.models.watcher(model).covers(wanted, partitions).await;
                model
            }
            .boxed();
            wait
        });
        let reached = async {
            match tokio::time::timeout(patience, select_all(waits)).await {
                Ok((model, ..)) => Ok(model),
                Err(_) => Err(NotYet::InTime),
            }
        };
        tokio::pin!(reached);
        if !*suspected {
            tokio::select! {
                reached = &mut reached => return reached,
                () = tokio::time::sleep(SUSPICIOUS_AFTER) => {}
            }
            *suspected = true;
            tokio::select! {
                reached = &mut reached => return reached,
                ahead = self.is_ahead(wanted) => if ahead {
                    return Err(NotYet::Future);
                }
            }
        }
        reached.await
    }

    /// Whether the log's end is before what is wanted. No, where nobody says.
    async fn is_ahead(&self, wanted: &Positions) -> bool {
        let partitions = wanted.iter().map(|(partition, _)| partition).collect();
        let ends = self.ends.of(partitions).await;
        ends.is_some_and(|ends| !covers(&ends, wanted))
    }
}
