//! The instances of the command service: the one that answered last is asked first, and one that is not there is passed over.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use eventlog::internal;
use http::StatusCode;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::Url;
use serde::Serialize;
use serde::de::DeserializeOwned;
use service_kit::auth::ServiceKey;
use service_kit::config::Secret;
use tokio::sync::Semaphore;

use super::WritersError;

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// How long one instance may take while there is another one to be asked.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(1);

/// Requests that are under way at once: each has a connection.
const REQUESTS_MAX: usize = 256;

/// Idle connections to one instance that are kept.
const IDLE_MAX: usize = 16;

/// Where the instances are, and the connections to them.
#[derive(Debug)]
pub(super) struct Instances {
    http: reqwest::Client,
    urls: Vec<Url>,
    bearer: HeaderValue,
    /// Which one answered last.
    last: AtomicUsize,
    turns: Semaphore,
}

impl Instances {
    pub(super) fn new(urls: Vec<Url>, secret: &Secret) -> reqwest::Result<Self> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .tcp_nodelay(true)
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_max_idle_per_host(IDLE_MAX)
            .build()?;
        Ok(Self {
            http,
            urls,
            bearer: ServiceKey::new(secret.expose().as_bytes()).bearer(),
            last: AtomicUsize::new(0),
            turns: Semaphore::new(REQUESTS_MAX),
        })
    }

    /// Asks one instance after the other until one answers, until `deadline` at most. Only for what may be asked twice.
    ///
    /// What an instance says that is there is right, a no included: the others would ask the same writers.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        path: &str,
        question: &impl Serialize,
        deadline: Instant,
    ) -> Result<T, WritersError> {
        let body = serde_json::to_vec(question).map_err(|error| unreadable(&error))?;
        let body = Bytes::from(body);
        let (first, count) = (self.last.load(Ordering::Relaxed), self.urls.len());
        let mut failure = WritersError::Unreachable("no address is configured".to_owned());
        // The first one once more at the end: its connection may have been one of before it was started again.
        for index in (first..=first + count).take(if count == 0 { 0 } else { count + 1 }) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(WritersError::TimedOut);
            }
            // One that hangs must leave some time for the next.
            let patience = if index < first + count {
                (left / 2).min(ATTEMPT_TIMEOUT)
            } else {
                left
            };
            let exchange = self.exchange(index % count, path, body.clone(), left);
            let answer = tokio::time::timeout(patience, exchange).await;
            match answer.unwrap_or(Err(WritersError::TimedOut)) {
                Ok(answer) => {
                    self.last.store(index % count, Ordering::Relaxed);
                    return serde_json::from_slice(&answer).map_err(|error| unreadable(&error));
                }
                Err(error @ (WritersError::Unreachable(_) | WritersError::TimedOut)) => {
                    tracing::debug!(url = %self.urls[index % count], %error, "query.writers.passed_over");
                    failure = error;
                }
                Err(error) => {
                    self.last.store(index % count, Ordering::Relaxed);
                    return Err(error);
                }
            }
        }
        Err(failure)
    }

    #[cfg(test)]
    pub(super) fn last(&self) -> usize {
        self.last.load(Ordering::Relaxed)
    }

    async fn exchange(
        &self,
        index: usize,
        path: &str,
        body: Bytes,
        timeout: Duration,
    ) -> Result<Bytes, WritersError> {
        // Nobody closes it.
        let _turn = self.turns.acquire().await;
        let mut url = self.urls[index].clone();
        url.set_path(path);
        let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        let request = self
            .http
            .post(url)
            .timeout(timeout)
            .header(AUTHORIZATION, self.bearer.clone())
            .header(internal::TIMEOUT_MS, timeout_ms)
            .header(CONTENT_TYPE, "application/json")
            .body(body);
        let answer = request.send().await.map_err(|error| broken(&error))?;
        match answer.status() {
            StatusCode::OK => answer.bytes().await.map_err(|error| broken(&error)),
            StatusCode::SERVICE_UNAVAILABLE => Err(WritersError::Unavailable),
            status => Err(WritersError::Refused(status)),
        }
    }
}

fn unreadable(error: &serde_json::Error) -> WritersError {
    WritersError::Unreadable(error.to_string())
}

fn broken(error: &reqwest::Error) -> WritersError {
    if error.is_timeout() && !error.is_connect() {
        WritersError::TimedOut
    } else {
        WritersError::Unreachable(error.to_string())
    }
}
