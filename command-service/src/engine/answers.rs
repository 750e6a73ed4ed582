//! Answers to clients, on their way out of the writers' thread.
//!
//! Each of them wakes a task, and waking from outside of the runtime is a call to the kernel more often than not: a fifth of the
//! thread's time where one delivery report after the other brings an answer. So those of a while go out together, to a task that
//! gives them out from within.

use tokio::runtime;
use tokio::sync::{mpsc, oneshot};

use super::messages::Decision;

/// So many are handed over without waiting for the end of the round.
const TOGETHER: usize = 64;

type Answer = (oneshot::Sender<Decision>, Decision);

/// What clients are told in a round of the writers' thread.
pub(super) struct Answers {
    round: Vec<Answer>,
    out: mpsc::UnboundedSender<Vec<Answer>>,
}

impl Answers {
    /// Gives them out on this runtime, as long as the writers' thread lives.
    pub fn on(runtime: &runtime::Handle) -> Self {
        let (out, mut handed_over) = mpsc::unbounded_channel::<Vec<Answer>>();
        runtime.spawn(async move {
            while let Some(round) = handed_over.recv().await {
                round.into_iter().for_each(give);
            }
        });
        Self {
            round: Vec::new(),
            out,
        }
    }

    /// Answers a client, in this round at the latest.
    pub fn give(&mut self, reply: oneshot::Sender<Decision>, decision: Decision) {
        self.round.push((reply, decision));
        if self.round.len() >= TOGETHER {
            self.hand_over();
        }
    }

    /// The thread is about to wait.
    pub fn hand_over(&mut self) {
        match self.round.len() {
            0 => {}
            // Nobody to share the way with.
            1 => self.round.drain(..).for_each(give),
            // The task lives as long as the runtime, without which nobody waits.
            _ => drop(self.out.send(std::mem::take(&mut self.round))),
        }
    }
}

/// A client that gave up asks again with the same key.
fn give((reply, decision): Answer) {
    let _ = reply.send(decision);
}
