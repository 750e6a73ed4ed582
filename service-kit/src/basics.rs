//! What every service serves beside its own paths: health, metrics, `OpenAPI`, the problems' pages, and refusals as problem+json.

use std::sync::Arc;

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};

use crate::edge::Edge;
pub use crate::edge::Leaving;
use crate::path::Params;
use crate::problem::{ProblemKind, kinds};
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
}

/// Completes a service's router. Call it last: refusals cover the routes that are there by then.
pub fn finish(service: Router, basics: Basics) -> Router {
    let Basics {
        health,
        metrics,
        openapi,
        problems,
        leaving,
    } = basics;
    let problems: Arc<[ProblemKind]> = kinds::ALL.iter().copied().chain(problems).collect();
    let mut router = service
        .route(
            "/health/live",
            get(|| async { json::respond(200, &serde_json::json!({"status": "live"})) }),
        )
        .route("/health/ready", get(move || async move { health.respond() }))
        .route("/metrics", get(move || async move { render(&metrics) }))
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
        .layer(Edge::new(leaving))
}

fn render(metrics: &Metrics) -> Response {
    let text = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    ([(header::CONTENT_TYPE, text)], metrics.render()).into_response()
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
    use http::Request;
    use tower::ServiceExt;

    use super::*;

    fn router() -> Router {
        let health = Health::new();
        health.down("kafka", "no broker answers");
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
        };
        finish(
            Router::new().route("/v1/things/{id}", get(|| async { "{}" })),
            basics,
        )
    }

    async fn send(method: &str, path: &str, accept: &str) -> Response {
        let request = Request::builder()
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
