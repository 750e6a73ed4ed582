//! Several instances side by side: who is there, who decides what, and how requests get there.
//!
//! Nothing here is needed for the log to be right: two writers on one partition are slow, never wrong. So there is no election
//! and no lease, only what each instance hears and finds out, and the same arithmetic on it.
//!
//! - [`member`], [`heartbeat`]: each instance tells on the cluster topic that it is there and what it holds, and hears the others.
//! - [`liveness`]: each pings each; gone is who refuses, resets, or leaves three pings in a row unanswered.
//! - [`membership`], [`view`], [`eventlog::rendezvous`]: pure; who is alive, who comes first for a slot, and so who decides and
//!   who stands by.
//! - [`shared`]: where the above come together; [`Cluster`] is the handle on it.
//! - [`peer`]: how instances ask each other; [`router`]: from a command to whoever decides it; `asking`: from questions to
//!   whoever can answer them.
//!
//! What it does not do: fold, tail or decide (`engine`). The engine tells what it holds ([`Cluster::set_held`]) and is told what it
//! is to do ([`Cluster::changes`], [`Cluster::on_change`]).

mod asking;
mod heartbeat;
mod liveness;
pub mod member;
mod membership;
pub mod peer;
pub mod router;
mod shared;
#[cfg(test)]
mod tests;
mod view;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use eventlog::{BulletinReader, BulletinWriter, LogConfig, LogError};
use service_kit::config::Secret;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::engine::Role;
use heartbeat::Board;
use liveness::Responder;
use shared::{Identity, Shared};

pub use member::{Held, MemberId, MemberState};
pub use peer::{Peer, PeerError, PeerKey, PeerService, StateChunks};
pub use router::{LocalSubmitter, Router};
pub use shared::{Route, View};

/// How often it is looked whether the others have taken over.
const LOOK: Duration = Duration::from_millis(5);

/// What a cluster needs to know.
#[derive(Clone, Debug)]
pub struct ClusterConfig {
    /// Where the cluster topic is.
    pub log: LogConfig,
    /// How many slots there are: event topics times partitions.
    pub slots: usize,
    /// For people: what this instance is called in the others' logs.
    pub name: String,
    /// Where to listen for other instances. Pings are answered at the same address, on a port of their own.
    pub listen: SocketAddr,
    /// The host at which other instances reach this one.
    pub host: String,
    /// Base URL at which clients reach this instance.
    pub http: String,
    /// The secret of the consistency tokens, from which that of requests between instances follows.
    pub secret: Secret,
}

