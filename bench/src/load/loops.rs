//! The loops that drive many clients.

use std::{
    cell::Cell,
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::{task::JoinSet, time::sleep_until};

use super::{Client, Latencies, Request, Response, Target};

/// How long one request is sent again before the run gives up.
const PATIENCE: Duration = Duration::from_mins(1);

/// What came of driving.
#[derive(Debug, Default)]
pub struct Driven {
    /// The answers by the number of the request, in no particular order.
    pub answers: Vec<(usize, Response)>,
    /// From the first attempt, or from when it was due, to the answer.
    pub latencies: Latencies,
    /// From the beginning to the last answer.
    pub elapsed: Duration,
    /// Attempts that failed or were answered 503, and were made again.
    pub retries: u64,
}

/// What all workers of a loop share. Loops run on the thread that drives them, so nothing here is locked.
struct Shared<M> {
    make: M,
    next: Cell<usize>,
    done: Cell<usize>,
}

/// Sends each of `count` requests once, over so many connections, as fast as they are answered.
pub async fn each(
    target: &Target,
    connections: usize,
    count: usize,
    make: impl Fn(usize) -> Request + 'static,
    progress: impl Fn(usize) + 'static,
) -> anyhow::Result<Driven> {
    drive(target, connections, make, progress, move |index| {
        (index < count).then(Instant::now)
    })
    .await
}

/// Sends requests over so many connections as fast as they are answered, for so long.
pub async fn closed_loop(
    target: &Target,
    connections: usize,
    duration: Duration,
    make: impl Fn(usize) -> Request + 'static,
    progress: impl Fn(usize) + 'static,
) -> anyhow::Result<Driven> {
    let end = Instant::now() + duration;
    drive(target, connections, make, progress, move |_| {
        Some(Instant::now()).filter(|now| *now < end)
    })
    .await
}

/// Sends requests at a steady rate, whether or not the ones before are answered, for so long. What waits for a free
/// connection counts as waiting: latency begins when a request is due.
pub async fn open_loop(
    target: &Target,
    connections: usize,
    per_second: u32,
    duration: Duration,
    make: impl Fn(usize) -> Request + 'static,
    progress: impl Fn(usize) + 'static,
) -> anyhow::Result<Driven> {
    let begin = Instant::now();
    let due = move |index: usize| {
        let after = Duration::from_secs(1) * u32::try_from(index).unwrap_or(u32::MAX) / per_second;
        (after < duration).then(|| begin + after)
    };
    drive(target, connections, make, progress, due).await
}

async fn drive(
    target: &Target,
    connections: usize,
    make: impl Fn(usize) -> Request + 'static,
    progress: impl Fn(usize) + 'static,
    due: impl Fn(usize) -> Option<Instant> + 'static,
) -> anyhow::Result<Driven> {
    let begin = Instant::now();
    let shared = Rc::new(Shared {
        make,
        next: Cell::new(0),
        done: Cell::new(0),
    });
    let (progress, due) = (Rc::new(progress), Rc::new(due));
    let local = tokio::task::LocalSet::new();
    let mut workers = JoinSet::new();
    for _ in 0..connections.max(1) {
        let (shared, progress, due) = (Rc::clone(&shared), Rc::clone(&progress), Rc::clone(&due));
        workers.spawn_local_on(work(Client::new(target), shared, progress, due), &local);
    }
    local
        .run_until(async {
            let mut driven = Driven::default();
            while let Some(worker) = workers.join_next().await {
                let worker = worker??;
                driven.answers.extend(worker.answers);
                driven.latencies.add(&worker.latencies);
                driven.retries += worker.retries;
            }
            driven.elapsed = begin.elapsed();
            Ok(driven)
        })
        .await
}

async fn work<M: Fn(usize) -> Request>(
    mut client: Client,
    shared: Rc<Shared<M>>,
    progress: Rc<impl Fn(usize)>,
    due: Rc<impl Fn(usize) -> Option<Instant>>,
) -> anyhow::Result<Driven> {
    let mut driven = Driven::default();
    loop {
        let index = shared.next.get();
        let Some(due) = due(index) else { break };
        shared.next.set(index + 1);
        let request = (shared.make)(index);
        let begin = if due > Instant::now() {
            sleep_until(due.into()).await;
            // The timer's own lateness, up to a millisecond, is not the service's.
            Instant::now()
        } else {
            due
        };
        let answer = client.send(&request, PATIENCE).await?;
        driven.latencies.record(begin.elapsed());
        driven.answers.push((index, answer));
        shared.done.set(shared.done.get() + 1);
        progress(shared.done.get());
    }
    driven.retries = client.retries;
    Ok(driven)
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    /// Answers every request with its own path.
    async fn echo() -> Target {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = Target::new(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut request = [0; 1024];
                    while let Ok(length @ 1..) = stream.read(&mut request).await {
                        let request = String::from_utf8_lossy(&request[..length]);
                        let path = request.split(' ').nth(1).unwrap();
                        let answer =
                            format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{path}", path.len());
                        stream.write_all(answer.as_bytes()).await.unwrap();
                    }
                });
            }
        });
        target
    }

    fn numbered(target: &Target) -> impl Fn(usize) -> Request + 'static {
        let target = target.clone();
        move |index| Request::get(&target, &format!("/{index}"), &[])
    }

    fn check(driven: &Driven) {
        for (index, answer) in &driven.answers {
            assert_eq!(answer.body, format!("/{index}").as_bytes());
        }
        assert_eq!(
            (driven.latencies.count(), driven.retries),
            (driven.answers.len() as u64, 0)
        );
    }

    #[tokio::test]
    async fn each_request_is_sent_once_and_answered_by_its_own_answer() {
        let target = echo().await;
        let mut driven = each(&target, 7, 100, numbered(&target), |_| {}).await.unwrap();
        check(&driven);
        driven.answers.sort_by_key(|(index, _)| *index);
        assert!(driven.answers.iter().map(|(index, _)| *index).eq(0..100));
    }

    #[tokio::test]
    async fn loops_end_when_their_time_is_over() {
        let target = echo().await;
        let short = Duration::from_millis(100);
        let driven = closed_loop(&target, 2, short, numbered(&target), |_| {})
            .await
            .unwrap();
        check(&driven);
        assert!(driven.elapsed >= short && !driven.answers.is_empty());
        let driven = open_loop(&target, 2, 200, short, numbered(&target), |_| {})
            .await
            .unwrap();
        check(&driven);
        assert_eq!(driven.answers.len(), 20);
    }
}
