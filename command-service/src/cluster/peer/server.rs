//! The peer port: takes requests of other instances, and of nobody else.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Path, Request as HttpRequest, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use futures::stream;
use http::{HeaderMap, StatusCode};
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::{
    BODY_BYTES_MAX, CONNECTION_WINDOW_BYTES, HEADER_BYTES_MAX, INSTANCE, PeerKey, PeerService,
    STREAM_WINDOW_BYTES, STREAMS_MAX, TIMEOUT_MAX, TIMEOUT_MS, paths,
};
use crate::cluster::member::MemberId;
use crate::engine::{NotAnswered, Submission};

/// Pause where connections cannot be taken.
const BACK_OFF: Duration = Duration::from_millis(50);

/// Connections that are served at once. Each other instance makes one; the port takes them from anybody.
const CONNECTIONS_MAX: usize = 256;

/// Takes requests until `shutdown`; then takes no more, and lets those that are there finish.
pub(in crate::cluster) async fn serve<S: PeerService>(
    listener: TcpListener,
    service: S,
    key: PeerKey,
    me: MemberId,
    shutdown: CancellationToken,
) {
    let router = router(service, key, me);
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => break,
        };
        match accepted {
            Ok((stream, _)) if connections.len() < CONNECTIONS_MAX => {
                connections.spawn(connection(stream, router.clone(), shutdown.clone()));
            }
            Ok(_) => tracing::warn!("cluster.peer.accept: too many connections"),
            Err(error) => {
                tracing::warn!(%error, "cluster.peer.accept");
                tokio::time::sleep(BACK_OFF).await;
            }
        }
    }
    connections.close();
    connections.wait().await;
}

async fn connection(stream: TcpStream, router: Router, shutdown: CancellationToken) {
    let _ = stream.set_nodelay(true);
    let mut builder = http2::Builder::new(TokioExecutor::new());
    let streams = usize::try_from(STREAMS_MAX).unwrap_or(usize::MAX);
    builder
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_header_list_size(HEADER_BYTES_MAX)
        // Those who forward give up all at once when this process was stopped for a moment: that is no attack.
        .max_pending_accept_reset_streams(2 * streams)
        .max_local_error_reset_streams(2 * streams);
    let served = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut served = pin!(served);
    let outcome = tokio::select! {
        outcome = &mut served => outcome,
        () = shutdown.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, "cluster.peer.served");
    }
}

fn router<S: PeerService>(service: S, key: PeerKey, me: MemberId) -> Router {
    Router::new()
        .route(paths::SUBMIT, post(submit::<S>))
        .route(&format!("{}{{id}}", paths::COMMANDS), get(look_up::<S>))
        .route(paths::PROVE, post(prove::<S>))
        .route(paths::AGGREGATES, post(read::<S>))
        .route(paths::POSITIONS, post(positions::<S>))
        .route(&format!("{}{{slot}}", paths::STATE), get(state::<S>))
        .with_state(Arc::new(service))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        // Outermost: nothing of a request is looked at before it is known whose it is.
        .layer(middleware::from_fn_with_state((key, me), admit))
}

async fn admit(State((key, me)): State<(PeerKey, MemberId)>, request: HttpRequest, next: Next) -> Response {
    let meant = request
        .headers()
        .get(INSTANCE)
        .and_then(|value| value.to_str().ok());
    if meant.is_some_and(|meant| meant.parse() != Ok(me)) {
        return StatusCode::MISDIRECTED_REQUEST.into_response();
    }
    if !key.admits(request.headers(), me) {
        tracing::warn!("cluster.peer.refused: a request with another key, or with none");
        return StatusCode::UNAUTHORIZED.into_response();
    }
    next.run(request).await
}

/// How long whoever forwarded this waits for it.
fn timeout(headers: &HeaderMap) -> Duration {
    let asked = headers.get(TIMEOUT_MS).and_then(|value| value.to_str().ok());
    asked
        .and_then(|text| text.parse().ok())
        .map_or(TIMEOUT_MAX, Duration::from_millis)
        .min(TIMEOUT_MAX)
}

fn json<T: serde::Serialize>(status: StatusCode, value: &T) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => (status, Bytes::from(body)).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn answer(outcome: Result<Bytes, NotAnswered>) -> Response {
    match outcome {
        Ok(body) => body.into_response(),
        Err(reason) => json(StatusCode::SERVICE_UNAVAILABLE, &reason),
    }
}

async fn submit<S: PeerService>(State(service): State<Arc<S>>, headers: HeaderMap, body: Bytes) -> Response {
    match serde_json::from_slice::<Submission>(&body) {
        // Straight to the writers of this instance: what was forwarded is never forwarded again.
        Ok(submission) => json(
            StatusCode::OK,
            &service.submit(submission, timeout(&headers)).await,
        ),
        Err(error) => (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    }
}

async fn look_up<S: PeerService>(State(service): State<Arc<S>>, Path(id): Path<Uuid>) -> Response {
    match service.look_up(id).await {
        Ok(None) => StatusCode::NOT_FOUND.into_response(),
        Ok(Some(found)) => json(StatusCode::OK, &found),
        Err(reason) => answer(Err(reason)),
    }
}

async fn prove<S: PeerService>(State(service): State<Arc<S>>, headers: HeaderMap, body: Bytes) -> Response {
    match serde_json::from_slice(&body) {
        // Proven here or not at all, as with commands.
        Ok(slots) => match service.prove(slots, timeout(&headers)).await {
            Ok(proven) => json(StatusCode::OK, &proven),
            Err(reason) => answer(Err(reason)),
        },
        Err(error) => (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    }
}

async fn read<S: PeerService>(State(service): State<Arc<S>>, headers: HeaderMap, body: Bytes) -> Response {
    match serde_json::from_slice(&body) {
        Ok(question) => answer(service.read(question, timeout(&headers)).await),
        Err(error) => (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    }
}

async fn positions<S: PeerService>(State(service): State<Arc<S>>, body: Bytes) -> Response {
    match serde_json::from_slice(&body) {
        Ok(slots) => answer(service.positions(slots).await),
        Err(error) => (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    }
}

async fn state<S: PeerService>(State(service): State<Arc<S>>, Path(slot): Path<usize>) -> Response {
    let chunks = match service.state(slot).await {
        Ok(chunks) => chunks,
        Err(reason) => return answer(Err(reason)),
    };
    let body = stream::unfold(chunks, async |mut chunks| Some((chunks.recv().await?, chunks)));
    Body::from_stream(body).into_response()
}
