//! What every service serves beside its own paths: health, metrics, `OpenAPI`, the problems' pages, and refusals as problem+json.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};

use crate::edge::Edge;
pub use crate::edge::Leaving;
pub use crate::front::{Front, Shortcut};
use crate::path::Params;
use crate::problem::{ProblemKind, kinds};
use crate::requests::Requests;
use crate::telemetry::Metrics;
use crate::{Health, Problem, json};

/// What the common paths need from a service.
#[derive(Clone)]
pub struct Basics {
    /// Behind `/health/ready`.
    pub health: Health,
    /// Behind `/metrics`.
    pub metrics: Metrics,
    /// Behind `/openapi.json`; none where the service has no API.
    pub openapi: Option<utoipa::openapi::OpenApi>,
    /// The service's own kinds of problems, beside the common ones.
    pub problems: Vec<ProblemKind>,
    /// Sends clients elsewhere.
    pub leaving: Leaving,
    /// Routes that answer `text/event-stream`, as they are written in the router.
    pub streams: &'static [&'static str],
}

/// Completes a service's router. Call it last: refusals cover the routes that are there by then.
pub fn finish(service: Router, basics: Basics) -> Router {
    let edge = Edge::new(&basics);
    with_edge(service, basics, edge)
}

/// The same, with a way around the router.
pub fn finish_with_shortcut<F>(service: Router, basics: Basics, shortcut: F) -> Front<F>
where
    F: Fn(Request) -> Shortcut,
{
    let edge = Edge::new(&basics);
    Front::new(shortcut, with_edge(service, basics, edge.clone()), edge)
}

fn with_edge(service: Router, basics: Basics, edge: Edge) -> Router {
    let Basics {
        health,
        metrics,
        openapi,
        problems,
        leaving: _,
        streams: _,
    } = basics;
    let requests = Arc::clone(edge.requests());
    let problems: Arc<[ProblemKind]> = kinds::ALL.iter().copied().chain(problems).collect();
    let mut router = service
        .route(
            "/health/live",
            get(|| async { json::respond(200, &serde_json::json!({"status": "live"})) }),
        )
        .route("/health/ready", get(move || async move { health.respond() }))
        .route(
            "/metrics",
            get(move || async move { render(&metrics, &requests) }),
        )
        .route(
            "/problems/{slug}",
            get(move |Params(slug): Params<String>| async move { page(&problems, &slug) }),
        );
    if let Some(openapi) = openapi {
        let document = Bytes::from(openapi.to_json().unwrap_or_default());
        router = router.route(
            "/openapi.json",
            get(move || async move { json::respond_bytes(200, document) }),
        );
    }
    router
        .fallback(|| async { Problem::unknown_path() })
        .method_not_allowed_fallback(|| async { Problem::method_not_allowed() })
        .layer(edge)
}

fn render(metrics: &Metrics, requests: &Requests) -> Response {
    let text = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    let all = metrics.render() + &requests.render();
    ([(header::CONTENT_TYPE, text)], all).into_response()
}

