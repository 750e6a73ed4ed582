//! In front of the router: answers to plain GETs.
//!
//! A router finds the route, takes the path apart and keeps both for whoever may want them, which costs more than an answer that only
//! has to be looked up, and a good part of one that has to be fetched. A shortcut gives it from the request as it came; everything else
//! goes to the router. Outside nobody sees which way it was: the same headers, the same metrics, the same refusals.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use futures::future::{BoxFuture, Either};
use http::Method;
use tower::Service;

use crate::edge::Edge;
use crate::headers::{accepts_json, trace::TraceContext};

/// How a request is answered.
pub enum Shortcut {
    /// At once, by the route that the router would have taken.
    Now(&'static str, Response),
    /// When it is there, by that route.
    Later(&'static str, BoxFuture<'static, Response>),
    /// By the router, after all.
    None(Request),
}

impl std::fmt::Debug for Shortcut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Now(route, _) => f.debug_tuple("Now").field(route).finish_non_exhaustive(),
            Self::Later(route, _) => f.debug_tuple("Later").field(route).finish_non_exhaustive(),
            Self::None(request) => f.debug_tuple("None").field(request.uri()).finish(),
        }
    }
}

/// A router with a way around it, for GETs. Each request clones it, so that must be cheap.
#[derive(Debug)]
pub struct Front<F>(Arc<Parts<F>>);

#[derive(Debug)]
struct Parts<F> {
    shortcut: F,
    router: Router,
    edge: Edge,
}

impl<F> Clone for Front<F> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<F: Fn(Request) -> Shortcut> Front<F> {
    pub(crate) fn new(shortcut: F, router: Router, edge: Edge) -> Self {
        Self(Arc::new(Parts {
            shortcut,
            router,
            edge,
        }))
    }
}

impl<F> Service<Request> for Front<F>
where
    F: Fn(Request) -> Shortcut + Send + Sync + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future =
        Either<Ready<Result<Response, Infallible>>, BoxFuture<'static, Result<Response, Infallible>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // As a router is: always.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let Parts {
            shortcut,
            router,
            edge,
        } = &*self.0;
        if request.method() != Method::GET || !accepts_json(request.headers()) {
            return Either::Right(Box::pin(router.clone().call(request)));
        }
        let begun = Instant::now();
        let trace = TraceContext::of(request.headers());
        match shortcut(request) {
            Shortcut::Now(route, mut response) => {
                edge.finish(&mut response, route, "GET", trace, begun);
                Either::Left(ready(Ok(response)))
            }
            Shortcut::Later(route, answer) => {
                let front = self.clone();
                Either::Right(Box::pin(async move {
                    let mut response = answer.await;
                    front.0.edge.finish(&mut response, route, "GET", trace, begun);
                    Ok(response)
                }))
            }
            Shortcut::None(request) => Either::Right(Box::pin(router.clone().call(request))),
        }
    }
}
