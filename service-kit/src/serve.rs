//! Serving a router until the process is told to stop.

use std::net::SocketAddr;

use anyhow::Context as _;
use axum::extract::Request;
use axum::serve::ListenerExt;
use axum::{Router, ServiceExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::basics::{Front, Shortcut};

/// Listens at that address, or says in one line why it cannot.
pub async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}; choose another address with TAILWATER_LISTEN"))
}

/// Answers requests until `shutdown`; then takes no more, and lets those that are there finish. Handlers can ask for the
/// caller's address.
pub async fn serve(listener: TcpListener, router: Router, shutdown: CancellationToken) -> anyhow::Result<()> {
    axum::serve(
        listener.tap_io(without_delay),
        router.into_make_service_with_connect_info::<SocketAddr>(),
    )
    .with_graceful_shutdown(shutdown.cancelled_owned())
    .await
    .context("the HTTP server failed")
}

/// The same for what stands in front of a router. The caller's address is not kept: that costs a little for each request.
pub async fn serve_front<F>(
    listener: TcpListener,
    front: Front<F>,
    shutdown: CancellationToken,
) -> anyhow::Result<()>
where
    F: Fn(Request) -> Shortcut + Send + Sync + 'static,
{
    axum::serve(listener.tap_io(without_delay), front.into_make_service())
        .with_graceful_shutdown(shutdown.cancelled_owned())
        .await
        .context("the HTTP server failed")
}

/// Answers are small and whole: waiting for more would only add latency.
fn without_delay(connection: &mut TcpStream) {
    let _ = connection.set_nodelay(true);
}
