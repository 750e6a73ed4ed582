//! The one layer around every route: trace id, `Accept`, request metrics. No span, and one debug line.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::response::{IntoResponse, Response};
use futures::future::BoxFuture;
use http::header::CONNECTION;
use http::{HeaderValue, Method};
use tower::{Layer, Service};

use crate::Problem;
use crate::basics::Basics;
use crate::headers::{accepts_events, accepts_json, names, trace::TraceContext};
use crate::requests::Requests;

/// Whether this instance is about to stop: its answers then say that their connection ends with them. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Leaving(Arc<AtomicBool>);

impl Leaving {
    /// It is, from now on.
    pub fn begin(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn has_begun(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Edge {
    metrics: Arc<Requests>,
    leaving: Leaving,
    /// Routes that answer `text/event-stream`.
    streams: &'static [&'static str],
}

impl Edge {
    pub fn new(basics: &Basics) -> Self {
        Self {
            metrics: Arc::default(),
            leaving: basics.leaving.clone(),
            streams: basics.streams,
        }
    }

    /// What it counts.
    pub const fn requests(&self) -> &Arc<Requests> {
        &self.metrics
    }

    /// What every answer gets on its way out.
    pub fn finish(
        &self,
        response: &mut Response,
        route: &str,
        method: &'static str,
        trace: TraceContext,
        begun: Instant,
    ) {
        let headers = response.headers_mut();
        headers.insert(names::TRACE_ID, trace.header_value());
        if self.leaving.has_begun() {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let (status, took) = (response.status().as_u16(), begun.elapsed());
        self.metrics.record(route, method, status, took);
        tracing::debug!(route, method, status, took_us = took.as_micros(), trace_id = ?trace.header_value(), "http request");
    }
}

impl<S> Layer<S> for Edge {
    type Service = EdgeService<S>;

    fn layer(&self, inner: S) -> EdgeService<S> {
        EdgeService {
            inner,
            edge: self.clone(),
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct EdgeService<S> {
    inner: S,
    edge: Edge,
}

impl<S> Service<Request> for EdgeService<S>
where
    S: Service<Request, Response = Response>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let begun = Instant::now();
        let trace = TraceContext::of(request.headers());
        let route = request.extensions().get::<MatchedPath>().cloned();
        let method = label(request.method());
        // Only the API's own paths: a browser may read a problem's page, and a scraper asks for text.
        let of_the_api = route
            .as_ref()
            .is_some_and(|route| route.as_str().starts_with("/v1/"));
        let is_stream = || {
            route
                .as_ref()
                .is_some_and(|route| self.edge.streams.contains(&route.as_str()))
        };
        let refused = of_the_api
            && !accepts_json(request.headers())
            && !(is_stream() && accepts_events(request.headers()));
        request.extensions_mut().insert(trace);
        let answer = (!refused).then(|| self.inner.call(request));
        let edge = self.edge.clone();
        Box::pin(async move {
            let mut response = match answer {
                Some(answer) => answer.await?,
                None => Problem::not_acceptable().into_response(),
            };
            let route = route.as_ref().map_or("unmatched", MatchedPath::as_str);
            edge.finish(&mut response, route, method, trace, begun);
            Ok(response)
        })
    }
}

/// Methods as bounded labels.
fn label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::HEAD => "HEAD",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "OTHER",
    }
}