/// Why a cluster cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// No port, or no thread, is to be had.
    #[error("cannot listen for other instances on {0}; choose another address with TAILWATER_PEER_LISTEN")]
    Listen(SocketAddr, #[source] io::Error),
    /// A thread cannot be started.
    #[error("a thread of the cluster cannot be started")]
    Thread(#[source] io::Error),
    /// Kafka's client cannot be made.
    #[error(transparent)]
    Log(#[from] LogError),
}

struct Inner {
    shared: Arc<Shared>,
    /// Answers until it is dropped.
    #[cfg_attr(not(test), expect(dead_code))]
    responder: Responder,
    /// Sends heartbeats until this instance leaves.
    writing: Mutex<Option<JoinHandle<()>>>,
    /// Until it is served.
    listener: Mutex<Option<TcpListener>>,
}

/// This instance's part in the cluster. Cheap to clone; all ends when the last clone is dropped.
#[derive(Clone)]
pub struct Cluster(Arc<Inner>);

impl Cluster {
    /// Takes part from now on, as one that joins: listens, answers pings, sends heartbeats, hears others. Does not wait for
    /// Kafka, nor for anybody: until another member is heard and answers, every slot is [`Route::Here`].
    ///
    /// # Errors
    /// Where there is no port, thread or Kafka client to be had. That Kafka is not there is no error, but its client may then take
    /// a minute to find it: start where it has been asked for the number of partitions.
    pub async fn start(config: ClusterConfig) -> Result<Self, ClusterError> {
        let writer = BulletinWriter::new(&config.log)?;
        let reader = BulletinReader::new(&config.log)?;
        let cluster = Self::start_on(config, writer).await?;
        heartbeat::start_reading(&cluster.0.shared, reader).map_err(ClusterError::Thread)?;
        Ok(cluster)
    }

    /// As [`Cluster::start`], with another board than the topic, and deaf: whoever starts it tells it what is on the board.
    async fn start_on(config: ClusterConfig, board: impl Board) -> Result<Self, ClusterError> {
        let failed = |error| ClusterError::Listen(config.listen, error);
        let id = MemberId::generate();
        let listener = TcpListener::bind(config.listen).await.map_err(failed)?;
        let peer = listener.local_addr().map_err(failed)?;
        let responder = Responder::start(SocketAddr::new(config.listen.ip(), 0), id).map_err(failed)?;
        let identity = Identity {
            id,
            peer: at(&config.host, peer.port()),
            ping: at(&config.host, responder.address().port()),
            name: config.name,
            http: config.http,
        };
        tracing::info!(member = %id, peer = identity.peer, ping = identity.ping, "cluster.member.joining");
        let (words, heard) = crossbeam_channel::unbounded();
        let key = PeerKey::new(config.secret.expose().as_bytes());
        let shared = Shared::new(identity, config.slots, key, words);
        let writing = heartbeat::start_writing(&shared, heard, board).map_err(ClusterError::Thread)?;
        Ok(Self(Arc::new(Inner {
            shared,
            responder,
            writing: Mutex::new(Some(writing)),
            listener: Mutex::new(Some(listener)),
        })))
    }

    /// Takes requests of other instances until `shutdown`, and then lets those finish that are there. Before it is called,
    /// they wait. To be called once; a second call returns at once.
    pub async fn serve(&self, service: impl PeerService, shutdown: CancellationToken) {
        let listener = lock(&self.0.listener).take();
        if let Some(listener) = listener {
            let key = self.0.shared.key().clone();
            peer::server::serve(listener, service, key, self.me(), shutdown).await;
        }
    }

    /// This start of this instance.
    pub fn me(&self) -> MemberId {
        self.0.shared.me()
    }

    /// Who decides on a slot now.
    pub fn route(&self, slot: usize) -> Route {
        self.route_around(slot, &[])
    }

    /// Who decides on a slot where these were asked and are gone.
    pub fn route_around(&self, slot: usize, tried: &[MemberId]) -> Route {
        self.0.shared.with_view(|view| view.route_around(slot, tried))
    }

    /// Who is alive and who does what, now.
    pub fn view(&self) -> Arc<View> {
        self.0.shared.view()
    }

    /// What this instance does, slot by slot.
    pub fn roles(&self) -> Vec<Role> {
        self.0.shared.with_view(|view| view.roles().to_vec())
    }

    /// The other instances that are alive.
    pub fn peers(&self) -> Vec<Peer> {
        self.0.shared.with_view(|view| view.peers().cloned().collect())
    }

    /// The view, whenever it changes.
    pub fn changes(&self) -> watch::Receiver<Arc<View>> {
        self.0.shared.views()
    }

    /// Calls `listener` with the view as it is, and then whenever it changes, in order: for threads that are not async.
    ///
    /// It is called on the cluster's own threads, which wait for it: it may send on a channel, and must neither block nor call back.
    pub fn on_change(&self, listener: impl Fn(&Arc<View>) + Send + 'static) {
        self.0.shared.listen(Box::new(listener));
    }

    /// Waits until everything has been heard that stood in the cluster topic when this instance began to read it. Before, it may
    /// believe itself alone. As long as Kafka is not there it waits.
    pub async fn settled(&self) {
        // The sender lives as long as we do.
        let _ = self.0.shared.settled().wait_for(|settled| *settled).await;
    }

    /// Tells what this instance holds: all of it, each time. To be called often; where something becomes warm or cold, the
    /// others are told at once.
    pub fn set_held(&self, held: impl IntoIterator<Item = (usize, Held)>) {
        self.0
            .shared
            .set_held(held.into_iter().collect::<BTreeMap<_, _>>());
    }

    /// Tells how far this instance is in its life. The others are told at once.
    pub fn set_state(&self, state: MemberState) {
        self.0.shared.set_state(state);
    }

    /// Somebody met a connection of this member that was refused or reset. It counts as gone until its next ping is answered.
    pub fn report_gone(&self, member: MemberId) {
        self.0.shared.report_gone(member);
    }

    /// Hands over: tells the others that this instance is about to leave, and waits until each slot is decided by another one, as far
    /// as the others have heard, or until the time is over. Alone it returns at once. Until then it is to decide what it is asked.
    ///
    /// Whether everything was handed over.
    pub async fn drain(&self, timeout: Duration) -> bool {
        self.set_state(MemberState::Draining);
        let handed_over = async {
            loop {
                if self.peers().is_empty() {
                    return false;
                }
                if self.0.shared.known_to_drain() && !self.roles().contains(&Role::Owner) {
                    return true;
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::time::timeout(timeout, handed_over).await.unwrap_or(false)
    }

    /// Leaves: takes the heartbeat down. Pings are answered, and requests taken, until the handle is dropped and `serve` is
    /// shut down. Returns when the last word is sent, or after half a second.
    pub async fn leave(&self) {
        self.0.shared.leave();
        let writing = lock(&self.0.writing).take();
        if let Some(writing) = writing {
            // It can only have panicked, and then there is nothing to wait for.
            let _ = tokio::task::spawn_blocking(move || writing.join()).await;
        }
    }
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster")
            .field("me", &self.me())
            .finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `host:port`, with an IPv6 address in brackets.
fn at(host: &str, port: u16) -> String {
    if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}
