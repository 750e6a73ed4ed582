//! Against servers that answer like instances of the command service, or not at all.

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::routing::post;
use axum::{Json, Router};
use eventlog::Topic;
use http::HeaderMap;
use service_kit::auth::ServiceKey;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::*;

const SECRET: &str = "0123456789abcdef";
const PATIENCE: Duration = Duration::from_secs(20);

fn at(partition: i32) -> TopicPartition {
    TopicPartition {
        topic: Topic::Orders,
        partition,
    }
}

/// Answers each request with its number as every position, as far as it is allowed to answer.
#[derive(Clone)]
struct Instance {
    asked: Arc<AtomicUsize>,
    allowed: Arc<Semaphore>,
    url: Url,
}

impl Instance {
    async fn start(status: StatusCode) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let instance = Self {
            asked: Arc::default(),
            allowed: Arc::new(Semaphore::new(0)),
            url: url.parse().unwrap(),
        };
        let (asked, allowed) = (Arc::clone(&instance.asked), Arc::clone(&instance.allowed));
        let answer = async move |headers: HeaderMap, Json(partitions): Json<Vec<TopicPartition>>| {
            let number = asked.fetch_add(1, Ordering::SeqCst) + 1;
            allowed.acquire().await.unwrap().forget();
            if !ServiceKey::new(SECRET.as_bytes()).admits(&headers) {
                return Err(StatusCode::UNAUTHORIZED);
            }
            let next_offset = i64::try_from(number).unwrap();
            let proven = partitions.into_iter().map(|partition| (partition, next_offset));
            if status == StatusCode::OK {
                Ok(Json(proven.collect::<Positions>()))
            } else {
                Err(status)
            }
        };
        let router = Router::new().route(internal::PROOFS, post(answer));
        tokio::spawn(async move { axum::serve(listener, router).await });
        instance
    }

    async fn ready() -> Self {
        let instance = Self::start(StatusCode::OK).await;
        instance.allow(1_000);
        instance
    }

    fn allow(&self, requests: usize) {
        self.allowed.add_permits(requests);
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

/// An address at which nobody listens.
async fn nobody() -> Url {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
        .parse()
        .unwrap()
}

fn writers(urls: &[&Url]) -> Writers {
    writers_with(urls, SECRET)
}

fn writers_with(urls: &[&Url], secret: &str) -> Writers {
    let urls = urls.iter().map(|url| (*url).clone()).collect();
    Writers::new(urls, &Secret::new(secret)).unwrap()
}

async fn until(what: impl Fn() -> bool) {
    while !what() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn those_who_come_during_a_request_share_the_next_one() {
    let instance = Instance::start(StatusCode::OK).await;
    let writers = writers(&[&instance.url]);
    let ask = |partitions: &'static [i32]| {
        let writers = writers.clone();
        let partitions: Vec<_> = partitions.iter().map(|partition| at(*partition)).collect();
        tokio::spawn(async move { writers.prove(&partitions, PATIENCE).await })
    };
    let first = ask(&[1]);
    until(|| instance.asked() == 1).await;
    let later: Vec<_> = (0..1_000).map(|_| ask(&[1])).collect();
    // Another order is the same question; another partition is not.
    let other = ask(&[2, 1, 2]);
    until(|| instance.asked() >= 2).await;
    instance.allow(1_000);
    assert_eq!(first.await.unwrap().unwrap().get(at(1)), Some(1));
    assert_eq!(other.await.unwrap().unwrap().iter().count(), 2);
    for proven in futures::future::join_all(later).await {
        let proven = proven.unwrap().unwrap().get(at(1));
        assert!(proven > Some(1), "by a request that began after it was asked");
    }
    assert!(instance.asked() < 10, "{} requests", instance.asked());
    until(|| writers.0.proofs.lock().is_empty()).await;
}

#[tokio::test]
async fn whoever_is_not_there_is_passed_over_and_whoever_answered_is_asked_first() {
    let (gone, there) = (nobody().await, Instance::ready().await);
    let writers = writers(&[&gone, &there.url, &gone]);
    for _ in 0..3 {
        writers.prove(&[at(0)], PATIENCE).await.unwrap();
    }
    assert_eq!(there.asked(), 3);
    assert_eq!(writers.0.instances.last(), 1);
}

#[tokio::test]
async fn an_instance_that_hangs_leaves_time_for_the_next() {
    let (hangs, there) = (Instance::start(StatusCode::OK).await, Instance::ready().await);
    let writers = writers(&[&hangs.url, &there.url]);
    writers.prove(&[at(0)], PATIENCE).await.unwrap();
    writers.prove(&[at(0)], PATIENCE).await.unwrap();
    assert_eq!((hangs.asked(), there.asked()), (1, 2));
}

#[tokio::test]
async fn a_request_that_hangs_does_not_hold_up_the_next() {
    let instance = Instance::start(StatusCode::OK).await;
    let writers = writers(&[&instance.url]);
    let ask = |timeout| {
        let writers = writers.clone();
        tokio::spawn(async move { writers.prove(&[at(1)], timeout).await })
    };
    let first = ask(PATIENCE);
    until(|| instance.asked() == 1).await;
    let later = ask(PATIENCE);
    // The first one is still under way: nobody was allowed to be answered yet.
    until(|| instance.asked() == 2).await;
    instance.allow(1_000);
    let (first, later) = (first.await.unwrap(), later.await.unwrap());
    assert!(first.is_ok() && later.is_ok(), "{first:?} {later:?}");
}

#[tokio::test]
async fn nobody_waits_longer_than_asked() {
    let hangs = Instance::start(StatusCode::OK).await;
    let proven = writers(&[&hangs.url])
        .prove(&[at(0)], Duration::from_millis(30))
        .await;
    assert_eq!(proven, Err(WritersError::TimedOut));
}

#[tokio::test]
async fn what_an_instance_says_is_passed_on() {
    let nobody = nobody().await;
    assert!(matches!(
        writers(&[&nobody]).prove(&[at(0)], PATIENCE).await,
        Err(WritersError::Unreachable(_))
    ));
    assert!(matches!(
        writers(&[]).prove(&[at(0)], PATIENCE).await,
        Err(WritersError::Unreachable(_))
    ));
    let (busy, other) = (
        Instance::start(StatusCode::SERVICE_UNAVAILABLE).await,
        Instance::ready().await,
    );
    busy.allow(1);
    let proven = writers(&[&busy.url, &other.url]).prove(&[at(0)], PATIENCE).await;
    assert_eq!(proven, Err(WritersError::Unavailable));
    assert_eq!(other.asked(), 0);
    let stranger = writers_with(&[&other.url], "0123456789abcdeg");
    assert_eq!(
        stranger.prove(&[at(0)], PATIENCE).await,
        Err(WritersError::Refused(StatusCode::UNAUTHORIZED))
    );
}
