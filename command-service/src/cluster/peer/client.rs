//! Another instance, to be asked: one connection, made when it is first needed and again when it broke.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use eventlog::internal::AggregateQuestion;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::{
    CONNECTION_WINDOW_BYTES, HEADER_BYTES_MAX, INSTANCE, PeerError, PeerKey, STREAM_WINDOW_BYTES,
    STREAMS_MAX, TIMEOUT_MS, paths,
};
use crate::cluster::member::{Heartbeat, MemberId};
use crate::engine::{Decision, NotAnswered, Standing, Submission};

/// How long a connection may take. Pings find out sooner that nobody is there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Another instance. Cheap to clone.
#[derive(Clone)]
pub struct Peer(Arc<Inner>);

struct Inner {
    id: MemberId,
    name: String,
    address: String,
    http: String,
    bearer: HeaderValue,
    /// What liveness says.
    gone: watch::Sender<bool>,
    /// How often it has been gone: a connection of before may be dead though nothing says so.
    lives: AtomicU64,
    connection: Mutex<Option<Connection>>,
}

struct Connection {
    sender: SendRequest<Full<Bytes>>,
    task: JoinHandle<()>,
    life: u64,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Peer {
    pub(in crate::cluster) fn new(heartbeat: &Heartbeat, key: &PeerKey) -> Self {
        Self(Arc::new(Inner {
            id: heartbeat.id,
            name: heartbeat.name.clone(),
            address: heartbeat.peer.clone(),
            http: heartbeat.http.clone(),
            bearer: key.bearer(heartbeat.id),
            gone: watch::Sender::new(false),
            lives: AtomicU64::new(0),
            connection: Mutex::new(None),
        }))
    }

    /// Which member it is.
    pub fn id(&self) -> MemberId {
        self.0.id
    }

    /// What it calls itself, for logs.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Base URL at which clients reach it.
    pub fn http(&self) -> &str {
        &self.0.http
    }

    /// Tells those who wait for its answer that it is gone, or that it is there again.
    pub(in crate::cluster) fn set_gone(&self, gone: bool) {
        self.0.gone.send_if_modified(|was| {
            let changed = *was != gone;
            if changed && gone {
                self.0.lives.fetch_add(1, Ordering::AcqRel);
            }
            *was = gone;
            changed
        });
    }

    /// Has it decide a command. Its own refusals to answer are the inner error.
    pub async fn submit(&self, submission: &Submission, timeout: Duration) -> Result<Decision, PeerError> {
        self.submit_encoded(encode(submission)?, timeout).await
    }

    pub(in crate::cluster) async fn submit_encoded(
        &self,
        body: Bytes,
        timeout: Duration,
    ) -> Result<Decision, PeerError> {
        let answer = self.exchange(Method::POST, paths::SUBMIT, body, timeout).await?;
        serde_json::from_slice(&answer).map_err(|error| PeerError::Failed(error.to_string()))
    }

    /// How a command stands, as far as it knows; none where it has never heard of it.
    pub async fn look_up(&self, command_id: Uuid, timeout: Duration) -> Result<Option<Standing>, PeerError> {
        let path = format!("{}{command_id}", paths::COMMANDS);
        match self.exchange(Method::GET, &path, Bytes::new(), timeout).await {
            Ok(found) => serde_json::from_slice(&found)
                .map(Some)
                .map_err(|error| PeerError::Failed(error.to_string())),
            Err(PeerError::Refused(StatusCode::NOT_FOUND)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Has it prove how far the history of these slots goes: each with its next offset.
    pub async fn prove(&self, slots: &[usize], timeout: Duration) -> Result<Vec<(usize, i64)>, PeerError> {
        let proven = self.exchange(Method::POST, paths::PROVE, encode(slots)?, timeout);
        serde_json::from_slice(&proven.await?).map_err(|error| failed(&error))
    }

    /// Has it read an aggregate, which its writers fold: the answer as it is passed on.
    pub async fn read(&self, question: &AggregateQuestion, timeout: Duration) -> Result<Bytes, PeerError> {
        self.exchange(Method::POST, paths::AGGREGATES, encode(question)?, timeout)
            .await
    }

    /// How far it has folded these slots.
    pub async fn positions(&self, slots: &[usize], timeout: Duration) -> Result<Bytes, PeerError> {
        self.exchange(Method::POST, paths::POSITIONS, encode(slots)?, timeout)
            .await
    }

    /// The state of a slot. `timeout` bounds the wait for its beginning, and then for each chunk.
    pub async fn state(&self, slot: usize, timeout: Duration) -> Result<StateStream, PeerError> {
        let path = format!("{}{slot}", paths::STATE);
        let body = self
            .attended(timeout, async {
                let response = self.send(Method::GET, &path, Bytes::new(), timeout).await?;
                if response.status() == StatusCode::OK {
                    return Ok(response.into_body());
                }
                let status = response.status();
                Err(refusal(status, &collect(response.into_body()).await?))
            })
            .await?;
        Ok(StateStream {
            body,
            peer: self.clone(),
            timeout,
        })
    }

    /// A request and its whole answer.
    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        timeout: Duration,
    ) -> Result<Bytes, PeerError> {
        self.attended(timeout, async {
            let response = self.send(method, path, body, timeout).await?;
            let status = response.status();
            let answer = collect(response.into_body()).await?;
            if status == StatusCode::OK {
                Ok(answer)
            } else {
                Err(refusal(status, &answer))
            }
        })
        .await
    }

    /// Waits for an answer no longer than allowed, and not at all once the peer is gone.
    async fn attended<T>(
        &self,
        timeout: Duration,
        work: impl Future<Output = Result<T, PeerError>>,
    ) -> Result<T, PeerError> {
        let mut gone = self.0.gone.subscribe();
        tokio::select! {
            biased;
            // First of all: a peer that is gone is not connected to.
            _ = gone.wait_for(|gone| *gone) => Err(PeerError::Gone("it answers no pings".to_owned())),
            done = tokio::time::timeout(timeout, work) => done.unwrap_or(Err(PeerError::TimedOut)),
        }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        timeout: Duration,
    ) -> Result<http::Response<Incoming>, PeerError> {
        let mut sender = self.sender().await?;
        let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        let id = HeaderValue::try_from(self.0.id.to_string()).map_err(|error| failed(&error))?;
        let request = http::Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.0.address))
            .header(AUTHORIZATION, self.0.bearer.clone())
            .header(INSTANCE, id)
            .header(TIMEOUT_MS, timeout_ms)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| failed(&error))?;
        sender.send_request(request).await.map_err(|error| broken(&error))
    }

