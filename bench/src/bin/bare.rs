//! `bare`: what `read` is compared with: axum and nothing else. It answers a GET with a document that it was given, or with
//! "not modified", or with what one indexed select finds. No layers, no metrics, no token.

use std::{net::SocketAddr, process::ExitCode};

use anyhow::Context as _;
use axum::{
    Router,
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use sqlx::{PgPool, postgres::PgPoolOptions};
use uuid::Uuid;

// As the services have it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Connections to Postgres, as the query service has them.
const CONNECTIONS_MAX: u32 = 8;

fn main() -> ExitCode {
    let served = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(serve()));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bare: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn serve() -> anyhow::Result<()> {
    let setting = |name: &str| std::env::var(name).with_context(|| format!("{name} is not set"));
    let listen: SocketAddr = setting("BARE_LISTEN")?.parse()?;
    let document = Bytes::from(setting("BARE_DOCUMENT")?);
    let pool = PgPoolOptions::new()
        .max_connections(CONNECTIONS_MAX)
        .connect_lazy(&setting("BARE_DATABASE_URL")?)?;
    let constant = get(|_: Path<Uuid>| async move { json(document) });
    let unchanged = get(|_: Path<Uuid>| async { (StatusCode::NOT_MODIFIED, [(header::ETAG, "\"2\"")]) });
    let router = Router::new()
        .route("/constant/{id}", constant)
        .route("/unchanged/{id}", unchanged)
        .route("/select/{id}", get(select))
        .with_state(pool);
    let listener = tokio::net::TcpListener::bind(listen).await?;
    Ok(axum::serve(listener, router).await?)
}

fn json(document: Bytes) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], document).into_response()
}

async fn select(Path(id): Path<Uuid>, State(pool): State<PgPool>) -> Response {
    let found: Result<Option<(String,)>, _> = sqlx::query_as("SELECT doc FROM bare WHERE id = $1")
        .bind(id)
        .fetch_optional(&pool)
        .await;
    match found {
        Ok(Some((document,))) => json(document.into()),
        Ok(None) => StatusCode::NOT_FOUND.into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
