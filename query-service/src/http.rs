//! The endpoints, and what they share: how a request's headers are read, and what every answer carries.

mod answer;
mod customers;
mod history;
mod openapi;
mod orders;
mod positions;
mod products;
mod quick;
mod request;
mod stock;
mod streams;

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::Request;
use axum::routing::get;
use service_kit::Problem;
use service_kit::basics::Shortcut;
use service_kit::problem::kinds;

pub use openapi::document as openapi;

use crate::cache::Cache;
use crate::cache::key::KeyRef;
use crate::identity::Identity;
use crate::live::Streams;
use crate::models::Query;
use crate::reads::{Reads, Served};
use request::ReadRequest;

/// What the endpoints work with.
#[derive(Debug)]
pub struct App {
    pub(crate) reads: Reads,
    pub(crate) streams: Arc<Streams>,
    pub(crate) known: OnceLock<Arc<Known>>,
}

/// What follows from the log's identity.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) identity: Identity,
    pub(crate) cache: Cache,
}

impl App {
    fn known(&self) -> Result<&Arc<Known>, Problem> {
        let starting =
            || Problem::of(&kinds::NOT_READY, "It is not known yet which log this is.").with_retry_after(1);
        self.known.get().ok_or_else(starting)
    }
}

/// Finds what a request asks for, as fresh as it asks for it. `make` is called where memory does not have it.
async fn fetch(
    app: &App,
    request: &mut ReadRequest<'_>,
    key: Option<KeyRef<'_>>,
    make: impl Fn() -> Query,
) -> Result<Served, Problem> {
    if request.strong {
        app.reads.prove(request.known, &make(), &mut request.need).await?;
    }
    if let Some(served) = key.and_then(|key| Reads::from_memory(request.known, &key, &request.need)) {
        return Ok(served);
    }
    app.reads.read(request.known, &make(), &request.need).await
}

/// The routes that answer `text/event-stream`.
pub const STREAMS: [&str; 2] = ["/v1/orders/{id}/events", "/v1/feed"];

/// The service's own routes.
pub fn routes(app: Arc<App>) -> Router {
    Router::new()
        .route("/v1/orders/{id}", get(orders::order))
        .route("/v1/orders/{id}/history", get(history::history))
        .route("/v1/positions", get(positions::positions))
        .route("/v1/products/{sku}/sales", get(products::sales))
        .route("/v1/products/top", get(products::top))
        .route("/v1/customers/{id}/orders", get(customers::orders))
        .route("/v1/stock/{sku}", get(stock::stock))
        .route(STREAMS[0], get(streams::order_events))
        .route(STREAMS[1], get(streams::feed))
        .with_state(app)
}

/// Answers plain reads of one aggregate before the router is asked.
pub fn shortcut(app: Arc<App>) -> impl Fn(Request) -> Shortcut + Send + Sync + 'static {
    move |request| quick::shortcut(&app, request)
}

/// The problems that only this service has.
pub fn problems() -> Vec<service_kit::ProblemKind> {
    vec![
        answer::ORDER_NOT_FOUND,
        answer::STOCK_NOT_FOUND,
        crate::live::TOO_MANY_STREAMS,
        crate::live::STREAM_DROPPED,
    ]
}
