//! `peers`: placing an order in a new stream, and adding to one of five events, through the writers in process; beside what event
//! stores and event-sourcing libraries do with the same (`bench/peers/`). 64 clients, no HTTP on either side.
//!
//! What is acknowledged is not equally safe everywhere. Postgres syncs its log before it answers, or does not; `umadb` always
//! syncs; a broker answers from the page cache, or syncs each batch. All of these are measured.

mod ours;
mod programs;

use std::{collections::BTreeMap, time::Duration};

use anyhow::Context as _;
use serde_json::{Value, json};

use super::{
    append,
    report::{Figure, Finding, Goal},
    rig::{PARTITIONS, Rig},
};
use ours::Ours;
use programs::{Durability, Peer, Workload};

pub use programs::build;

/// How often those take turns that goals are about; the others have one turn.
const ROUNDS: usize = 3;
/// Those that goals are about.
const UMADB: &str = "umadb";
const CQRS_ES: &str = "cqrs-es";
const BARE: &str = "bare";
/// The floor: the writers' producer with as many records under way as there are clients, and nothing decided.
const ALONE: &str = "alone";
/// Clients on either side, and as many as reach the most that a writer can do.
const CLIENTS: usize = 64;
const CLIENTS_MANY: usize = 1_024;
/// What is measured of ours.
const WARM_UP: Duration = Duration::from_secs(3);
const MEASURED: Duration = Duration::from_secs(5);
/// Streams of five events that are added to, once each.
const STREAMS: usize = 60_000;

/// Commands a second of everybody in one round.
#[derive(Debug, Default)]
struct Round(BTreeMap<String, f64>);

/// Runs it. The peers are built before: see [`build`].
pub async fn run(rig: &Rig) -> anyhow::Result<Finding> {
    let peers = programs::load()?;
    let mut rounds: Vec<Round> = Vec::new();
    let mut said: Vec<Value> = Vec::new();
    for round in 0..rig.pace.times(ROUNDS) {
        let mut figures = Round::default();
        for (durability, sync) in [("page-cache", false), ("fsync", true)] {
            figures.measure_ours(rig, round, durability, sync).await?;
        }
        for peer in &peers {
            let compared = [UMADB, CQRS_ES, BARE].contains(&peer.name.as_str());
            if round == 0 || compared {
                said.extend(figures.measure(rig, peer, round).await?);
            }
        }
        rounds.push(figures);
    }
    let of = |key: &str| -> Vec<f64> {
        let figures = rounds.iter();
        figures
            .map(|round| round.0.get(key).copied().unwrap_or(f64::NAN))
            .collect()
    };
    let ratio = |what: &str, ours: &str, theirs: &str, least: f64| {
        Figure::ratio(what, &of(ours), &of(theirs), Goal::AtLeast(least))
    };
    let told = |what: &str, ours: &str, theirs: &str| Figure::ratio(what, &of(ours), &of(theirs), Goal::None);
    let first = ratio(
        "new stream to UmaDB",
        "ours new page-cache",
        "umadb new fsync",
        3.0,
    );
    let also = vec![
        ratio(
            "new stream to cqrs-es",
            "ours new page-cache",
            "cqrs-es new fsync",
            12.0,
        ),
        ratio(
            "new stream to a bare insert",
            "ours new page-cache",
            "bare new fsync",
            5.0,
        ),
        ratio(
            "existing stream to UmaDB",
            "ours existing page-cache",
            "umadb existing fsync",
            8.0,
        ),
        ratio(
            "existing stream to cqrs-es",
            "ours existing page-cache",
            "cqrs-es existing fsync",
            12.0,
        ),
        ratio(
            "new stream to UmaDB, each batch synced",
            "ours new fsync",
            "umadb new fsync",
            1.0,
        ),
        ratio(
            "existing stream to UmaDB, each batch synced",
            "ours existing fsync",
            "umadb existing fsync",
            1.0,
        ),
        ratio("1,024 clients to append", "ours many page-cache", "append", 1.0),
        told(
            "floor: as many records of the producer alone, to UmaDB's new streams",
            ALONE,
            "umadb new fsync",
        ),
        told("new stream to the producer alone", "ours new page-cache", ALONE),
        told(
            "existing stream to the producer alone",
            "ours existing page-cache",
            ALONE,
        ),
    ];
    let rounds: Vec<_> = rounds.into_iter().map(|round| round.0).collect();
    Ok(Finding::new(
        first,
        also,
        json!({
            "commands_per_second": rounds, "peers": said, "clients": CLIENTS, "partitions": PARTITIONS,
        }),
    ))
}

impl Round {
    /// The writers in process, on topics of their own.
    async fn measure_ours(
        &mut self,
        rig: &Rig,
        round: usize,
        durability: &str,
        sync: bool,
    ) -> anyhow::Result<()> {
        let prefix = format!("peers-{durability}-{round}");
        let ours = Ours::start(rig, &prefix, sync).await?;
        let (warm_up, measured) = (
            rig.pace.seconds(WARM_UP.as_secs()),
            rig.pace.seconds(MEASURED.as_secs()),
        );
        ours.place(CLIENTS, warm_up).await?;
        let new = ours.place(CLIENTS, measured).await?;
        let existing = ours.add(CLIENTS, rig.pace.count(STREAMS)).await?;
        eprintln!("  tailwater, {durability}: new {new:.0}/s, existing {existing:.0}/s");
        self.0.insert(format!("ours new {durability}"), new);
        self.0.insert(format!("ours existing {durability}"), existing);
        if !sync {
            let many = ours.place(CLIENTS_MANY, measured).await?;
            let append = append::once(rig, &format!("peers-append-{round}")).await?;
            let alone_prefix = format!("peers-alone-{round}");
            let alone = append::producer_alone(rig, &alone_prefix, PARTITIONS, CLIENTS).await?;
            eprintln!(
                "  tailwater, {CLIENTS_MANY} clients: {many:.0}/s; append {append:.0}/s; {CLIENTS} records of the producer alone {alone:.0}/s"
            );
            self.0.insert(format!("ours many {durability}"), many);
            self.0.insert("append".to_owned(), append);
            self.0.insert(ALONE.to_owned(), alone);
        }
        Ok(())
    }

    /// One peer: both workloads, at every durability that it has in the first round, else at the safest. What it said.
    async fn measure(&mut self, rig: &Rig, peer: &Peer, round: usize) -> anyhow::Result<Vec<Value>> {
        let mut told = Vec::new();
        for &durability in peer.durabilities().iter().take(if round == 0 { 2 } else { 1 }) {
            for workload in Workload::ALL {
                let said = peer
                    .measure(rig, workload, durability, CLIENTS)
                    .await
                    .with_context(|| format!("the peer {}", peer.name))?;
                let per_second = said.per_second();
                let (what, how) = (workload.as_str(), durability.as_str());
                eprintln!(
                    "  {}, {how}: {what} {per_second:.0}/s, {} failed",
                    peer.name, said.failed
                );
                self.0.insert(format!("{} {what} {how}", peer.name), per_second);
                let mut said = serde_json::to_value(said)?;
                said["durability"] = json!(how);
                said["round"] = json!(round);
                told.push(said);
            }
        }
        Ok(told)
    }
}

impl Durability {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Synced => "fsync",
            Self::Unsynced => "page-cache",
        }
    }
}
