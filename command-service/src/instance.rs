//! One instance of the service: the engine, its part in the cluster, and what runs between the two.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use eventlog::internal::AggregateQuestion;
use eventlog::{Positions, TopicPartition};
use schemas::Codec;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::cluster::{
    Cluster, ClusterConfig, Held, LocalSubmitter, MemberState, PeerService, Router, StateChunks,
};
use crate::engine::questions::Questions;
use crate::engine::slots::{partition_at, slot_count};
use crate::engine::{
    self, Decision, Engine, EngineConfig, Errand, Handle, NotAnswered, Standing, Submission,
};
use crate::seeding;
use crate::states::States;

/// How often the others are told what is held here, beside when it changes.
const TELL_HELD: Duration = Duration::from_millis(20);

/// How long a step of the process manager may take at another instance.
const ERRAND_TIMEOUT: Duration = Duration::from_secs(5);

/// How long it is waited for what the cluster topic says, before this instance takes itself for alone.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long another instance may take to take over, when this one leaves.
const HAND_OVER: Duration = Duration::from_millis(2_500);

/// How long clients' commands are waited for after that.
const DRAIN: Duration = Duration::from_millis(1_500);

/// What this instance does for the others.
#[derive(Clone)]
pub struct Local {
    writers: Handle,
    partitions: i32,
    states: States,
}

impl LocalSubmitter for Local {
    async fn submit(&self, submission: Submission, timeout: Duration) -> Decision {
        self.writers.submit(submission, timeout).await
    }
}

impl PeerService for Local {
    async fn look_up(&self, command_id: Uuid) -> Result<Option<Standing>, NotAnswered> {
        self.writers.look_up(command_id).await
    }

    async fn prove(&self, slots: Vec<usize>, timeout: Duration) -> Result<Vec<(usize, i64)>, NotAnswered> {
        let proofs = slots.into_iter().map(|slot| async move {
            // Another instance that counts partitions differently has another log.
            if slot >= slot_count(self.partitions) {
                return Err(NotAnswered::Unavailable);
            }
            Ok((slot, self.writers.prove(slot, timeout).await?))
        });
        futures::future::try_join_all(proofs).await
    }

    async fn read(&self, question: AggregateQuestion, timeout: Duration) -> Result<Bytes, NotAnswered> {
        self.states
            .read(&self.writers, self.partitions, question, timeout)
            .await
    }

    async fn positions(&self, slots: Vec<usize>) -> Result<Bytes, NotAnswered> {
        let held = self.writers.held();
        let positions = slots.into_iter().filter_map(|slot| {
            let (position, _) = held.get(slot)?;
            Some((partition_at(slot, self.partitions), *position))
        });
        encode(&positions.collect::<Vec<_>>())
    }

    async fn state(&self, slot: usize) -> Result<StateChunks, NotAnswered> {
        let store = self.writers.store(partition_at(slot, self.partitions));
        store.map(seeding::export).ok_or(NotAnswered::Unavailable)
    }
}

fn encode(positions: &[(TopicPartition, i64)]) -> Result<Bytes, NotAnswered> {
    serde_json::to_vec(positions)
        .map(Bytes::from)
        .map_err(|_| NotAnswered::Unavailable)
}

/// A running instance. Cheap to clone.
#[derive(Clone)]
pub struct Instance {
    router: Router<Local>,
    partitions: i32,
    thread: Arc<JoinHandle<()>>,
    /// Who reads by way of this instance, wherever the aggregates are.
    reads: Questions,
}

