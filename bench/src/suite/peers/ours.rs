//! The same two commands through the engine. It owns the orders and no stock: the process manager's steps go nowhere, as it plays
//! no part in them.

use std::{
    cell::Cell,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use command_service::engine::{self, Engine, EngineConfig, Handle, Role, Submission};
use eventlog::{LogConfig, Topic, topics};
use tokio::task::{JoinSet, LocalSet};
use uuid::Uuid;

use crate::suite::{
    append::{NOBODY_TURNED_AWAY, Notes, place, submit},
    drive::as_f64,
    requests::fitting_text,
    rig::{PARTITIONS, Rig},
};

/// Commands under way while streams are prepared.
const PREPARING: usize = 4_096;
/// Events of a stream that is added to.
const EVENTS_BEFORE: usize = 5;
/// Kafka's tool for settings.
const CONFIG_TOOL: &str = "kafka.admin.ConfigCommand";

pub(super) struct Ours {
    engine: Engine,
    notes: Rc<Notes>,
    next: Rc<Cell<u64>>,
}

impl Ours {
    /// An engine on new topics; whether the broker syncs each batch before it acknowledges it.
    pub(super) async fn start(rig: &Rig, prefix: &str, sync: bool) -> anyhow::Result<Self> {
        rig.deploy(prefix, PARTITIONS)?;
        let log = LogConfig {
            prefix: prefix.to_owned(),
            ..rig.log()
        };
        if sync {
            let topic = Topic::Orders.name(&log.prefix);
            let tool = rig
                .kafka_tool(CONFIG_TOOL)?
                .args(["--bootstrap-server", &log.bootstrap, "--alter", "--topic", &topic])
                .args(["--add-config", "flush.messages=1"])
                .output()?;
            let said = String::from_utf8_lossy(&tool.stderr);
            ensure!(
                tool.status.success(),
                "the topic's settings cannot be changed: {said}"
            );
        }
        let codec = rig.codec_of(prefix).await?;
        let log_id = topics::log_id(&log, Duration::from_secs(10))?;
        let notes = Notes::new(log_id, fitting_text(&codec)?);
        let mut config = EngineConfig::new(log, log_id, PARTITIONS);
        config.admission = NOBODY_TURNED_AWAY;
        let engine = engine::start(config, codec)?;
        let partitions = usize::try_from(PARTITIONS)?;
        let roles = Topic::ALL.into_iter().flat_map(|topic| {
            let role = if topic == Topic::Orders {
                Role::Owner
            } else {
                Role::Idle
            };
            vec![role; partitions]
        });
        engine.handle.set_roles(roles.collect());
        while !engine.handle.is_ready() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(Self {
            engine,
            notes: Rc::new(notes),
            next: Rc::default(),
        })
    }

    /// Orders placed a second by so many clients, for so long.
    pub(super) async fn place(&self, clients: usize, duration: Duration) -> anyhow::Result<f64> {
        let begun = Instant::now();
        let placed = self
            .each(
                clients,
                |_| Uuid::new_v4(),
                move |_| begun.elapsed() < duration,
                true,
            )
            .await?;
        Ok(as_f64(placed) / begun.elapsed().as_secs_f64())
    }

    /// Notes a second by so many clients, one on each of so many orders that have five events.
    pub(super) async fn add(&self, clients: usize, orders: usize) -> anyhow::Result<f64> {
        let ids: Rc<Vec<Uuid>> = Rc::new((0..orders).map(|_| Uuid::new_v4()).collect());
        let at = |ids: &Rc<Vec<Uuid>>| {
            let ids = Rc::clone(ids);
            move |turn: usize| ids[turn % ids.len()]
        };
        self.each(PREPARING, at(&ids), move |turn| turn < orders, true)
            .await?;
        let before = orders * (EVENTS_BEFORE - 1);
        self.each(PREPARING, at(&ids), move |turn| turn < before, false)
            .await?;
        let begun = Instant::now();
        let added = self
            .each(clients, at(&ids), move |turn| turn < orders, false)
            .await?;
        Ok(as_f64(added) / begun.elapsed().as_secs_f64())
    }

    /// Has so many clients place these orders, or put a note on them, one after the other; how many there were.
    async fn each(
        &self,
        clients: usize,
        order: impl Fn(usize) -> Uuid + 'static,
        more: impl Fn(usize) -> bool + 'static,
        is_new: bool,
    ) -> anyhow::Result<u64> {
        let (order, more, turn) = (Rc::new(order), Rc::new(more), Rc::new(Cell::new(0_usize)));
        let local = LocalSet::new();
        let mut tasks = JoinSet::new();
        for _ in 0..clients {
            let handle: Handle = self.engine.handle.clone();
            let (notes, next) = (Rc::clone(&self.notes), Rc::clone(&self.next));
            let (order, more, turn) = (Rc::clone(&order), Rc::clone(&more), Rc::clone(&turn));
            let task = async move {
                let mut answered = 0;
                while more(turn.get()) {
                    let id = order(turn.replace(turn.get() + 1));
                    let number = next.replace(next.get() + 1);
                    let command = if is_new {
                        place(id)
                    } else {
                        notes.command(number, id)
                    };
                    submit(&handle, Submission::now(notes.request(number, command))).await?;
                    answered += 1;
                }
                anyhow::Ok(answered)
            };
            tasks.spawn_local_on(task, &local);
        }
        local
            .run_until(async {
                let mut answered = 0;
                while let Some(task) = tasks.join_next().await {
                    answered += task.context("a client panicked")??;
                }
                Ok(answered)
            })
            .await
    }
}