/// The page behind a problem's type. Its texts are ours, so nothing needs escaping.
fn page(problems: &[ProblemKind], slug: &str) -> Response {
    let Some(kind) = problems.iter().find(|kind| kind.slug == slug) else {
        return Problem::unknown_path().into_response();
    };
    let ProblemKind {
        slug,
        status,
        title,
        about,
    } = kind;
    let html = HeaderValue::from_static("text/html; charset=utf-8");
    let page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title>\
         <h1>{title}</h1><p>Status {status}, type <code>/problems/{slug}</code></p><p>{about}</p></html>\n"
    );
    (StatusCode::OK, [(header::CONTENT_TYPE, html)], page).into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use tower::ServiceExt;

    use super::*;
    use crate::health::START;

    fn router() -> Router {
        let health = Health::starting();
        health.down(START, "no broker answers");
        let own = ProblemKind {
            slug: "sold-out",
            status: 409,
            title: "Sold out",
            about: "There is no more.",
        };
        let basics = Basics {
            health,
            metrics: Metrics::install().unwrap(),
            openapi: None,
            problems: vec![own],
            leaving: Leaving::default(),
            streams: &[],
        };
        finish(
            Router::new().route("/v1/things/{id}", get(|| async { "{}" })),
            basics,
        )
    }

    #[tokio::test]
    async fn a_shortcut_is_an_answer_like_any_other() {
        let basics = Basics {
            health: Health::starting(),
            metrics: Metrics::install().unwrap(),
            openapi: None,
            problems: Vec::new(),
            leaving: Leaving::default(),
            streams: &[],
        };
        let shortcut = |request: Request| match request.uri().path() {
            "/v1/things/1" => Shortcut::Now("/v1/things/{id}", "at once".into_response()),
            "/v1/things/3" => {
                let later = async { "later".into_response() };
                Shortcut::Later("/v1/things/{id}", Box::pin(later))
            }
            _ => Shortcut::None(request),
        };
        let service = Router::new().route("/v1/things/{id}", get(|| async { "by the router" }));
        let front = finish_with_shortcut(service, basics, shortcut);
        for (method, path, accept, status, body) in [
            ("GET", "/v1/things/1", "*/*", 200, "at once"),
            ("GET", "/v1/things/2", "*/*", 200, "by the router"),
            ("GET", "/v1/things/3", "*/*", 200, "later"),
            ("HEAD", "/v1/things/1", "*/*", 200, ""),
            ("GET", "/v1/things/1", "text/html", 406, "not-acceptable"),
            ("DELETE", "/v1/things/1", "*/*", 405, "method-not-allowed"),
            (
                "GET",
                "/metrics",
                "*/*",
                200,
                "_count{http_route=\"/v1/things/{id}\",http_request_method=\"GET\",http_response_status_code=\"200\"} 3",
            ),
        ] {
            let request = http::Request::builder()
                .method(method)
                .uri(path)
                .header(header::ACCEPT, accept)
                .body(Body::empty());
            let response = front.clone().oneshot(request.unwrap()).await.unwrap();
            assert_eq!(response.status(), status, "{method} {path}");
            assert_eq!(response.headers()["trace-id"].len(), 32);
            let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
            let text = String::from_utf8_lossy(&bytes).into_owned();
            assert!(text.contains(body), "{method} {path}: {text}");
        }
    }

    async fn send(method: &str, path: &str, accept: &str) -> Response {
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header(header::ACCEPT, accept)
            .body(Body::empty());
        router().oneshot(request.unwrap()).await.unwrap()
    }

    #[tokio::test]
    async fn refusals_are_problems_and_every_answer_has_a_trace_id() {
        for (method, path, accept, status) in [
            ("GET", "/v1/things/1", "*/*", 200),
            ("GET", "/v1/things/1", "text/html", 406),
            ("GET", "/v1/nothing", "*/*", 404),
            ("DELETE", "/v1/things/1", "*/*", 405),
            ("GET", "/health/live", "text/html", 200),
            ("GET", "/health/ready", "*/*", 503),
            ("GET", "/problems/not-json", "text/html", 200),
            ("GET", "/problems/sold-out", "text/html", 200),
            ("GET", "/problems/%3Cscript%3E", "text/html", 404),
            ("GET", "/problems/%FF", "text/html", 400),
            ("GET", "/metrics", "text/plain", 200),
        ] {
            let response = send(method, path, accept).await;
            assert_eq!(response.status(), status, "{method} {path}");
            assert_eq!(response.headers()["trace-id"].len(), 32, "{method} {path}");
            if status >= 400 {
                assert_eq!(
                    response.headers()[header::CONTENT_TYPE],
                    "application/problem+json",
                    "{method} {path}"
                );
            }
            if status == 405 {
                assert_eq!(response.headers()[header::ALLOW], "GET,HEAD");
            }
        }
    }
}
