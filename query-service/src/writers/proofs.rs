//! Proofs that are shared: for the same partitions one request at a time. A proof is good for those who asked before it began, so
//! whoever comes while a request is under way waits for the next one, which begins once that is answered or takes long.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use eventlog::{Positions, TopicPartition};
use tokio::sync::oneshot;

use super::{Inner, WritersError};

/// How long the next request waits for the one before it: one that hangs must not keep those waiting who came later.
const SLOW: Duration = Duration::from_millis(300);

/// Who waits for the next request, by partitions. There is an entry as long as somebody sees to it.
#[derive(Debug, Default)]
pub(super) struct Proofs(Mutex<HashMap<Vec<TopicPartition>, Vec<Waiting>>>);

#[derive(Debug)]
pub(super) struct Waiting {
    answer: oneshot::Sender<Result<Positions, WritersError>>,
    deadline: Instant,
}

impl Waiting {
    /// Whether it still wants an answer.
    fn is_patient(&self) -> bool {
        !self.answer.is_closed() && self.deadline > Instant::now()
    }

    fn tell(self, outcome: Result<Positions, WritersError>) {
        // Whoever asked may be gone.
        let _ = self.answer.send(outcome);
    }
}

impl Proofs {
    /// Whatever panicked with the lock left a whole map.
    pub(super) fn lock(&self) -> MutexGuard<'_, HashMap<Vec<TopicPartition>, Vec<Waiting>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those who are in the next request; none, and the entry gone, where nobody waits.
    fn next(&self, partitions: &[TopicPartition]) -> Vec<Waiting> {
        let mut all = self.lock();
        let mut waiting = all.get_mut(partitions).map(std::mem::take).unwrap_or_default();
        waiting.retain(Waiting::is_patient);
        if waiting.is_empty() {
            all.remove(partitions);
        }
        waiting
    }
}

/// Takes part in the next request for these partitions, which are sorted. `deadline` says how long it is of any use.
pub(super) async fn join(
    inner: &Arc<Inner>,
    partitions: Vec<TopicPartition>,
    deadline: Instant,
) -> Result<Positions, WritersError> {
    let (answer, answered) = oneshot::channel();
    let waiting = Waiting { answer, deadline };
    let is_first = match inner.proofs.lock().entry(partitions.clone()) {
        Entry::Occupied(mut others) => {
            others.get_mut().push(waiting);
            false
        }
        Entry::Vacant(none) => {
            none.insert(vec![waiting]);
            true
        }
    };
    if is_first {
        // A task of its own: whoever was first may give up.
        tokio::spawn(see_to(Arc::clone(inner), partitions));
    }
    answered.await.unwrap_or(Err(WritersError::TimedOut))
}

/// Makes one request after the other for as long as somebody waits.
async fn see_to(inner: Arc<Inner>, partitions: Vec<TopicPartition>) {
    loop {
        let round = inner.proofs.next(&partitions);
        let Some(deadline) = round.iter().map(|waiting| waiting.deadline).max() else {
            return;
        };
        let (asking, partitions) = (Arc::clone(&inner), partitions.clone());
        let request = tokio::spawn(async move {
            let outcome = asking.prove(&partitions, deadline).await;
            for waiting in round {
                waiting.tell(outcome.clone());
            }
        });
        // A slow one goes on beside the next.
        let _ = tokio::time::timeout(SLOW, request).await;
    }
}
