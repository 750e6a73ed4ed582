//! Two and three instances in one process, over real connections, with a board in memory instead of Kafka.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use domain::{Command, StockCommand};
use eventlog::internal::AggregateQuestion;
use eventlog::{LogConfig, Topic, TopicPartition};
use schemas::{Timestamp, ids};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use uuid::Uuid;

use super::*;
use crate::engine::slots::{partition_at, partition_for, slot_of};
use crate::engine::{Answered, Decision, NotAnswered, Standing, Submission};
use crate::shop::Answer;
use crate::writer::{Expected, Request};

/// So many that each of three instances owns some.
const PARTITIONS: i32 = 64;
const SLOTS: usize = 128;
const SECRET: &str = "0123456789abcdef";

/// Nothing that is tested takes that long, on however busy a machine.
const DEADLINE: Duration = Duration::from_secs(20);

#[derive(Default)]
struct OnBoard {
    entries: BTreeMap<MemberId, Vec<u8>>,
    readers: Vec<Weak<Shared>>,
}

/// The cluster topic, as far as the cluster sees it.
#[derive(Clone, Default)]
struct MemoryBoard(Arc<Mutex<OnBoard>>);

impl Board for MemoryBoard {
    fn post(&mut self, id: MemberId, value: Option<&[u8]>) {
        let readers = {
            let mut board = self.0.lock().unwrap();
            match value {
                Some(value) => board.entries.insert(id, value.to_vec()),
                None => board.entries.remove(&id),
            };
            board.readers.clone()
        };
        for reader in readers.iter().filter_map(Weak::upgrade) {
            reader.hear(id.to_string().as_bytes(), value, Instant::now());
        }
    }
}

impl MemoryBoard {
    fn read_by(&self, cluster: &Cluster) {
        let shared = &cluster.0.shared;
        let entries = {
            let mut board = self.0.lock().unwrap();
            board.readers.push(Arc::downgrade(shared));
            board.entries.clone()
        };
        for (id, value) in entries {
            shared.hear(id.to_string().as_bytes(), Some(&value), Instant::now());
        }
        shared.settle();
    }
}

/// What a node's engine does with a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    Answers,
    /// Takes it, and says nothing.
    Hangs,
    Overloaded,
}

#[derive(Clone)]
struct Engine {
    does: watch::Sender<Does>,
    asked: Arc<AtomicUsize>,
}

impl LocalSubmitter for Engine {
    async fn submit(&self, submission: Submission, _: Duration) -> Decision {
        let request = submission.request;
        self.asked.fetch_add(1, Ordering::SeqCst);
        let mut does = self.does.subscribe();
        // The senders live as long as the engine.
        let does = *does.wait_for(|does| *does != Does::Hangs).await.unwrap();
        if does == Does::Overloaded {
            return Err(NotAnswered::Overloaded);
        }
        Ok(Standing::Answered(Answered {
            answer: Answer::Refused {
                status: 409,
                sequence: Some(3),
                problem: request.command.canonical_json().into(),
            },
            partition: partition_for(&request.command, PARTITIONS),
            next_offset: 17,
            replayed: false,
        }))
    }
}

/// Looking up and handing over is tested beside [`peer`].
impl PeerService for Engine {
    async fn look_up(&self, _: Uuid) -> Result<Option<Standing>, NotAnswered> {
        Err(NotAnswered::Unavailable)
    }

    async fn prove(&self, slots: Vec<usize>, _: Duration) -> Result<Vec<(usize, i64)>, NotAnswered> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let mut does = self.does.subscribe();
        let does = *does.wait_for(|does| *does != Does::Hangs).await.unwrap();
        if does == Does::Overloaded {
            return Err(NotAnswered::Overloaded);
        }
        Ok(slots.into_iter().map(|slot| (slot, 7)).collect())
    }

    async fn read(&self, question: AggregateQuestion, _: Duration) -> Result<Bytes, NotAnswered> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let mut does = self.does.subscribe();
        let does = *does.wait_for(|does| *does != Does::Hangs).await.unwrap();
        if does == Does::Overloaded {
            return Err(NotAnswered::Overloaded);
        }
        Ok(question.key.into())
    }

    async fn positions(&self, _: Vec<usize>) -> Result<Bytes, NotAnswered> {
        Err(NotAnswered::Unavailable)
    }

    async fn state(&self, _: usize) -> Result<StateChunks, NotAnswered> {
        Err(NotAnswered::Unavailable)
    }
}

