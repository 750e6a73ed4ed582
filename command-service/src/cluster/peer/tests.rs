//! A served port and its client, without a cluster around them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::header::AUTHORIZATION;
use http_body_util::Full;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::*;
use crate::cluster::member::{Heartbeat, MemberId, MemberState};
use crate::engine::{Decision, Submission};
use crate::writer::Request;

const TIMEOUT: Duration = Duration::from_secs(20);
const SECRET: &[u8] = b"0123456789abcdef";

/// Looks nothing up, proves what it is asked, holds no positions, and has 10 MB of state.
#[derive(Clone, Default)]
struct Service(Arc<AtomicUsize>);

impl LocalSubmitter for Service {
    async fn submit(&self, _: Submission, _: Duration) -> Decision {
        self.0.fetch_add(1, Ordering::SeqCst);
        std::future::pending().await
    }
}

impl PeerService for Service {
    async fn look_up(&self, id: Uuid) -> Result<Option<Standing>, NotAnswered> {
        Ok((!id.is_nil()).then_some(Standing::Accepted(None)))
    }

    async fn prove(&self, slots: Vec<usize>, _: Duration) -> Result<Vec<(usize, i64)>, NotAnswered> {
        Ok(slots.into_iter().map(|slot| (slot, 7)).collect())
    }

    async fn read(&self, question: AggregateQuestion, _: Duration) -> Result<Bytes, NotAnswered> {
        Ok(question.key.into())
    }

    async fn positions(&self, _: Vec<usize>) -> Result<Bytes, NotAnswered> {
        Err(NotAnswered::Overloaded)
    }

    async fn state(&self, slot: usize) -> Result<StateChunks, NotAnswered> {
        let (chunks, state) = mpsc::channel(4);
        tokio::spawn(async move {
            for _ in 0..100 {
                let _ = chunks.send(Ok(vec![7; 100_000].into())).await;
            }
            if slot == 1 {
                let _ = chunks.send(Err(NotAnswered::Unavailable)).await;
            }
        });
        Ok(state)
    }
}

struct Served {
    id: MemberId,
    address: String,
    service: Service,
    _until: DropGuard,
}

impl Served {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (id, shutdown) = (MemberId::generate(), CancellationToken::new());
        let service = Service::default();
        let key = PeerKey::new(SECRET);
        tokio::spawn(server::serve(
            listener,
            service.clone(),
            key,
            id,
            shutdown.clone(),
        ));
        Self {
            id,
            address,
            service,
            _until: shutdown.drop_guard(),
        }
    }

    fn peer(&self, id: MemberId, secret: &[u8]) -> Peer {
        let heartbeat = Heartbeat {
            id,
            beat: 1,
            name: "peer".to_owned(),
            peer: self.address.clone(),
            ping: String::new(),
            http: String::new(),
            state: MemberState::Ready,
            held: std::collections::BTreeMap::new(),
        };
        Peer::new(&heartbeat, &PeerKey::new(secret))
    }

    /// What the port says to a request that no peer would send.
    async fn status(&self, headers: &[(HeaderName, &str)], path: &str, body: Vec<u8>) -> StatusCode {
        let stream = TcpStream::connect(&self.address).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .unwrap();
        tokio::spawn(connection);
        let mut request = http::Request::post(format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        let request = request.body(Full::new(Bytes::from(body))).unwrap();
        sender.send_request(request).await.unwrap().status()
    }
}

