//! `visible`: how long a write takes from its acknowledgement until a causal read with its token answers, in each model, at half
//! of the peak. The peak is that of single-line orders with everything running; each order is three records. What the parts take of it
//! is measured beside the same load ([`least`]).

mod least;

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use super::{
    ROUNDS,
    ack::half,
    drive::{Arrivals, Load, drive},
    report::{Figure, Finding, Goal},
    requests::{order, receive_stock},
    rig::Rig,
    spent::PerOperation,
};
use crate::load::{Client, Latencies, Request, Target};
use least::Parts;

/// Connections of the load.
const CONNECTIONS: usize = 64;
/// Between two probes, so that they are no load of their own.
const PAUSE: Duration = Duration::from_millis(10);
/// The models, as the query service names them.
const MODELS: [&str; 2] = ["redis", "postgres"];

/// How long a model's probes took.
#[derive(Debug, Default)]
struct Probed {
    /// From the acknowledgement to the read's answer.
    visible: Latencies,
    /// From sending the write to the read's answer.
    whole: Latencies,
    /// From an acknowledgement to having read it, with nothing of ours on the way.
    least: Latencies,
}

/// Runs it.
pub async fn run(rig: &Rig) -> anyhow::Result<Finding> {
    let services = rig.services_for_reads(&[])?;
    let commands = Target::new(&services.command_urls()[0])?;
    let queries = Target::new(&services.query_urls()[0])?;
    let parts = Parts {
        bootstrap: rig.log().bootstrap,
        redis_url: services.env()["TAILWATER_REDIS_URL"].clone(),
        database_url: services.env()["TAILWATER_DATABASE_URL"].clone(),
    };
    receive_stock(&commands, "visible").await?;
    let load = |arrivals, seconds| Load {
        targets: vec![commands.clone()],
        connections: CONNECTIONS,
        arrivals,
        warm_up: rig.pace.seconds(3),
        duration: rig.pace.seconds(seconds),
        again: true,
    };
    let (mut at_peak, mut at_half) = (PerOperation::default(), PerOperation::default());
    let before = rig.spent();
    let peak = drive(load(Arrivals::Closed, 10), order(&commands, "visible-peak")).await?;
    ensure!(peak.failed == 0, "orders failed: {:?}", peak.failures);
    at_peak.push(
        "an order at the peak",
        &rig.spent().since(&before),
        peak.acknowledged_ever,
    );
    let rate = half(peak.per_second());
    let mut rounds: [Vec<Probed>; 2] = [Vec::new(), Vec::new()];
    for round in 0..rig.pace.times(ROUNDS) {
        let steady = load(Arrivals::Open(rate), 10);
        let duration = steady.warm_up + steady.duration;
        let run = format!("visible-{round}");
        let probes = MODELS.map(|model| {
            probe(
                commands.clone(),
                queries.clone(),
                model,
                run.clone(),
                rig.pace.seconds(3),
                duration,
            )
        });
        let least =
            MODELS.map(|model| least::probe(parts.clone(), model, round, rig.pace.seconds(3), duration));
        let ([redis, postgres], [least_redis, least_postgres]) = (probes, least);
        let before = rig.spent();
        let (driven, redis, postgres, least_redis, least_postgres) = tokio::join!(
            drive(steady, order(&commands, &run)),
            redis,
            postgres,
            least_redis,
            least_postgres
        );
        let driven = driven?;
        ensure!(driven.failed == 0, "orders failed: {:?}", driven.failures);
        let spent = rig.spent().since(&before);
        at_half.push("an order, with the probes", &spent, driven.acknowledged_ever);
        let took = [(redis?, least_redis?), (postgres?, least_postgres?)];
        for (model, (mut probed, least)) in took.into_iter().enumerate() {
            probed.least = least;
            eprintln!(
                "  round {}: {} at {rate} orders/s: {}; with nothing of ours on the way {}",
                round + 1,
                MODELS[model],
                probed.visible.summary(),
                probed.least.summary()
            );
            rounds[model].push(probed);
        }
    }
    let ms = |of: &[Probed], of_hundred: f64, which: fn(&Probed) -> &Latencies| -> Vec<f64> {
        of.iter()
            .map(|probed| which(probed).percentile(of_hundred).as_secs_f64() * 1e3)
            .collect()
    };
    let mut figures = Vec::new();
    let mut raw = json!({
        "per_second": rate,
        "peak_per_second": peak.per_second(),
        "processor_us_per_order": at_half.raw(),
        "processor_us_per_order_at_the_peak": at_peak.raw(),
    });
    for (model, probed) in MODELS.iter().zip(&rounds) {
        for (of_hundred, goal) in [(50.0, 8.0), (99.0, 25.0)] {
            let visible = ms(probed, of_hundred, |probed| &probed.visible);
            let what = format!("p{of_hundred} from acknowledged to visible in {model}");
            figures.push(Figure::of(what, "ms", &visible, Goal::AtMost(goal)));
            let least = ms(probed, of_hundred, |probed| &probed.least);
            let what = format!("floor: the same p{of_hundred} with nothing of ours on the way, {model}");
            figures.push(Figure::of(what, "ms", &least, Goal::None));
            raw[format!("{model}_visible_p{of_hundred}_ms")] = json!(visible);
            raw[format!("{model}_from_sending_p{of_hundred}_ms")] =
                json!(ms(probed, of_hundred, |probed| &probed.whole));
        }
    }
    let also = figures.split_off(1);
    let first = figures.pop().context("there are models")?;
    Ok(Finding::new(first, also, raw))
}

/// Places orders one after the other, and reads each from that model alone as soon as it is acknowledged.
async fn probe(
    commands: Target,
    queries: Target,
    model: &'static str,
    run: String,
    warm_up: Duration,
    duration: Duration,
) -> anyhow::Result<Probed> {
    let (mut command, mut query) = (Client::new(&commands), Client::new(&queries));
    let make = order(&commands, &format!("{run}-{model}"));
    let (begin, mut probed) = (Instant::now(), Probed::default());
    for index in 0.. {
        if begin.elapsed() >= duration {
            break;
        }
        let sent = Instant::now();
        let placed = command.send(&make(index), duration).await?;
        ensure!(placed.status == 201, "an order was answered {}", placed.summary());
        let acknowledged = Instant::now();
        let token = placed
            .header("consistency-token")
            .context("an acknowledgement without a token")?;
        let body: Value = serde_json::from_slice(&placed.body)?;
        let path = format!("/v1/orders/{}", body["order_id"].as_str().unwrap_or_default());
        let headers = [
            ("consistency-token", token),
            ("prefer", "wait=20"),
            ("tailwater-model", model),
        ];
        let read = query
            .send(&Request::get(&queries, &path, &headers), duration)
            .await?;
        ensure!(read.status == 200, "a read was answered {}", read.summary());
        if begin.elapsed() >= warm_up {
            probed.visible.record(acknowledged.elapsed());
            probed.whole.record(sent.elapsed());
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(probed)
}