    /// A way to send on the one connection, which is made where there is none. All that come meanwhile wait for the same one.
    async fn sender(&self) -> Result<SendRequest<Full<Bytes>>, PeerError> {
        let mut connection = self.0.connection.lock().await;
        let life = self.0.lives.load(Ordering::Acquire);
        if let Some(connection) = &*connection
            && connection.life == life
            && !connection.sender.is_closed()
        {
            return Ok(connection.sender.clone());
        }
        *connection = None;
        let made = self.connect(life).await?;
        let sender = made.sender.clone();
        *connection = Some(made);
        Ok(sender)
    }

    async fn connect(&self, life: u64) -> Result<Connection, PeerError> {
        let connecting = TcpStream::connect(&self.0.address);
        let stream = match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(PeerError::Gone(error.to_string())),
            Err(_) => return Err(PeerError::TimedOut),
        };
        stream.set_nodelay(true).map_err(|error| failed(&error))?;
        let streams = usize::try_from(STREAMS_MAX).unwrap_or(usize::MAX);
        let (sender, connection) = Builder::new(TokioExecutor::new())
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .initial_max_send_streams(streams)
            // Requests that are given up are reset, and all of them at once where the peer is gone for a moment.
            .max_concurrent_reset_streams(2 * streams)
            .max_header_list_size(HEADER_BYTES_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| broken(&error))?;
        let name = self.0.name.clone();
        let task = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(peer = name, %error, "cluster.peer.connection");
            }
        });
        Ok(Connection { sender, task, life })
    }
}

impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peer")
            .field("id", &self.0.id)
            .field("name", &self.0.name)
            .field("address", &self.0.address)
            .finish_non_exhaustive()
    }
}

/// The state of a slot, chunk by chunk.
pub struct StateStream {
    body: Incoming,
    peer: Peer,
    timeout: Duration,
}

impl StateStream {
    /// The next chunk, or none where that was all. After an error, what came before it is of no use.
    pub async fn next(&mut self) -> Result<Option<Bytes>, PeerError> {
        let (peer, timeout) = (self.peer.clone(), self.timeout);
        peer.attended(timeout, async {
            while let Some(frame) = self.body.frame().await {
                let frame = frame.map_err(|error| broken(&error))?;
                if let Ok(chunk) = frame.into_data() {
                    return Ok(Some(chunk));
                }
            }
            Ok(None)
        })
        .await
    }
}

pub(in crate::cluster) fn encode(value: &(impl serde::Serialize + ?Sized)) -> Result<Bytes, PeerError> {
    serde_json::to_vec(value)
        .map(Bytes::from)
        .map_err(|error| failed(&error))
}

async fn collect(body: Incoming) -> Result<Bytes, PeerError> {
    Ok(body.collect().await.map_err(|error| broken(&error))?.to_bytes())
}

fn failed(error: &dyn std::fmt::Display) -> PeerError {
    PeerError::Failed(error.to_string())
}

/// What an answer other than 200 means.
fn refusal(status: StatusCode, body: &[u8]) -> PeerError {
    match status {
        // Another instance has its port.
        StatusCode::MISDIRECTED_REQUEST => PeerError::Gone("another instance has its port".to_owned()),
        StatusCode::SERVICE_UNAVAILABLE => {
            PeerError::NotAnswered(serde_json::from_slice(body).unwrap_or(NotAnswered::Unavailable))
        }
        status => PeerError::Refused(status),
    }
}

/// A broken connection means that the peer is gone; a request that was reset on a sound one does not.
fn broken(error: &hyper::Error) -> PeerError {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<h2::Error>());
    let detail = source.map_or_else(|| error.to_string(), |source| format!("{error}: {source}"));
    if source.is_some_and(h2::Error::is_reset) || error.is_user() {
        PeerError::Failed(detail)
    } else {
        PeerError::Gone(detail)
    }
}