#[tokio::test]
async fn only_those_with_the_key_are_served() {
    let served = Served::start().await;
    let forged = served.peer(served.id, b"0123456789abcdeg");
    let answer = forged.prove(&[1], TIMEOUT).await;
    assert_eq!(answer, Err(PeerError::Refused(StatusCode::UNAUTHORIZED)));
    for bearer in ["", "Bearer", "Bearer 00", "Basic eA=="] {
        let status = served
            .status(&[(AUTHORIZATION, bearer)], paths::SUBMIT, Vec::new())
            .await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{bearer}");
    }
    assert_eq!(
        served.status(&[], "/nowhere", Vec::new()).await,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(served.service.0.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn another_instance_on_the_same_port_means_that_the_old_one_is_gone() {
    let served = Served::start().await;
    let old = served.peer(MemberId::generate(), SECRET);
    let answer = old.prove(&[1], TIMEOUT).await;
    assert!(matches!(answer, Err(PeerError::Gone(_))), "{answer:?}");
}

#[tokio::test]
async fn what_is_malformed_or_too_large_is_refused() {
    let served = Served::start().await;
    let bearer = PeerKey::new(SECRET).bearer(served.id);
    let bearer = [(AUTHORIZATION, bearer.to_str().unwrap())];
    let status = |path, body| served.status(&bearer, path, body);
    assert_eq!(
        status(paths::SUBMIT, b"{}".to_vec()).await,
        StatusCode::BAD_REQUEST
    );
    assert_eq!(
        status(paths::SUBMIT, vec![b' '; BODY_BYTES_MAX + 1]).await,
        StatusCode::PAYLOAD_TOO_LARGE
    );
    assert_eq!(status("/nowhere", Vec::new()).await, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn each_message_gets_its_answer() {
    let served = Served::start().await;
    let peer = served.peer(served.id, SECRET);
    assert_eq!(peer.prove(&[3, 4], TIMEOUT).await, Ok(vec![(3, 7), (4, 7)]));
    let question = AggregateQuestion {
        topic: eventlog::Topic::Stock,
        key: "mug".to_owned(),
        at_least: 3,
    };
    assert_eq!(peer.read(&question, TIMEOUT).await.unwrap(), "mug");
    assert_eq!(
        peer.look_up(Uuid::from_u128(1), TIMEOUT).await.unwrap(),
        Some(Standing::Accepted(None))
    );
    assert_eq!(peer.look_up(Uuid::nil(), TIMEOUT).await, Ok(None));
    assert_eq!(
        peer.positions(&[], TIMEOUT).await,
        Err(PeerError::NotAnswered(NotAnswered::Overloaded))
    );
}

#[tokio::test]
async fn a_state_that_breaks_off_is_not_taken_for_a_whole_one() {
    let served = Served::start().await;
    let peer = served.peer(served.id, SECRET);
    let mut whole = peer.state(0, TIMEOUT).await.unwrap();
    let mut bytes = 0;
    while let Some(chunk) = whole.next().await.unwrap() {
        bytes += chunk.len();
    }
    assert_eq!(bytes, 10_000_000);
    let mut broken = peer.state(1, TIMEOUT).await.unwrap();
    let error = loop {
        match broken.next().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it has no end"),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, PeerError::Failed(_)), "{error:?}");
    peer.prove(&[1], TIMEOUT).await.expect("the connection is sound");
}

fn command() -> Submission {
    let command = domain::StockCommand::Receive {
        sku: "a".to_owned(),
        quantity: 1,
    };
    Submission::now(Request {
        id: Uuid::from_u128(1),
        fingerprint: [7; 16],
        at: schemas::Timestamp(1),
        expected: crate::writer::Expected::Any,
        causes: [].into(),
        traceparent: None,
        source: None,
        command: command.into(),
    })
}

#[tokio::test]
async fn whoever_waits_is_told_at_once_that_the_peer_is_gone() {
    let served = Served::start().await;
    let peer = served.peer(served.id, SECRET);
    // More than what the other side allows to be reset unseen by default.
    let waiting: Vec<_> = (0..500)
        .map(|_| {
            let peer = peer.clone();
            tokio::spawn(async move { peer.submit(&command(), TIMEOUT).await })
        })
        .collect();
    while served.service.0.load(Ordering::SeqCst) < 500 {
        tokio::task::yield_now().await;
    }
    peer.set_gone(true);
    for waiting in waiting {
        let answer = waiting.await.unwrap();
        assert!(matches!(answer, Err(PeerError::Gone(_))), "{answer:?}");
    }
    peer.set_gone(false);
    peer.prove(&[1], TIMEOUT).await.expect("a new connection");
}

#[tokio::test]
async fn slow_is_not_gone() {
    let served = Served::start().await;
    let peer = served.peer(served.id, SECRET);
    let answer = peer.submit(&command(), Duration::from_millis(50)).await;
    assert_eq!(answer, Err(PeerError::TimedOut));
}

#[tokio::test]
async fn a_port_that_nobody_listens_on_is_gone() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let served = Served::start().await;
    let closed = Served {
        address: listener.local_addr().unwrap().to_string(),
        ..served
    };
    drop(listener);
    let answer = closed.peer(closed.id, SECRET).prove(&[1], TIMEOUT).await;
    assert!(matches!(answer, Err(PeerError::Gone(_))), "{answer:?}");
}