/// An instance with a runtime of its own, so that it can be killed like a process.
struct Node {
    cluster: Cluster,
    engine: Engine,
    runtime: Option<Runtime>,
}

impl Node {
    fn start(board: &MemoryBoard, name: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let config = ClusterConfig {
            log: LogConfig {
                bootstrap: String::new(),
                prefix: String::new(),
            },
            slots: SLOTS,
            name: name.to_owned(),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            host: "127.0.0.1".to_owned(),
            http: String::new(),
            secret: Secret::new(SECRET),
        };
        let engine = Engine {
            does: watch::Sender::new(Does::Answers),
            asked: Arc::default(),
        };
        let cluster = runtime
            .block_on(Cluster::start_on(config, board.clone()))
            .unwrap();
        board.read_by(&cluster);
        let (serving, service) = (cluster.clone(), engine.clone());
        runtime.spawn(async move { serving.serve(service, CancellationToken::new()).await });
        Self {
            cluster,
            engine,
            runtime: Some(runtime),
        }
    }

    /// Runs something on the node's own runtime: connections that it makes die with the node.
    fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.as_ref().unwrap().block_on(work)
    }

    fn warm(&self) {
        let held = Held {
            next_offset: 5,
            warm: true,
        };
        self.cluster.set_held((0..SLOTS).map(|slot| (slot, held)));
        self.cluster.set_state(MemberState::Ready);
    }

    fn router(&self) -> Router<Engine> {
        Router::new(self.cluster.clone(), self.engine.clone(), PARTITIONS)
    }

    fn asked(&self) -> usize {
        self.engine.asked.load(Ordering::SeqCst)
    }

    fn does(&self, does: Does) {
        self.engine.does.send_replace(does);
    }

    fn is_at(&self, route: &Route) -> bool {
        matches!(route, Route::There(peer) if peer.id() == self.cluster.me())
    }

    fn peer(&self, of: &Self) -> Peer {
        let peers = self.cluster.peers();
        peers
            .into_iter()
            .find(|peer| peer.id() == of.cluster.me())
            .unwrap()
    }

    /// Like `kill -9`: every connection is closed, nobody listens any more, and nothing is said on the board.
    fn kill(&mut self) {
        self.cluster.0.shared.end();
        self.cluster.0.responder.stop();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

#[track_caller]
fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < DEADLINE, "not in {DEADLINE:?}: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Nodes that are warm for everything and see each other.
fn nodes<const N: usize>() -> (MemoryBoard, [Node; N]) {
    let board = MemoryBoard::default();
    let nodes: [Node; N] = std::array::from_fn(|n| Node::start(&board, &format!("node-{n}")));
    for node in &nodes {
        node.warm();
    }
    eventually("all know it", || {
        nodes.iter().all(|node| node.cluster.0.shared.knows_warm(N))
    });
    assert!(agree(&nodes.each_ref()));
    (board, nodes)
}

fn agree(nodes: &[&Node]) -> bool {
    let owners = |slot| {
        let owns = |node: &&&Node| node.cluster.roles()[slot] == Role::Owner;
        nodes.iter().filter(owns).count()
    };
    (0..SLOTS).all(|slot| owners(slot) == 1)
        && nodes
            .iter()
            .all(|node| node.cluster.peers().len() == nodes.len() - 1)
        && nodes
            .iter()
            .all(|node| node.cluster.roles().contains(&Role::Owner))
}

fn request(sku: &str) -> Request<Command> {
    let command = Command::Stock(StockCommand::Receive {
        sku: sku.to_owned(),
        quantity: 1,
    });
    Request {
        id: ids::command_id("test", "POST", "/", sku),
        fingerprint: ids::fingerprint("", "", command.canonical_json().as_bytes()),
        at: Timestamp(1_000_000),
        expected: Expected::OneOf(vec![3]),
        causes: [1, 2].into(),
        traceparent: Some("00-1".into()),
        source: Some(9),
        command,
    }
}

/// A command that `owner` decides, as `seen_by` sees it.
fn owned_by(owner: &Node, seen_by: &Node) -> Request<Command> {
    (0..1_000)
        .map(|n| request(&format!("sku-{n}")))
        .find(|request| {
            let slot = slot_of(partition_for(&request.command, PARTITIONS), PARTITIONS);
            owner.is_at(&seen_by.cluster.route(slot))
        })
        .expect("each owns something")
}

fn submit(node: &Node, request: Request<Command>) -> Result<Answered, NotAnswered> {
    let decision = node.run(node.router().submit(Submission::now(request), DEADLINE));
    decision.and_then(Standing::answered)
}

/// Submits without waiting for the answer.
fn submit_soon(
    node: &Node,
    request: Request<Command>,
) -> std::thread::JoinHandle<Result<Answered, NotAnswered>> {
    let router = node.router();
    let runtime = node.runtime.as_ref().unwrap().handle().clone();
    std::thread::spawn(move || {
        let decision = runtime.block_on(router.submit(Submission::now(request), DEADLINE));
        decision.and_then(Standing::answered)
    })
}

#[test]
fn a_lone_instance_decides_all_at_once() {
    let board = MemoryBoard::default();
    let node = Node::start(&board, "alone");
    assert!(node.cluster.roles().iter().all(|role| *role == Role::Owner));
    assert!(matches!(node.cluster.route(SLOTS - 1), Route::Here));
    assert!(matches!(node.cluster.route(SLOTS), Route::Nobody), "no such slot");
}

#[test]
fn the_last_words_of_the_dead_make_nobody_wait() {
    let board = MemoryBoard::default();
    let mut dead = Node::start(&board, "dead");
    dead.warm();
    eventually("it said so", || {
        let board = board.0.lock().unwrap();
        board
            .entries
            .values()
            .any(|value| String::from_utf8_lossy(value).contains("ready"))
    });
    dead.kill();
    let node = Node::start(&board, "fresh");
    assert!(node.cluster.roles().iter().all(|role| *role == Role::Owner));
    assert!(submit(&node, request("a")).is_ok());
    assert_eq!(node.asked(), 1);
}

#[test]
fn any_instance_takes_any_request() {
    let (_board, [a, b]) = nodes();
    let request = owned_by(&b, &a);
    let answered = submit(&a, request.clone()).unwrap();
    assert_eq!((a.asked(), b.asked()), (0, 1));
    let expected = Answered {
        answer: Answer::Refused {
            status: 409,
            sequence: Some(3),
            problem: request.command.canonical_json().into(),
        },
        partition: TopicPartition {
            topic: Topic::Stock,
            partition: partition_for(&request.command, PARTITIONS).partition,
        },
        next_offset: 17,
        replayed: false,
    };
    assert_eq!(answered, expected);
    submit(&b, request).unwrap();
    assert_eq!((a.asked(), b.asked()), (0, 2));
}

#[test]
fn what_was_forwarded_is_not_forwarded_again() {
    let (_board, [a, b]) = nodes();
    // B decides it though A owns the slot, as far as B knows, too.
    let request = owned_by(&a, &b);
    let decided = a.run(a.peer(&b).submit(&Submission::now(request), DEADLINE));
    decided.unwrap().unwrap();
    assert_eq!((a.asked(), b.asked()), (0, 1));
}

#[test]
fn an_owner_that_says_no_is_asked_and_nobody_else() {
    let (_board, [a, b, c]) = nodes();
    b.does(Does::Overloaded);
    let answer = submit(&a, owned_by(&b, &a));
    assert_eq!(answer, Err(NotAnswered::Overloaded));
    assert_eq!((a.asked(), b.asked(), c.asked()), (0, 1, 0));
    assert_eq!(a.cluster.peers().len(), 2, "slow is not gone");
}

#[test]
fn where_the_owner_is_killed_the_next_one_decides() {
    let (_board, [a, mut b, c]) = nodes();
    let request = owned_by(&b, &a);
    b.does(Does::Hangs);
    let waiting = submit_soon(&a, request.clone());
    eventually("it is on its way", || b.asked() == 1);
    let killed = Instant::now();
    b.kill();
    waiting.join().unwrap().unwrap();
    println!("answered {:?} after the kill", killed.elapsed());
    assert_eq!(a.asked() + c.asked(), 1);
    eventually("the rest agrees", || agree(&[&a, &c]));
}

#[test]
fn where_the_owner_is_stopped_the_next_one_decides_until_it_wakes_up() {
    let (_board, [a, b]) = nodes();
    let request = owned_by(&b, &a);
    // As after SIGSTOP: connections stay open, and nothing answers.
    b.does(Does::Hangs);
    let peer = a.peer(&b);
    let waiting = submit_soon(&a, request.clone());
    eventually("it is on its way", || b.asked() == 1);
    let stopped = Instant::now();
    b.cluster.0.responder.set_silent(true);
    waiting.join().unwrap().unwrap();
    println!("answered {:?} after the stop", stopped.elapsed());
    assert_eq!(a.asked(), 1);
    let gone = a.run(peer.submit(&Submission::now(request), DEADLINE));
    assert!(matches!(gone, Err(PeerError::Gone(_))), "{gone:?}");
    b.cluster.0.responder.set_silent(false);
    b.does(Does::Answers);
    eventually("it is back", || agree(&[&a, &b]));
    submit(&a, owned_by(&b, &a)).unwrap();
    assert_eq!(a.asked(), 1);
}

fn all_partitions() -> Vec<TopicPartition> {
    (0..SLOTS).map(|slot| partition_at(slot, PARTITIONS)).collect()
}

#[test]
fn each_owner_proves_its_partitions_in_one_request() {
    let (_board, [a, b, c]) = nodes();
    let all = all_partitions();
    let proven = a.run(a.router().prove(&all, DEADLINE)).unwrap();
    assert_eq!(proven, all.iter().map(|partition| (*partition, 7)).collect());
    assert_eq!((a.asked(), b.asked(), c.asked()), (1, 1, 1));
    let none = TopicPartition {
        topic: Topic::Orders,
        partition: PARTITIONS,
    };
    let answer = a.run(a.router().prove(&[none], DEADLINE));
    assert_eq!(answer, Err(NotAnswered::Unavailable));
    c.does(Does::Overloaded);
    let answer = a.run(a.router().prove(&all, DEADLINE));
    assert_eq!(
        answer,
        Err(NotAnswered::Overloaded),
        "an owner that is there is right"
    );
}

#[test]
fn an_aggregate_is_read_by_its_owner_and_where_that_is_killed_by_the_next() {
    let (_board, [a, mut b]) = nodes();
    let Command::Stock(StockCommand::Receive { sku, .. }) = owned_by(&b, &a).command else {
        panic!("stock is received");
    };
    let question = AggregateQuestion {
        topic: Topic::Stock,
        key: sku.clone(),
        at_least: 1,
    };
    let read = a.run(a.router().read(&question, DEADLINE)).unwrap();
    assert_eq!((read, a.asked(), b.asked()), (Bytes::from(sku.clone()), 0, 1));
    b.does(Does::Overloaded);
    let busy = a.run(a.router().read(&question, DEADLINE));
    assert_eq!(busy, Err(NotAnswered::Overloaded));
    b.does(Does::Hangs);
    let (router, runtime) = (a.router(), a.runtime.as_ref().unwrap().handle().clone());
    let waiting = std::thread::spawn(move || runtime.block_on(router.read(&question, DEADLINE)));
    eventually("it is asked", || b.asked() == 3);
    b.kill();
    assert_eq!(waiting.join().unwrap().unwrap(), sku);
    assert_eq!(a.asked(), 1);
}

#[test]
fn where_an_owner_is_killed_the_next_ones_prove() {
    let (_board, [a, mut b, c]) = nodes();
    b.does(Does::Hangs);
    let (router, runtime) = (a.router(), a.runtime.as_ref().unwrap().handle().clone());
    let waiting = std::thread::spawn(move || runtime.block_on(router.prove(&all_partitions(), DEADLINE)));
    eventually("all are asked", || {
        [&a, &b, &c].iter().all(|node| node.asked() == 1)
    });
    b.kill();
    let proven = waiting.join().unwrap().unwrap();
    assert_eq!(proven.iter().count(), SLOTS);
    assert_eq!(
        (a.asked(), c.asked()),
        (2, 2),
        "each proves a part of what was b's"
    );
}

#[test]
fn a_report_is_revoked_by_the_next_ping() {
    let (_board, [a, b]) = nodes();
    a.cluster.report_gone(b.cluster.me());
    eventually("it is back", || a.cluster.peers().len() == 1);
    submit(&a, owned_by(&b, &a)).unwrap();
}

#[test]
fn whoever_comes_takes_over_once_it_is_warm() {
    let (board, [a, b]) = nodes();
    let c = Node::start(&board, "node-2");
    eventually("c is seen", || {
        [&a, &b].iter().all(|node| node.cluster.peers().len() == 2) && c.cluster.peers().len() == 2
    });
    assert!(!c.cluster.roles().contains(&Role::Owner));
    assert!(c.cluster.roles().contains(&Role::Standby));
    c.warm();
    eventually("c owns something", || agree(&[&a, &b, &c]));
}

#[test]
fn whoever_leaves_hands_over_first() {
    let (board, [a, b]) = nodes();
    let request = owned_by(&b, &a);
    assert!(b.run(b.cluster.drain(DEADLINE)), "all is handed over");
    submit(&b, request.clone()).unwrap();
    assert_eq!((a.asked(), b.asked()), (1, 0));
    b.run(b.cluster.leave());
    assert!(!board.0.lock().unwrap().entries.contains_key(&b.cluster.me()));
    assert!(a.cluster.peers().is_empty());
    assert!(
        !a.run(a.cluster.drain(DEADLINE)),
        "nobody is left to hand over to"
    );
}

#[test]
fn listeners_are_told_each_change_in_order() {
    let board = MemoryBoard::default();
    let a = Node::start(&board, "node-0");
    a.warm();
    let (tell, told) = crossbeam_channel::unbounded();
    a.cluster.on_change(move |view| {
        let _ = tell.send(view.peers().count());
    });
    let mut changes = a.cluster.changes();
    let b = Node::start(&board, "node-1");
    let seen = async {
        changes
            .wait_for(|view| view.peers().count() == 1)
            .await
            .map(|_| ())
    };
    a.run(seen).unwrap();
    b.run(b.cluster.leave());
    eventually("b is away", || a.cluster.peers().is_empty());
    let told: Vec<_> = told.try_iter().collect();
    assert_eq!(told.first(), Some(&0));
    assert_eq!(told.last(), Some(&0));
    assert!(told.contains(&1), "{told:?}");
}

#[test]
fn what_projectors_say_to_each_other_is_passed_over() {
    let (_board, [a, b]) = nodes();
    let view = a.cluster.view();
    let key = format!("projector/{}/{}", Uuid::from_u128(1), b.cluster.me());
    for key in [key.clone(), format!("{key}/gone")] {
        a.cluster.0.shared.hear(key.as_bytes(), None, Instant::now());
    }
    assert_eq!(a.cluster.peers().len(), 1);
    assert!(Arc::ptr_eq(&view, &a.cluster.view()), "nothing changes");
}
