//! The same commands through the whole engine: its thread, its channels, and a task that waits for each answer. It has no goal;
//! beside `append` it tells what the way in costs.

use std::{
    cell::Cell,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use command_service::engine::{self, AdmissionLimits, Engine, EngineConfig, Handle, Submission};
use eventlog::{LogConfig, LogId};
use schemas::Codec;
use tokio::task::{JoinSet, LocalSet};
use uuid::Uuid;

use super::{Notes, place};
use crate::suite::drive::as_f64;

/// Commands that wait for their answers at once.
const TASKS: usize = 4_096;
/// It is the most that an engine can do that is measured. Steps that go nowhere count as work that waits, so it may be an hour's.
pub(in crate::suite) const NOBODY_TURNED_AWAY: AdmissionLimits = AdmissionLimits {
    target_ms: 3_600_000,
    clients_max: usize::MAX / 2,
    bytes_max: usize::MAX / 2,
};
/// Orders that notes are put on.
const ORDERS: usize = 1_200;
/// How long a command may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A running engine that owns everything, with orders to put notes on.
pub(super) struct Through {
    // Its errands stay empty, as everything is its own; with its last handle it ends.
    engine: Engine,
    notes: Rc<Notes>,
    orders: Rc<Vec<Uuid>>,
}

impl Through {
    pub(super) async fn start(
        log: LogConfig,
        log_id: LogId,
        partitions: i32,
        codec: Codec,
        text: String,
    ) -> anyhow::Result<Self> {
        let mut config = EngineConfig::new(log, log_id, partitions);
        config.admission = NOBODY_TURNED_AWAY;
        let engine = engine::start(config, codec)?;
        engine.handle.own_everything();
        while !engine.handle.is_ready() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let through = Self {
            engine,
            notes: Rc::new(Notes::new(log_id, text)),
            orders: Rc::new((0..ORDERS).map(|_| Uuid::new_v4()).collect()),
        };
        for (number, order_id) in through.orders.iter().enumerate() {
            let request = through.notes.request(u64::MAX - number as u64, place(*order_id));
            submit(&through.engine.handle, Submission::now(request)).await?;
        }
        // The process manager has one line of each order to ask for.
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok(through)
    }

    /// Notes acknowledged a second.
    pub(super) async fn measure(
        &self,
        round: usize,
        warm_up: Duration,
        duration: Duration,
    ) -> anyhow::Result<f64> {
        let begin = Instant::now() + warm_up;
        let end = begin + duration;
        let next = Rc::new(Cell::new((round as u64) << 32));
        let local = LocalSet::new();
        let mut tasks = JoinSet::new();
        for _ in 0..TASKS {
            let (handle, notes) = (self.engine.handle.clone(), Rc::clone(&self.notes));
            let (orders, next) = (Rc::clone(&self.orders), Rc::clone(&next));
            let task = async move {
                let mut answered = 0;
                while Instant::now() < end {
                    let number = next.replace(next.get() + 1);
                    let order = orders[usize::try_from(number)? % orders.len()];
                    let request = notes.request(number, notes.command(number, order));
                    submit(&handle, Submission::now(request)).await?;
                    answered += u64::from((begin..end).contains(&Instant::now()));
                }
                anyhow::Ok(answered)
            };
            tasks.spawn_local_on(task, &local);
        }
        let answered = local.run_until(async {
            let mut answered = 0;
            while let Some(task) = tasks.join_next().await {
                answered += task??;
            }
            anyhow::Ok(answered)
        });
        Ok(as_f64(answered.await?) / duration.as_secs_f64())
    }
}

/// Has a command decided, which must be accepted.
pub(in crate::suite) async fn submit(handle: &Handle, submission: Submission) -> anyhow::Result<()> {
    let decision = handle.submit(submission, TIMEOUT).await;
    let answered = decision
        .and_then(engine::Standing::answered)
        .context("not answered")?;
    let refusal = answered.answer.refusal();
    anyhow::ensure!(refusal.is_none() && !answered.replayed, "refused: {refusal:?}");
    Ok(())
}
