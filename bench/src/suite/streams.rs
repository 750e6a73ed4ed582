//! `streams`: five thousand open streams of events on a query service with one worker thread, first of single orders, then of all
//! orders. Every stream must get each of its events, and the service may use one core.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use devstack::services::Services;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::watch,
    task::JoinSet,
};
use uuid::Uuid;

use super::{
    drive::{Arrivals, Load, as_f64, drive},
    report::{Figure, Finding, Goal},
    requests::{place_orders, receive_stock, rest},
    rig::{Rig, resident_mib},
};
use crate::load::{Latencies, Request, Target};

/// Streams that are open at a time.
const STREAMS: usize = 5_000;
/// Orders that they follow.
const ORDERS: usize = 500;
/// Connections that write notes.
const CONNECTIONS: usize = 16;
/// Connections that are opened at a time.
const OPENING: usize = 64;
/// How long streams may take to get what was written.
const PATIENCE: Duration = Duration::from_mins(1);
/// What each event's text begins with; then comes when it was written, in microseconds since 1970.
const TEXT: &str = r#""text":"at "#;

/// What is followed, and how many notes are written each second.
struct Phase {
    what: &'static str,
    path: fn(&Uuid) -> String,
    notes_per_second: u32,
    /// Streams that get each note.
    fan_out: usize,
}

const PHASES: [Phase; 2] = [
    Phase {
        what: "of single orders",
        path: |id| format!("/v1/orders/{id}/events"),
        notes_per_second: 400,
        fan_out: STREAMS / ORDERS,
    },
    Phase {
        what: "of all orders",
        path: |_| "/v1/feed".to_owned(),
        notes_per_second: 10,
        fan_out: STREAMS,
    },
];

/// What came of a phase.
struct Outcome {
    cores: f64,
    events_per_second: f64,
    kib_per_stream: f64,
    p50_ms: f64,
    p99_ms: f64,
}

/// What all streams of a phase count together.
#[derive(Default)]
struct Seen {
    open: AtomicUsize,
    events: AtomicU64,
    /// From being written to being read.
    latencies: Mutex<Latencies>,
}

/// Runs it.
pub async fn run(rig: &Rig) -> anyhow::Result<Finding> {
    let services = rig.services_for_reads(&[("TAILWATER_WORKER_THREADS", "1")])?;
    let commands = Target::new(&services.command_urls()[0])?;
    let query_url = services.query_urls()[0].clone();
    receive_stock(&commands, "streams").await?;
    let ids = place_orders(&commands, "streams", ORDERS).await?;
    rest().await;
    let (mut figures, mut raw) = (Vec::new(), json!({"streams": STREAMS}));
    for phase in &PHASES {
        let outcome = measure(rig, &services, &commands, &query_url, &ids, phase).await?;
        let what = phase.what;
        eprintln!(
            "  {STREAMS} streams {what}: {:.0} events/s, {:.2} cores, {:.1} KiB each, p50 {:.1} ms, p99 {:.1} ms",
            outcome.events_per_second, outcome.cores, outcome.kib_per_stream, outcome.p50_ms, outcome.p99_ms
        );
        figures.push(Figure::of(
            format!("cores for {STREAMS} streams {what}"),
            "cores",
            &[outcome.cores],
            Goal::AtMost(1.0),
        ));
        raw[what] = json!({
            "cores": outcome.cores,
            "events_per_second": outcome.events_per_second,
            "kib_per_stream": outcome.kib_per_stream,
            "p50_ms": outcome.p50_ms,
            "p99_ms": outcome.p99_ms,
        });
    }
    let also = figures.split_off(1);
    let first = figures.pop().context("there are phases")?;
    Ok(Finding::new(first, also, raw))
}

