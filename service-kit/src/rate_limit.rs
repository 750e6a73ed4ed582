//! 429 for callers above their rate: by API key, or by address where there is none. Off unless configured.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use crate::config::{ConfigError, Settings};
use crate::problem::kinds;
use crate::{Problem, headers};

/// After so many requests, callers that were not heard of for a while are forgotten.
const FORGET_EVERY: u32 = 10_000;

/// Whom a request is counted for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Caller {
    Key(String),
    Address(IpAddr),
}

/// How many requests a caller may send. Cheap to clone.
#[derive(Clone)]
pub struct RateLimit(Arc<Inner>);

struct Inner {
    limiter: DefaultKeyedRateLimiter<Caller>,
    clock: DefaultClock,
    seen: AtomicU32,
}

impl RateLimit {
    /// That many requests in a second, and as many at once.
    pub fn per_second(requests: NonZeroU32) -> Self {
        Self(Arc::new(Inner {
            limiter: RateLimiter::keyed(Quota::per_second(requests)),
            clock: DefaultClock::default(),
            seen: AtomicU32::new(0),
        }))
    }

    /// As `TAILWATER_RATE_LIMIT_PER_SECOND` says; none where it says nothing.
    pub fn read(settings: &Settings) -> Result<Option<NonZeroU32>, ConfigError> {
        const NAME: &str = "TAILWATER_RATE_LIMIT_PER_SECOND";
        settings
            .get(NAME)
            .map(|text| {
                text.parse().map_err(|_| ConfigError::Malformed {
                    name: NAME,
                    detail: format!("{text} is not a number of requests from 1 on"),
                })
            })
            .transpose()
    }

    /// Whether the caller may send one more now; else after how many seconds.
    fn check(&self, caller: &Caller) -> Result<(), u32> {
        let inner = &self.0;
        if inner
            .seen
            .fetch_add(1, Ordering::Relaxed)
            .is_multiple_of(FORGET_EVERY)
        {
            inner.limiter.retain_recent();
        }
        inner.limiter.check_key(caller).map_err(|refused| {
            let wait = refused.wait_time_from(inner.clock.now());
            u32::try_from(wait.as_secs())
                .unwrap_or(u32::MAX)
                .saturating_add(1)
        })
    }
}

/// The layer: `axum::middleware::from_fn_with_state(limit, rate_limit::enforce)`.
pub async fn enforce(State(limit): State<RateLimit>, request: Request, next: Next) -> Response {
    let caller = match headers::caller(request.headers()) {
        Ok(headers::ANONYMOUS) => request
            .extensions()
            .get::<ConnectInfo<SocketAddr>>()
            .map(|ConnectInfo(address)| Caller::Address(address.ip())),
        Ok(key) => Some(Caller::Key(key.to_owned())),
        Err(problem) => return problem.into_response(),
    };
    match caller.map_or(Ok(()), |caller| limit.check(&caller)) {
        Ok(()) => next.run(request).await,
        Err(seconds) => Problem::of(
            &kinds::TOO_MANY_REQUESTS,
            "This caller has sent as many requests as it may.",
        )
        .with_retry_after(seconds)
        .into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_caller_has_a_rate_of_its_own() {
        let limit = RateLimit::per_second(NonZeroU32::new(3).unwrap());
        let (alice, bob) = (
            Caller::Key("alice".to_owned()),
            Caller::Address([127, 0, 0, 1].into()),
        );
        for _ in 0..3 {
            assert_eq!(limit.check(&alice), Ok(()));
        }
        assert_eq!(limit.check(&alice), Err(1));
        assert_eq!(limit.check(&bob), Ok(()));
    }
}
