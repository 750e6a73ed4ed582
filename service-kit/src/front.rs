//! In front of the router: answers that are there at once.
//!
//! A router finds the route, takes the path apart and keeps both for whoever may want them, which costs more than an answer that only
//! has to be looked up. A shortcut gives it from the request as it came; everything else goes to the router. Outside nobody sees
//! which way it was: the same headers, the same metrics, the same refusals.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};
use std::time::Instant;

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use axum::routing::future::RouteFuture;
use futures::future::Either;
use http::Method;
use tower::Service;

use crate::edge::Edge;
use crate::headers::{accepts_json, trace::TraceContext};

/// An answer that was there at once.
#[derive(Debug)]
pub struct Shortcut {
    /// The route that the router would have taken.
    pub route: &'static str,
    /// The answer.
    pub response: Response,
}

/// A router with a way around it, for GETs.
#[derive(Clone, Debug)]
pub struct Front<F> {
    shortcut: F,
    router: Router,
    edge: Edge,
}

impl<F: Fn(&Request) -> Option<Shortcut>> Front<F> {
    pub(crate) const fn new(shortcut: F, router: Router, edge: Edge) -> Self {
        Self {
            shortcut,
            router,
            edge,
        }
    }

    fn at_once(&self, request: &Request) -> Option<Response> {
        if request.method() != Method::GET || !accepts_json(request.headers()) {
            return None;
        }
        let begun = Instant::now();
        let Shortcut { route, mut response } = (self.shortcut)(request)?;
        let trace = TraceContext::of(request.headers());
        self.edge.finish(&mut response, route, "GET", trace, begun);
        Some(response)
    }
}

impl<F: Fn(&Request) -> Option<Shortcut>> Service<Request> for Front<F> {
    type Response = Response;
    type Error = Infallible;
    type Future = Either<Ready<Result<Response, Infallible>>, RouteFuture<Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        <Router as Service<Request>>::poll_ready(&mut self.router, context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        match self.at_once(&request) {
            Some(response) => Either::Left(ready(Ok(response))),
            None => Either::Right(self.router.call(request)),
        }
    }
}
