//! The loops of the suite: like those of [`crate::load`], but an attempt may also fail for good, go to another instance, or not
//! be made again; and they run until something else is over.

use std::{
    cell::{Cell, RefCell},
    io::ErrorKind,
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::{
    task::{JoinSet, LocalSet},
    time::sleep_until,
};

use crate::load::{Client, Latencies, Request, Response, Target};

/// How long a request is sent again before it has failed.
const PATIENCE: Duration = Duration::from_mins(1);
/// Before another attempt.
const PAUSE: Duration = Duration::from_millis(10);
/// The timer's own lateness at most: tokio's timers are as coarse as that.
pub(super) const TIMER_LATE: Duration = Duration::from_millis(2);
/// Failures that are told in full.
const FAILURES_TOLD: usize = 3;

/// When requests are sent.
#[derive(Clone, Copy, Debug)]
pub enum Arrivals {
    /// As fast as the ones before are answered.
    Closed,
    /// So many a second, whether or not the ones before are answered; latency begins when a request is due.
    Open(u32),
}

/// What to do.
#[derive(Clone, Debug)]
pub struct Load {
    /// Where to. Connections begin at one after the other, and go to the next one when theirs breaks.
    pub targets: Vec<Target>,
    /// How many connections.
    pub connections: usize,
    /// When requests are sent.
    pub arrivals: Arrivals,
    /// Left out in the beginning.
    pub warm_up: Duration,
    /// For how long after that.
    pub duration: Duration,
    /// Whether what was answered 503 or broke is sent again, with its key.
    pub again: bool,
}

/// An acknowledgement.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// When it came, since the load began.
    pub at: Duration,
    /// How long it took.
    pub took: Duration,
}

/// What came of it, without what was due in the warm-up, unless it says otherwise.
#[derive(Debug, Default)]
pub struct Tally {
    /// How long acknowledged requests took from when they were due.
    pub latencies: Latencies,
    /// How long the attempts took that were acknowledged: without what waited for a free connection, or for another attempt.
    pub attempts: Latencies,
    /// Every acknowledgement, in the order in which they came.
    pub samples: Vec<Sample>,
    /// Requests that were acknowledged, the warm-up's included.
    pub acknowledged_ever: u64,
    /// Attempts that were answered 503.
    pub unavailable: u64,
    /// How long the slowest of those took.
    pub slowest_refusal: Duration,
    /// Attempts at which nobody listened.
    pub refused: u64,
    /// Attempts that got no answer on a connection that was there.
    pub broken: u64,
    /// Requests that failed for good, the warm-up's included.
    pub failed: u64,
    /// What the first of them were told.
    pub failures: Vec<String>,
    /// From the end of the warm-up to the end.
    pub measured: Duration,
}

impl Tally {
    /// Requests that were acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.latencies.count()
    }

    /// Requests acknowledged a second.
    pub fn per_second(&self) -> f64 {
        as_f64(self.acknowledged()) / self.measured.as_secs_f64()
    }

    /// The slowest acknowledgements: when they came, in seconds since the load began, and what they took, in milliseconds.
    pub fn slowest(&self, count: usize) -> Vec<(f64, f64)> {
        let mut samples = self.samples.clone();
        samples.sort_by_key(|sample| std::cmp::Reverse(sample.took));
        let told = |sample: &Sample| (sample.at.as_secs_f64(), sample.took.as_secs_f64() * 1e3);
        samples.iter().take(count).map(told).collect()
    }

    /// A percentile of the latencies, in milliseconds.
    pub fn ms(&self, of_hundred: f64) -> f64 {
        self.latencies.percentile(of_hundred).as_secs_f64() * 1e3
    }

    fn fail(&mut self, why: String) {
        self.failed += 1;
        if self.failures.len() < FAILURES_TOLD {
            self.failures.push(why);
        }
    }
}

/// A count as a figure: none here comes near 2^52.
#[expect(clippy::cast_precision_loss, reason = "none here comes near 2^52")]
pub fn as_f64(count: u64) -> f64 {
    count as f64
}

/// Ends a load early. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Stop(Rc<Cell<bool>>);

impl Stop {
    /// No request is begun from now on.
    pub fn now(&self) {
        self.0.set(true);
    }
}

struct Shared<M> {
    load: Load,
    make: M,
    stop: Stop,
    begin: Instant,
    next: Cell<usize>,
    tally: RefCell<Tally>,
}

/// Drives the load to its end.
pub async fn drive(load: Load, make: impl Fn(usize) -> Request + 'static) -> anyhow::Result<Tally> {
    drive_until(load, Stop::default(), make).await
}

/// Drives the load to its end, or until it is stopped.
pub async fn drive_until(
    load: Load,
    stop: Stop,
    make: impl Fn(usize) -> Request + 'static,
) -> anyhow::Result<Tally> {
    anyhow::ensure!(!load.targets.is_empty(), "a load needs a target");
    let begin = Instant::now();
    let shared = Rc::new(Shared {
        load,
        make,
        stop,
        begin,
        next: Cell::new(0),
        tally: RefCell::default(),
    });
    let local = LocalSet::new();
    let mut workers = JoinSet::new();
    for number in 0..shared.load.connections.max(1) {
        workers.spawn_local_on(work(number, Rc::clone(&shared)), &local);
    }
    local
        .run_until(async {
            while let Some(worker) = workers.join_next().await {
                worker?;
            }
            anyhow::Ok(())
        })
        .await?;
    let mut tally = shared.tally.take();
    tally.measured = begin.elapsed().saturating_sub(shared.load.warm_up);
    Ok(tally)
}