async fn measure(
    rig: &Rig,
    services: &Services,
    commands: &Target,
    query_url: &str,
    ids: &[Uuid],
    phase: &Phase,
) -> anyhow::Result<Outcome> {
    const SERVICE: &str = "query-service-1";
    let before_mib = resident_mib(services, SERVICE)?;
    let seen = Arc::new(Seen::default());
    let (stop, stopped) = watch::channel(());
    let paths: Vec<String> = (0..STREAMS)
        .map(|number| (phase.path)(&ids[number % ids.len()]))
        .collect();
    // On a thread of their own, so that they do not wait for the load, nor it for them.
    let readers = {
        let (seen, authority) = (
            Arc::clone(&seen),
            query_url.trim_start_matches("http://").to_owned(),
        );
        std::thread::spawn(move || read_all(&authority, paths, &seen, &stopped))
    };
    wait_until("all streams are open", &readers, || {
        seen.open.load(Ordering::Relaxed) == STREAMS
    })
    .await?;
    let (begin, before) = (Instant::now(), rig.spent());
    let load = Load {
        targets: vec![commands.clone()],
        connections: CONNECTIONS,
        arrivals: Arrivals::Open(phase.notes_per_second),
        warm_up: Duration::ZERO,
        duration: rig.pace.seconds(20),
        again: true,
    };
    let driven = drive(load, notes(commands, phase.what, ids)).await?;
    ensure!(driven.failed == 0, "notes failed: {:?}", driven.failures);
    let expected = driven.acknowledged_ever * phase.fan_out as u64;
    wait_until("all events are there", &readers, || {
        seen.events.load(Ordering::Relaxed) >= expected
    })
    .await?;
    let took = begin.elapsed().as_secs_f64();
    let cores = rig.spent().since(&before).of(SERVICE)?.as_secs_f64() / took;
    let kib_per_stream = (resident_mib(services, SERVICE)? - before_mib) * 1024.0 / as_f64(STREAMS as u64);
    let events = seen.events.load(Ordering::Relaxed);
    ensure!(events == expected, "{events} events came instead of {expected}");
    drop(stop);
    tokio::task::spawn_blocking(move || readers.join())
        .await?
        .map_err(|_panic| anyhow::anyhow!("the readers panicked"))??;
    let latencies = seen.latencies.lock().unwrap_or_else(PoisonError::into_inner);
    let ms = |of_hundred| latencies.percentile(of_hundred).as_secs_f64() * 1e3;
    Ok(Outcome {
        cores,
        events_per_second: as_f64(events) / took,
        kib_per_stream,
        p50_ms: ms(50.0),
        p99_ms: ms(99.0),
    })
}

/// Notes that say when they were written.
fn notes(target: &Target, run: &str, orders: &[Uuid]) -> impl Fn(usize) -> Request + Clone + 'static + use<> {
    let (target, orders, run) = (target.clone(), orders.to_vec(), run.replace(' ', "-"));
    move |index| {
        let path = format!("/v1/orders/{}/notes", orders[index % orders.len()]);
        let now = jiff::Timestamp::now().as_microsecond();
        let body = format!(r#"{{"author":"bench","text":"at {now}."}}"#);
        Request::post(&target, &path, &format!("streams-{run}-{index}"), body.as_bytes())
    }
}

/// Opens all, and reads them until it is told to stop.
fn read_all(
    authority: &str,
    paths: Vec<String>,
    seen: &Arc<Seen>,
    stop: &watch::Receiver<()>,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut readers = JoinSet::new();
        let opening = Arc::new(tokio::sync::Semaphore::new(OPENING));
        for path in paths {
            let (seen, mut stop, authority) = (Arc::clone(seen), stop.clone(), authority.to_owned());
            let opening = Arc::clone(&opening);
            readers.spawn(async move {
                tokio::select! {
                    read = read(&authority, &path, &seen, &opening) => read,
                    _ = stop.changed() => Ok(()),
                }
            });
        }
        while let Some(read) = readers.join_next().await {
            read??;
        }
        Ok(())
    })
}

async fn read(
    authority: &str,
    path: &str,
    seen: &Seen,
    opening: &tokio::sync::Semaphore,
) -> anyhow::Result<()> {
    let mut buffer = Vec::with_capacity(4_096);
    let mut stream = {
        let _turn = opening.acquire().await?;
        let mut stream = TcpStream::connect(authority).await?;
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: {authority}\r\naccept: text/event-stream\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        while find(&buffer, b": open").is_none() {
            ensure!(stream.read_buf(&mut buffer).await? > 0, "{path} is not opened");
        }
        ensure!(
            buffer.starts_with(b"HTTP/1.1 200"),
            "{path}: {}",
            String::from_utf8_lossy(&buffer)
        );
        stream
    };
    buffer.clear();
    seen.open.fetch_add(1, Ordering::Relaxed);
    loop {
        ensure!(stream.read_buf(&mut buffer).await? > 0, "the stream {path} ended");
        let mut done = 0;
        while let Some(begin) = find(&buffer[done..], TEXT.as_bytes()) {
            let text = done + begin + TEXT.len();
            let Some(end) = find(&buffer[text..], b".") else {
                break;
            };
            let at: i64 = std::str::from_utf8(&buffer[text..text + end])?.parse()?;
            let took = jiff::Timestamp::now().as_microsecond() - at;
            let took = Duration::from_micros(took.try_into().unwrap_or_default());
            seen.latencies
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .record(took);
            seen.events.fetch_add(1, Ordering::Relaxed);
            done = text + end;
        }
        // What is looked for may have begun.
        let keep = buffer.len().saturating_sub(64).max(done);
        buffer.drain(..keep);
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

async fn wait_until(
    what: &str,
    readers: &std::thread::JoinHandle<anyhow::Result<()>>,
    done: impl Fn() -> bool,
) -> anyhow::Result<()> {
    let begin = Instant::now();
    while !done() {
        if readers.is_finished() {
            bail!("a stream broke before {what}");
        }
        ensure!(begin.elapsed() < PATIENCE, "not in {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_looked_for_is_found_across_pieces() {
        assert_eq!(find(b"xx\"text\":\"at 12.", TEXT.as_bytes()), Some(2));
        assert_eq!(find(b"\"text\":\"a", TEXT.as_bytes()), None);
    }
}