impl Instance {
    /// Starts the engine and takes part in the cluster. Returns once it is known who else is there, or was not for a while.
    pub async fn start(
        engine_config: EngineConfig,
        codec: Codec,
        cluster_config: ClusterConfig,
        shutdown: CancellationToken,
    ) -> anyhow::Result<Self> {
        let partitions = engine_config.partitions;
        let cluster = Cluster::start(cluster_config).await?;
        if tokio::time::timeout(SETTLE_TIMEOUT, cluster.settled())
            .await
            .is_err()
        {
            tracing::warn!("cluster.settle: the cluster topic is not read yet; going on as if alone");
        }
        if let Some(checkpoints) = &engine_config.checkpoints {
            let (data_dir, log_id) = (checkpoints.data_dir.clone(), engine_config.log_id);
            seeding::seed(&cluster, &data_dir, log_id, partitions).await;
        }
        let Engine {
            handle,
            errands,
            thread,
        } = engine::start(engine_config, codec)?;
        let local = Local {
            writers: handle.clone(),
            partitions,
            states: States::new(),
        };
        tokio::spawn({
            let (cluster, local) = (cluster.clone(), local.clone());
            async move { cluster.serve(local, shutdown).await }
        });
        let writers = handle.clone();
        cluster.on_change(move |view| writers.set_roles(view.roles().to_vec()));
        tokio::spawn(tell_held(cluster.clone(), handle.clone()));
        let router = Router::new(cluster, local, partitions);
        tokio::spawn(run_errands(errands, router.clone()));
        Ok(Self {
            router,
            partitions,
            thread: Arc::new(thread),
            reads: Questions::default(),
        })
    }

    /// The writers of this instance.
    pub fn writers(&self) -> &Handle {
        &self.router.local().writers
    }

    /// Has a command decided, or kept durably, by whichever instance that is.
    pub async fn submit(&self, submission: Submission, timeout: Duration) -> Decision {
        self.router.submit(submission, timeout).await
    }

    /// Proves how far these partitions' histories go, by whichever instances own them.
    pub async fn prove(
        &self,
        partitions: &[TopicPartition],
        timeout: Duration,
    ) -> Result<Positions, NotAnswered> {
        self.router.prove(partitions, timeout).await
    }

    /// Reads an aggregate as its writer has folded it, whichever instance that is: an [`eventlog::internal::AggregateAnswer`] in
    /// JSON.
    pub async fn read(&self, question: &AggregateQuestion, timeout: Duration) -> Result<Bytes, NotAnswered> {
        let _place = self.reads.enter().ok_or(NotAnswered::Overloaded)?;
        self.router.read(question, timeout).await
    }

    /// How a command stands, whichever instance knows it.
    pub async fn look_up(&self, id: Uuid) -> Result<Option<Standing>, NotAnswered> {
        self.router.look_up(id).await
    }

    /// Whether the log has all that is asked for: what is not folded here is asked of the log itself.
    pub async fn covers(&self, positions: &Positions) -> Result<bool, NotAnswered> {
        self.writers().covers(positions).await
    }

    /// Whether every writer that is this instance's affair is up to date.
    pub fn is_ready(&self) -> bool {
        self.writers().is_ready()
    }

    /// Tells the others that this instance can decide.
    pub fn ready(&self) {
        self.router.cluster().set_state(MemberState::Ready);
    }

    /// Hands over and leaves: waits until others decide what this one did, and until everybody who waits here has an answer.
    pub async fn leave(&self) {
        let cluster = self.router.cluster();
        let handed_over = cluster.drain(HAND_OVER).await;
        let idle = async {
            while !self.writers().is_idle() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let idle = tokio::time::timeout(DRAIN, idle).await.is_ok();
        cluster.leave().await;
        tracing::info!(handed_over, idle, "cluster.left");
    }

    /// Ends the writers, once their last checkpoints are on disk. False where that takes longer than allowed.
    pub async fn end(&self, timeout: Duration) -> bool {
        self.writers().stop();
        let ended = async {
            while !self.thread.is_finished() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(timeout, ended).await.is_ok()
    }

    /// Partitions of each event topic.
    pub const fn partitions(&self) -> i32 {
        self.partitions
    }
}

/// Tells the others what is folded here, for as long as there are writers.
async fn tell_held(cluster: Cluster, writers: Handle) {
    let mut interval = tokio::time::interval(TELL_HELD);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        let held = writers.held().into_iter().enumerate();
        let held = held.filter(|(_, (next_offset, is_current))| *is_current || *next_offset > 0);
        cluster.set_held(held.map(|(slot, (next_offset, warm))| (slot, Held { next_offset, warm })));
    }
}

/// Has steps of the process manager decided that belong to other instances.
async fn run_errands(mut errands: UnboundedReceiver<Errand>, router: Router<Local>) {
    let router = Arc::new(router);
    while let Some(Errand { step, request }) = errands.recv().await {
        let router = Arc::clone(&router);
        tokio::spawn(async move {
            let decision = router.submit(Submission::step(request), ERRAND_TIMEOUT).await;
            router.local().writers.finish(step, decision);
        });
    }
}
