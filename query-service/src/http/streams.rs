//! `GET /v1/orders/{id}/events` and `GET /v1/feed`

use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::response::Response;
use eventlog::Topic;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use service_kit::Problem;
use service_kit::headers::{self, names};
use service_kit::path::{self, Params};
use service_kit::problem::kinds;

use super::answer::{self, ORDER_NOT_FOUND};
use super::openapi::{OrderPath, ReadProblems, StreamEvent, StreamHeaders};
use super::request::{ReadRequest, parameters};
use super::{App, fetch};
use crate::cache::key::KeyRef;
use crate::cache::policy::NO_STORE;
use crate::live::{Follower, Scope, TOO_MANY_STREAMS, body, positions, token};
use crate::models::{Query, order_partition};
use crate::tail::ring::OrderPlaces;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Tells nginx and its like to pass on what there is.
const BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
const RETRY_AFTER_S: u32 = 1;
const RETRY_AFTER_FULL_S: u32 = 5;

/// An order's events from now on, from a token, or from right behind an event.
#[utoipa::path(get, path = "/v1/orders/{id}/events", tag = "orders", params(OrderPath, StreamHeaders), responses(
    (status = 200, description = "Server-sent events, for as long as the client listens. Each has an `id` to come again with, the record's short name as `event`, \
     and as `data` one element of the order's history with `order_id`. `dropped` is the last event of a stream that was not read in time.",
     content_type = "text/event-stream", body = StreamEvent, headers(("Consistency-Token" = String, description = "Where the stream begins."))),
    (status = 404, description = "There is no such order.", content_type = "application/problem+json"),
    ReadProblems,
))]
pub(super) async fn order_events(State(app): State<Arc<App>>, request: Request) -> Result<Response, Problem> {
    let (mut parts, _) = request.into_parts();
    let Params(id) = Params::<String>::from_request_parts(&mut parts, &()).await?;
    let id = path::uuid("order id", &id)?;
    parameters(&parts.uri, &[])?;
    let mut request = ReadRequest::parse(&app, &parts.headers)?;
    let partition = order_partition(id, request.known.identity.partitions).partition;
    let last = last_event(&request, &parts.headers)?;
    if let Some(last) = &last {
        let here = last.get(&partition).map(|place| (partition, *place));
        request.need.wanted.merge(&positions(here));
    }
    match fetch(&app, &mut request, Some(KeyRef::Order(id)), || Query::Order(id)).await {
        Ok(served) if served.entry.version.is_some() => {}
        Ok(served) => return Ok(answer::one(&request, &served, &ORDER_NOT_FOUND)),
        Err(problem) => return Ok(answer::problem(problem, &request)),
    }
    let mut places = begin(&request, last).await?;
    places.retain(|at, _| *at == partition);
    Ok(start(&app, &request, Scope::Order { id, partition }, places).await)
}

/// The events of all orders from now on, from a token, or from right behind an event. In order in each partition.
#[utoipa::path(get, path = "/v1/feed", tag = "orders", params(StreamHeaders), responses(
    (status = 200, description = "Server-sent events as of an order, of all of them.",
     content_type = "text/event-stream", body = StreamEvent, headers(("Consistency-Token" = String, description = "Where the stream begins."))),
    ReadProblems,
))]
pub(super) async fn feed(State(app): State<Arc<App>>, request: Request) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    parameters(&parts.uri, &[])?;
    let request = ReadRequest::parse(&app, &parts.headers)?;
    let last = last_event(&request, &parts.headers)?;
    let places = begin(&request, last).await?;
    Ok(start(&app, &request, Scope::Feed, places).await)
}

/// What `Last-Event-ID` says: every partition. One that it does not name had nothing then.
fn last_event(request: &ReadRequest<'_>, headers: &HeaderMap) -> Result<Option<OrderPlaces>, Problem> {
    let Some(text) = headers::single(headers, &LAST_EVENT_ID)? else {
        return Ok(None);
    };
    // Of several, none is where a stream stood.
    if text.contains(',') {
        return Err(Problem::malformed_token("Last-Event-ID is one id."));
    }
    let identity = &request.known.identity;
    let opened = identity.key.open(text);
    let last = opened.map_err(|error| Problem::malformed_token(format!("{error}.")))?;
    let place = |partition| {
        let topic = Topic::Orders;
        let place = last.get(eventlog::TopicPartition { topic, partition });
        (partition, place.unwrap_or(0))
    };
    Ok(Some((0..identity.partitions).map(place).collect()))
}

/// Where the log stands. Right after a start nobody knows for a moment, and it is waited for as long as the caller would.
async fn heads(request: &ReadRequest<'_>) -> Result<OrderPlaces, Problem> {
    let live = request.known.cache.tail().live();
    let mut moved = live.moved();
    let known = async {
        loop {
            let heads = live.heads();
            if !heads.is_empty() || moved.changed().await.is_err() {
                return heads;
            }
        }
    };
    match tokio::time::timeout(request.need.patience, known).await {
        Ok(heads) if !heads.is_empty() => Ok(heads),
        _ => {
            let detail = "It is not known yet where the log stands.";
            Err(Problem::of(&kinds::NOT_READY, detail).with_retry_after(RETRY_AFTER_S))
        }
    }
}

/// Where a stream begins: behind the last event, else behind the token, else now.
async fn begin(request: &ReadRequest<'_>, last: Option<OrderPlaces>) -> Result<OrderPlaces, Problem> {
    let heads = heads(request).await?;
    Ok(last.unwrap_or_else(|| {
        let mut places = heads;
        for (at, place) in request.token.iter().filter(|(at, _)| at.topic == Topic::Orders) {
            if let Some(begin) = places.get_mut(&at.partition) {
                *begin = place;
            }
        }
        places
    }))
}

async fn start(app: &App, request: &ReadRequest<'_>, scope: Scope, places: OrderPlaces) -> Response {
    let known = request.known;
    let heads = known.cache.tail().live().heads();
    let mut beyond = places.clone();
    beyond.retain(|partition, place| heads.get(partition).is_none_or(|head| *place > *head));
    if app.streams.is_ahead(&beyond).await {
        return answer::problem(Problem::future_token(RETRY_AFTER_S), request);
    }
    let Some(open) = app.streams.open() else {
        let detail = "This instance has as many streams open as it may.";
        let problem = Problem::of(&TOO_MANY_STREAMS, detail).with_retry_after(RETRY_AFTER_FULL_S);
        return answer::problem(problem, request);
    };
    let follower = Follower::new(scope, places);
    let begins = HeaderValue::from_str(&token(&known.identity.key, follower.places()));
    let mut response = Response::new(body(open, Arc::clone(known), follower));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(NO_STORE));
    headers.insert(BUFFERING, HeaderValue::from_static("no"));
    if let Ok(begins) = begins {
        headers.insert(names::CONSISTENCY_TOKEN, begins);
    }
    response
}
