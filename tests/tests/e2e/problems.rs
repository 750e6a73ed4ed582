//! Each way to get a request wrong, with its problem.

use e2e::{Setup, key, order, send};
use reqwest::Method;
use serde_json::{Value, json};

/// A request, and what it must be answered.
struct Case {
    method: Method,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    status: u16,
    slug: &'static str,
    /// Pointers that `errors` must name.
    pointers: Vec<&'static str>,
}

fn case(path: &str, body: impl Into<Vec<u8>>, status: u16, slug: &'static str) -> Case {
    Case {
        method: Method::POST,
        path: path.to_owned(),
        headers: vec![
            ("content-type", "application/json".to_owned()),
            ("idempotency-key", key()),
        ],
        body: body.into(),
        status,
        slug,
        pointers: Vec::new(),
    }
}

impl Case {
    fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| *known != name);
        self
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    fn method(mut self, method: Method) -> Self {
        self.method = method;
        self
    }

    fn naming(mut self, pointers: &[&'static str]) -> Self {
        self.pointers = pointers.to_vec();
        self
    }
}

fn good() -> Value {
    order("alice", &[("mug", 1)])
}

fn cases(order_path: &str) -> Vec<Case> {
    let good = good().to_string();
    let line = |line: &Value| json!({"customer_id": "a", "currency": "GBP", "lines": [line]}).to_string();
    let huge = format!("{{\"customer_id\": \"{}\"}}", "a".repeat(300 * 1024));
    let too_much = json!({"sku": "mug", "quantity": 1_000_001, "unit_price_minor": -1});
    let no_price = json!({"sku": "mug", "quantity": 1});
    let extra = json!({"sku": "mug", "quantity": 1, "unit_price_minor": 1, "discount": 1});
    let text = json!({"sku": "mug", "quantity": "1", "unit_price_minor": 1});
    let pay = |path: &str, status, slug| {
        case(
            path,
            json!({"amount_minor": 1, "reference": "r"}).to_string(),
            status,
            slug,
        )
    };
    let payments = format!("{order_path}/payments");
    let notes = format!("{order_path}/notes");
    let missing = format!("/v1/orders/{}/payments", uuid::Uuid::new_v4());
    vec![
        case("/v1/orders", "{", 400, "not-json"),
        case("/v1/orders", good.clone() + "x", 400, "not-json"),
        case("/v1/orders", vec![b'"', 0xff, b'"'], 400, "not-json"),
        case("/v1/orders", good.clone(), 400, "missing-idempotency-key").without("idempotency-key"),
        case("/v1/orders", good.clone(), 400, "malformed-header").with("idempotency-key", "second"),
        case("/v1/orders", good.clone(), 400, "malformed-header").with("if-match", "4"),
        case("/v1/orders", good.clone(), 400, "malformed-token").with("consistency-token", "AAAA"),
        pay("/v1/orders/not-a-uuid/payments", 400, "malformed-path"),
        case(
            "/v1/stock/a%20b/receipts",
            "{\"quantity\": 1}",
            400,
            "malformed-path",
        ),
        pay(&missing, 404, "order-not-found"),
        case(
            "/v1/stock/never-heard-of/adjustments",
            "{\"quantity\": 1, \"reason\": \"r\"}",
            404,
            "stock-not-found",
        ),
        case("/v1/nothing", "{}", 404, "unknown-path"),
        case("/v1/orders", "", 405, "method-not-allowed").method(Method::DELETE),
        case("/v1/orders", good.clone(), 406, "not-acceptable").with("accept", "text/html"),
        pay(&payments, 409, "wrong-amount"),
        case(
            &format!("{order_path}/shipments"),
            "{\"carrier\": \"c\", \"tracking_code\": \"t\"}",
            409,
            "not-shippable",
        ),
        case(
            "/v1/stock/mug/adjustments",
            "{\"quantity\": -100, \"reason\": \"r\"}",
            409,
            "insufficient-stock",
        ),
        pay(&payments, 412, "version-mismatch").with("if-match", "\"99\""),
        pay(&payments, 412, "version-mismatch").with("if-match", "W/\"2\""),
        case("/v1/orders", good.clone(), 412, "version-mismatch").with("if-match", "\"1\""),
        case(
            "/v1/stock/new-sku/receipts",
            "{\"quantity\": 1}",
            412,
            "version-mismatch",
        )
        .with("if-match", "*"),
        case("/v1/orders", huge, 413, "too-large"),
        case("/v1/orders", good.clone(), 415, "unsupported-media-type").without("content-type"),
        case("/v1/orders", good, 415, "unsupported-media-type")
            .without("content-type")
            .with("content-type", "text/plain"),
        case("/v1/orders", "[]", 422, "invalid-request"),
        case("/v1/orders", line(&too_much), 422, "invalid-request")
            .naming(&["/lines/0/quantity", "/lines/0/unit_price_minor"]),
        case("/v1/orders", line(&no_price), 422, "invalid-request").naming(&["/lines/0/unit_price_minor"]),
        case("/v1/orders", line(&extra), 422, "invalid-request").naming(&["/lines/0/discount"]),
        case("/v1/orders", line(&text), 422, "invalid-request").naming(&["/lines/0/quantity"]),
        case(
            "/v1/orders",
            "{\"customer_id\": \"..\", \"currency\": \"gbp\", \"lines\": []}",
            422,
            "invalid-request",
        )
        .naming(&["/customer_id", "/currency", "/lines"]),
        case(
            "/v1/stock/mug/receipts",
            "{\"quantity\": 0}",
            422,
            "invalid-request",
        )
        .naming(&["/quantity"]),
        case(
            &notes,
            "{\"author\": \"\", \"text\": \"t\"}",
            422,
            "invalid-request",
        )
        .naming(&["/author"]),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn each_wrong_command_is_told_what_is_wrong_with_it() {
    let pipeline = Setup::new("wrong").start().await;
    let client = pipeline.client();
    client.receive("mug", 10).await;
    let placed = client.place("alice", &[("mug", 1)]).await.expect(201);
    let path = format!("/v1/orders/{}", placed.text_of("order_id"));
    e2e::eventually("the order is confirmed", async || {
        let read = client.get(&path, &placed.token()).await.expect(200);
        (read.json["status"] == "confirmed").then_some(())
    })
    .await;
    for case in cases(&path) {
        let mut request = client
            .command(case.method.clone(), &case.path)
            .body(case.body.clone());
        for (name, value) in &case.headers {
            request = request.header(*name, value);
        }
        let answer = send(request).await;
        assert_eq!(
            answer.status, case.status,
            "{} {}: {}",
            case.method, case.path, answer.text
        );
        answer.problem(case.status, case.slug);
        for pointer in case.pointers {
            let named = answer.json["errors"].as_array().is_some_and(|errors| {
                errors
                    .iter()
                    .any(|error| error["pointer"] == pointer && error["detail"].is_string())
            });
            assert!(named, "{pointer} is named in {}", answer.text);
        }
        assert_eq!(answer.header("trace-id").map(str::len), Some(32));
        // The service explains the problem's type.
        let page = send(client.command(Method::GET, &answer.text_of("type"))).await;
        assert_eq!(
            (page.status, page.header("content-type")),
            (200, Some("text/html; charset=utf-8"))
        );
    }
    pipeline.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_wrong_read_is_told_what_is_wrong_with_it() {
    let pipeline = Setup::new("misread").start().await;
    let client = pipeline.client();
    let order = format!("/v1/orders/{}", uuid::Uuid::new_v4());
    for (path, header, status, slug) in [
        ("/v1/orders/x", None, 400, "malformed-path"),
        ("/v1/stock/a%20b", None, 400, "malformed-path"),
        (
            order.as_str(),
            Some(("consistency-token", "forged")),
            400,
            "malformed-token",
        ),
        (
            &order,
            Some(("consistency", "sometimes")),
            400,
            "malformed-header",
        ),
        (&order, Some(("accept", "image/png")), 406, "not-acceptable"),
        (&order, None, 404, "order-not-found"),
        ("/v1/stock/never", None, 404, "stock-not-found"),
        ("/v1/nothing", None, 404, "unknown-path"),
        ("/v1/customers/a/orders?limit=0", None, 400, "malformed-query"),
        ("/v1/customers/a/orders?limit=201", None, 400, "malformed-query"),
        ("/v1/customers/a/orders?cursor=x", None, 400, "malformed-cursor"),
    ] {
        let mut request = client.query(path);
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        let answer = send(request).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.text);
        answer.problem(status, slug);
    }
}
