//! Serving a router until the process is told to stop.

use std::net::SocketAddr;

use anyhow::Context as _;
use axum::Router;
use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Listens at that address, or says in one line why it cannot.
pub async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}; choose another address with TAILWATER_LISTEN"))
}

/// Answers requests until `shutdown`; then takes no more, and lets those that are there finish.
pub async fn serve(listener: TcpListener, router: Router, shutdown: CancellationToken) -> anyhow::Result<()> {
    let listener = listener.tap_io(|connection| {
        // Answers are small and whole: waiting for more would only add latency.
        let _ = connection.set_nodelay(true);
    });
    axum::serve(
        listener,
        router.into_make_service_with_connect_info::<SocketAddr>(),
    )
    .with_graceful_shutdown(shutdown.cancelled_owned())
    .await
    .context("the HTTP server failed")
}
