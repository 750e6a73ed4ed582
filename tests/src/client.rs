//! A client as a frontend would be: JSON over HTTP.

use std::time::Duration;

use reqwest::{Method, RequestBuilder};
use serde_json::Value;

/// A new idempotency key.
pub fn key() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// An answer, read whole.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: reqwest::header::HeaderMap,
    /// The body as it came.
    pub text: String,
    /// The body as JSON; null where it is none.
    pub json: Value,
}

impl Answer {
    /// A header, or nothing.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The consistency token, which must be there.
    #[track_caller]
    pub fn token(&self) -> String {
        self.header("consistency-token")
            .expect("an answer has a consistency token")
            .to_owned()
    }

    /// Fails unless it has this status.
    #[track_caller]
    #[expect(
        clippy::return_self_not_must_use,
        reason = "checking the status is a use of its own"
    )]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }

    /// Fails unless it is a problem of this status and type.
    #[track_caller]
    pub fn problem(&self, status: u16, slug: &str) {
        assert_eq!(self.status, status, "{}", self.text);
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json"),
            "{}",
            self.text
        );
        assert_eq!(self.json["type"], format!("/problems/{slug}"), "{}", self.text);
        assert_eq!(self.json["status"], status, "{}", self.text);
        for member in ["title", "detail"] {
            assert!(
                self.json[member].as_str().is_some_and(|text| !text.is_empty()),
                "{}",
                self.text
            );
        }
    }

    /// A member of the body that is text.
    #[track_caller]
    pub fn text_of(&self, member: &str) -> String {
        self.json[member]
            .as_str()
            .unwrap_or_else(|| panic!("no {member} in {}", self.text))
            .to_owned()
    }
}

/// A client of one command service and one query service.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    /// Base of writes.
    pub command_url: String,
    /// Base of reads.
    pub query_url: String,
}

impl Client {
    /// A client.
    pub fn new(command_url: &str, query_url: &str) -> Self {
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(40))
            .build()
            .expect("a client can be made");
        Self {
            http,
            command_url: command_url.to_owned(),
            query_url: query_url.to_owned(),
        }
    }

    /// A write, to be added to.
    pub fn command(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.command_url))
    }

    /// A read, to be added to.
    pub fn query(&self, path: &str) -> RequestBuilder {
        self.http.get(format!("{}{path}", self.query_url))
    }

    /// A POST under a key; the connection must hold.
    pub async fn post(&self, path: &str, key: &str, body: &Value) -> Answer {
        send(
            self.command(Method::POST, path)
                .header("idempotency-key", key)
                .json(body),
        )
        .await
    }

    /// A POST under a key that is sent again, under the same key, until it is answered with anything but 503.
    pub async fn post_until_answered(&self, path: &str, key: &str, body: &Value) -> Answer {
        loop {
            let request = self
                .command(Method::POST, path)
                .header("idempotency-key", key)
                .timeout(Duration::from_secs(6))
                .json(body);
            match try_send(request).await {
                Ok(answer) if answer.status != 503 => return answer,
                _ => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    /// A read that is not older than the token.
    pub async fn get(&self, path: &str, token: &str) -> Answer {
        send(
            self.query(path)
                .header("consistency-token", token)
                .header("prefer", "wait=20"),
        )
        .await
    }

    /// Receives stock and returns the token.
    #[track_caller]
    pub fn receive(&self, sku: &str, quantity: i64) -> impl Future<Output = String> {
        let (client, path) = (self.clone(), format!("/v1/stock/{sku}/receipts"));
        async move {
            let body = serde_json::json!({ "quantity": quantity });
            client
                .post_until_answered(&path, &key(), &body)
                .await
                .expect(200)
                .token()
        }
    }

    /// Places an order of these (SKU, quantity) at 250 each.
    pub async fn place(&self, customer: &str, lines: &[(&str, i64)]) -> Answer {
        self.post("/v1/orders", &key(), &order(customer, lines)).await
    }
}

/// The body of an order of these (SKU, quantity) at 250 each.
pub fn order(customer: &str, lines: &[(&str, i64)]) -> Value {
    let lines: Vec<Value> = lines
        .iter()
        .map(|(sku, quantity)| serde_json::json!({ "sku": sku, "quantity": quantity, "unit_price_minor": 250 }))
        .collect();
    serde_json::json!({ "customer_id": customer, "currency": "GBP", "lines": lines })
}

/// Sends a request and reads the answer.
pub async fn try_send(request: RequestBuilder) -> reqwest::Result<Answer> {
    let response = request.send().await?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = response.text().await?;
    let json = serde_json::from_str(&text).unwrap_or_default();
    Ok(Answer {
        status,
        headers,
        text,
        json,
    })
}

/// Sends a request that must be answered.
pub async fn send(request: RequestBuilder) -> Answer {
    try_send(request).await.expect("the service answers")
}