impl<M: Fn(usize) -> Request> Shared<M> {
    /// The next request's number and when it is due; none where the load is over.
    fn take(&self) -> Option<(usize, Instant)> {
        let now = Instant::now();
        let end = self.begin + self.load.warm_up + self.load.duration;
        let index = self.next.get();
        let due = match self.load.arrivals {
            Arrivals::Closed => now,
            Arrivals::Open(per_second) => {
                let seconds = as_f64(index as u64) / f64::from(per_second.max(1));
                self.begin + Duration::from_secs_f64(seconds)
            }
        };
        // What is not sent again is not caught up with either: more is asked for than can be sent.
        let over = due >= end || self.stop.0.get() || (!self.load.again && now >= end);
        (!over).then(|| {
            self.next.set(index + 1);
            (index, due)
        })
    }

    /// Sends one request until it is acknowledged, or has failed; leaves `at` and `client` where it was answered.
    async fn send(&self, index: usize, due: Instant, at: &mut usize, client: &mut Client) {
        let measured = due >= self.begin + self.load.warm_up;
        let request = (self.make)(index);
        let begin = if due > Instant::now() {
            sleep_until(due.into()).await;
            Instant::now().min(due + TIMER_LATE)
        } else {
            due
        };
        loop {
            let attempt = Instant::now();
            let outcome = client.attempt(&request).await;
            if outcome.is_err() {
                *at += 1;
                *client = Client::new(&self.load.targets[*at % self.load.targets.len()]);
            }
            let took = begin.elapsed();
            if self.note(outcome, attempt, measured.then_some(took)) || !self.load.again {
                return;
            }
            if took > PATIENCE {
                let why = format!("no acknowledgement in {PATIENCE:?}");
                return self.tally.borrow_mut().fail(why);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Takes down what came of an attempt; `took` where it is measured. Says whether that was the last word.
    fn note(&self, outcome: anyhow::Result<Response>, attempt: Instant, took: Option<Duration>) -> bool {
        let mut tally = self.tally.borrow_mut();
        let counted = u64::from(took.is_some());
        match outcome {
            Ok(answer) if (200..300).contains(&answer.status) || answer.status == 304 => {
                tally.acknowledged_ever += 1;
                if let Some(took) = took {
                    let at = self.begin.elapsed();
                    tally.latencies.record(took);
                    tally.attempts.record(attempt.elapsed());
                    tally.samples.push(Sample { at, took });
                }
                true
            }
            Ok(answer) if answer.status == 503 => {
                tally.unavailable += counted;
                tally.slowest_refusal = tally.slowest_refusal.max(attempt.elapsed());
                false
            }
            Ok(answer) => {
                tally.fail(answer.summary());
                true
            }
            Err(error) => {
                let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
                if kind == Some(ErrorKind::ConnectionRefused) {
                    tally.refused += counted;
                } else {
                    tally.broken += counted;
                }
                if !self.load.again {
                    tally.fail(format!("{error:#}"));
                }
                false
            }
        }
    }
}

async fn work<M: Fn(usize) -> Request>(number: usize, shared: Rc<Shared<M>>) {
    let mut at = number;
    let mut client = Client::new(&shared.load.targets[at % shared.load.targets.len()]);
    while let Some((index, due)) = shared.take() {
        shared.send(index, due, &mut at, &mut client).await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    /// Answers with these statuses in turn, over and over.
    async fn answering(statuses: &'static [u16]) -> Target {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = Target::new(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let mut statuses = statuses.iter().cycle();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 1024];
                while let Ok(1..) = stream.read(&mut request).await {
                    let status = statuses.next().unwrap();
                    let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n");
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            }
        });
        target
    }

    fn load(targets: Vec<Target>, arrivals: Arrivals, again: bool) -> Load {
        Load {
            targets,
            connections: 1,
            arrivals,
            warm_up: Duration::ZERO,
            duration: Duration::from_millis(200),
            again,
        }
    }

    #[tokio::test]
    async fn what_was_put_off_is_sent_again_only_where_that_is_wanted() {
        let target = answering(&[503, 201]).await;
        let make = {
            let target = target.clone();
            move |_| Request::get(&target, "/", &[])
        };
        let again = drive(load(vec![target.clone()], Arrivals::Open(50), true), make.clone());
        let again = again.await.unwrap();
        assert_eq!(
            (again.acknowledged(), again.unavailable, again.failed),
            (10, 10, 0)
        );
        let once = drive(load(vec![target], Arrivals::Open(50), false), make)
            .await
            .unwrap();
        assert_eq!(once.acknowledged() + once.unavailable, 10);
    }

    #[tokio::test]
    async fn a_broken_connection_leads_to_the_next_instance_and_a_refusal_is_a_failure() {
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let nobody = Target::new(&format!("http://{}", gone.local_addr().unwrap())).unwrap();
        drop(gone);
        let target = answering(&[201, 409]).await;
        let make = {
            let target = target.clone();
            move |_| Request::get(&target, "/", &[])
        };
        let tally = drive(load(vec![nobody, target], Arrivals::Open(50), true), make)
            .await
            .unwrap();
        assert_eq!((tally.refused, tally.broken), (1, 0));
        assert_eq!((tally.acknowledged(), tally.failed), (5, 5));
        assert!(tally.failures[0].starts_with("409"));
    }

    #[tokio::test]
    async fn it_can_be_stopped_early() {
        let target = answering(&[200]).await;
        let stop = Stop::default();
        stop.now();
        let make = {
            let target = target.clone();
            move |_| Request::get(&target, "/", &[])
        };
        let tally = drive_until(load(vec![target], Arrivals::Closed, true), stop, make);
        assert_eq!(tally.await.unwrap().acknowledged_ever, 0);
    }
}
