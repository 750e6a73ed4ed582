//! REST writes: requests in, answers out. Nothing is decided here.
//!
//! - [`orders`], [`stock`]: one handler for each row of the contract's table, with its request body.
//! - [`command`]: what all of them share: headers to a command's frame, the frame to a writer; [`answer`]: what it says, as
//!   a response.
//! - [`outcomes`]: what became of a command.
//! - [`internal`]: what other services ask, outside the API.

mod answer;
mod command;
pub mod internal;
mod openapi;
mod orders;
mod outcomes;
mod stock;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};
use eventlog::TokenKey;
use service_kit::ProblemKind;

use crate::instance::Instance;

pub use openapi::document;

/// What the handlers share.
pub struct Api {
    /// The way to the writers.
    pub instance: Instance,
    /// Opens and seals consistency tokens.
    pub tokens: TokenKey,
    /// The query service as clients reach it.
    pub query_url: Arc<str>,
    /// What the names of the topics begin with.
    pub prefix: Arc<str>,
}

/// The paths of the command service.
pub fn routes(api: Arc<Api>) -> Router {
    Router::new()
        .route("/v1/orders", post(orders::place))
        .route("/v1/orders/{id}/payments", post(orders::pay))
        .route("/v1/orders/{id}/shipments", post(orders::ship))
        .route("/v1/orders/{id}/cancellations", post(orders::cancel))
        .route("/v1/orders/{id}/notes", post(orders::add_note))
        .route("/v1/stock/{sku}/receipts", post(stock::receive))
        .route("/v1/stock/{sku}/adjustments", post(stock::adjust))
        .route("/v1/commands/{command_id}", get(outcomes::outcome))
        .with_state(api)
}

/// The domain's refusals, for the pages behind their types.
pub fn problems() -> Vec<ProblemKind> {
    domain::Reason::ALL
        .iter()
        .map(|reason| ProblemKind {
            slug: reason.slug(),
            status: reason.status(),
            title: reason.title(),
            about: reason.explanation(),
        })
        .collect()
}
