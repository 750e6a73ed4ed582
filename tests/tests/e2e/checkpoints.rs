//! Starts from checkpoints: one's own, a peer's, damaged ones.

use std::path::Path;
use std::time::Duration;

use command_service::engine::{self, CheckpointConfig, EngineConfig, Handle, Standing, Submission};
use command_service::shop::Shop;
use command_service::store::{Identity, transfer};
use command_service::writer::{Expected, Request};
use domain::{Command, StockCommand};
use e2e::{Setup, codec, eventually, partition};
use eventlog::{LogConfig, LogId, Topic, topics};
use schemas::{Timestamp, ids};

const COMMANDS: u64 = 500;

fn request(n: u64) -> Request<Command> {
    let command = Command::Stock(StockCommand::Receive {
        sku: format!("sku-{}", n % 50),
        quantity: 2,
    });
    Request {
        id: ids::command_id("test", "POST", "/", &n.to_string()),
        fingerprint: ids::fingerprint("", "", command.canonical_json().as_bytes()),
        at: Timestamp(1_000_000 + n.cast_signed()),
        expected: Expected::Any,
        causes: [].into(),
        traceparent: None,
        source: None,
        command,
    }
}

struct Service {
    writers: Handle,
    thread: std::thread::JoinHandle<()>,
}

impl Service {
    /// Starts with next to nothing in memory, and waits until it is ready.
    async fn start(log: &LogConfig, log_id: LogId, data_dir: &Path) -> Self {
        let mut config = EngineConfig::new(log.clone(), log_id, 1);
        config.checkpoints = Some(CheckpointConfig {
            every: Duration::from_millis(50),
            hot_aggregates: 4,
            hot_commands: 4,
            ..CheckpointConfig::new(data_dir.to_owned())
        });
        let engine = engine::start(config, codec(log).await).expect("the writers start");
        let (writers, thread) = (engine.handle, engine.thread);
        writers.own_everything();
        eventually("the writers are ready", async || writers.is_ready().then_some(())).await;
        Self { writers, thread }
    }

    /// Asks for commands; the offset behind each one's record, and how many were answered before.
    async fn ask(&self, commands: std::ops::Range<u64>) -> (Vec<i64>, usize) {
        let mut offsets = Vec::new();
        let mut replayed = 0;
        for n in commands {
            let timeout = Duration::from_secs(10);
            let decision = self.writers.submit(Submission::now(request(n)), timeout).await;
            let answered = decision.and_then(Standing::answered).expect("an answer");
            offsets.push(answered.next_offset);
            replayed += usize::from(answered.replayed);
        }
        (offsets, replayed)
    }

    async fn end(self) {
        drop(self.writers);
        tokio::task::spawn_blocking(move || self.thread.join().expect("no writer panics"))
            .await
            .expect("a thread");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_from_a_checkpoint_knows_every_command() {
    let pipeline = Setup::new("checkpoints")
        .partitions(1)
        .counts(0, 1, 0)
        .start()
        .await;
    let log = pipeline.log();
    let log_id = topics::log_id(&log, Duration::from_secs(10)).unwrap();
    let folder = e2e::root().join("pipelines").join(&pipeline.name);
    let (ours, theirs) = (folder.join("ours"), folder.join("theirs"));
    let stock = Identity {
        log_id,
        partition: partition(Topic::Stock, 0),
    };

    let service = Service::start(&log, log_id, &ours).await;
    let (offsets, replayed) = service.ask(0..COMMANDS).await;
    assert_eq!(replayed, 0);
    service.end().await;

    // From its own: everything it was asked before is a replay, wherever it is kept.
    let service = Service::start(&log, log_id, &ours).await;
    let from = eventually("the checkpoint is open", async || {
        service.writers.store(stock.partition)
    })
    .await;
    assert_eq!(service.ask(0..COMMANDS).await, (offsets.clone(), offsets.len()));
    assert_eq!(service.ask(COMMANDS..COMMANDS + 20).await.1, 0);

    // From a peer's, which goes on meanwhile.
    let mut stream = Vec::new();
    let carried = from.export(&mut stream).unwrap().unwrap();
    assert!(carried.checkpoint.next_offset >= *offsets.last().unwrap());
    transfer::import::<Shop>(&stock.path(&theirs), stock, &mut stream.as_slice()).unwrap();
    drop(from);
    service.end().await;
    let peer = Service::start(&log, log_id, &theirs).await;
    assert_eq!(peer.ask(0..COMMANDS).await, (offsets.clone(), offsets.len()));
    peer.end().await;

    // From a damaged one: the log has it all.
    let path = stock.path(&ours);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.truncate(bytes.len() / 2);
    std::fs::write(&path, bytes).unwrap();
    let service = Service::start(&log, log_id, &ours).await;
    assert_eq!(
        service.ask(0..COMMANDS).await,
        (offsets, usize::try_from(COMMANDS).unwrap())
    );
    service.end().await;
}
