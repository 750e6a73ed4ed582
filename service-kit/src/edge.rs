//! The one layer around every route: trace id, `Accept`, request metrics. No span, and one debug line.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request};
use axum::response::{IntoResponse, Response};
use futures::future::BoxFuture;
use http::header::CONNECTION;
use http::{HeaderValue, Method};
use rustc_hash::FxHashMap;
use tower::{Layer, Service};

use crate::headers::{accepts_json, names, trace::TraceContext};
use crate::{Problem, telemetry};

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
    metrics: Arc<RouteMetrics>,
    leaving: Leaving,
}

impl Edge {
    pub fn new(leaving: Leaving) -> Self {
        Self {
            metrics: Arc::default(),
            leaving,
        }
    }
}

impl<S> Layer<S> for Edge {
    type Service = EdgeService<S>;

    fn layer(&self, inner: S) -> EdgeService<S> {
        EdgeService {
            inner,
            metrics: Arc::clone(&self.metrics),
            leaving: self.leaving.clone(),
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct EdgeService<S> {
    inner: S,
    metrics: Arc<RouteMetrics>,
    leaving: Leaving,
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
        let refused = of_the_api && !accepts_json(request.headers());
        request.extensions_mut().insert(trace);
        let answer = (!refused).then(|| self.inner.call(request));
        let (metrics, leaving) = (Arc::clone(&self.metrics), self.leaving.clone());
        Box::pin(async move {
            let mut response = match answer {
                Some(answer) => answer.await?,
                None => Problem::not_acceptable().into_response(),
            };
            response
                .headers_mut()
                .insert(names::TRACE_ID, trace.header_value());
            if leaving.has_begun() {
                response
                    .headers_mut()
                    .insert(CONNECTION, HeaderValue::from_static("close"));
            }
            let route = route.as_ref().map_or("unmatched", MatchedPath::as_str);
            let (status, took) = (response.status().as_u16(), begun.elapsed());
            metrics.record(route, method, status, took);
            tracing::debug!(route, method, status, took_us = took.as_micros(), trace_id = ?trace.header_value(), "http request");
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

/// One combination of method and status of a route.
struct Handle {
    method: &'static str,
    status: u16,
    seconds: metrics::Histogram,
}

/// Handles of the metrics by route: looking a metric up by its labels for each request would cost more than the request.
#[derive(Default)]
struct RouteMetrics(RwLock<FxHashMap<String, Vec<Handle>>>);

impl std::fmt::Debug for RouteMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RouteMetrics")
    }
}

impl RouteMetrics {
    fn record(&self, route: &str, method: &'static str, status: u16, took: Duration) {
        let find = |handles: &Vec<Handle>| {
            let known = handles
                .iter()
                .find(|known| known.method == method && known.status == status)?;
            known.seconds.record(took);
            Some(())
        };
        if self
            .0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(route)
            .and_then(find)
            .is_some()
        {
            return;
        }
        let seconds = telemetry::http_request_seconds(route, method, status);
        seconds.record(took);
        let mut routes = self.0.write().unwrap_or_else(PoisonError::into_inner);
        routes.entry(route.to_owned()).or_default().push(Handle {
            method,
            status,
            seconds,
        });
    }
}
