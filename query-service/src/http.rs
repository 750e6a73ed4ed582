//! The endpoints, and what they share: how a request's headers are read, and what every answer carries.

mod answer;
mod customers;
mod openapi;
mod orders;
mod request;
mod stock;

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::routing::get;
use service_kit::Problem;
use service_kit::problem::kinds;

pub use openapi::document as openapi;

use crate::identity::Identity;
use crate::reads::Reads;

/// What the endpoints work with.
#[derive(Debug)]
pub struct App {
    pub(crate) reads: Reads,
    pub(crate) identity: OnceLock<Identity>,
}

impl App {
    fn identity(&self) -> Result<&Identity, Problem> {
        let starting =
            || Problem::of(&kinds::NOT_READY, "It is not known yet which log this is.").with_retry_after(1);
        self.identity.get().ok_or_else(starting)
    }
}

/// The service's own routes.
pub fn routes(app: Arc<App>) -> Router {
    Router::new()
        .route("/v1/orders/{id}", get(orders::order))
        .route("/v1/customers/{id}/orders", get(customers::orders))
        .route("/v1/stock/{sku}", get(stock::stock))
        .with_state(app)
}

/// The problems that only this service has.
pub fn problems() -> Vec<service_kit::ProblemKind> {
    vec![answer::ORDER_NOT_FOUND, answer::STOCK_NOT_FOUND]
}
