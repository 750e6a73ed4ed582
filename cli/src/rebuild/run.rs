//! The steps, each of which can be made again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use eventlog::{LogReader, Positions, TopicPartition};
use read_model::compare::{Comparison, Part};
use read_model::generations::{Generation, Generations, State, live};
use tokio::sync::oneshot;

use super::TIMEOUT;
use super::report::{Outcome, Rebuilt, Standing};

/// Between two looks at how far it is.
const EVERY: Duration = Duration::from_millis(100);
/// Between two lines that say so.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// Nobody fills it, then. Longer than indexes take, while which it stands still.
const STALLED: Duration = Duration::from_mins(5);

/// What is waited for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    /// It has every record, for a moment.
    AllIn,
    /// It can be read.
    Ready,
}

/// What a rebuild is told.
pub struct Rebuild {
    /// Is asked again and again where the log ends.
    pub log: Arc<LogReader>,
    /// How many partitions each topic has.
    pub partitions: i32,
    /// Whether to switch to what differs.
    pub accept_differences: bool,
    /// Whether to keep progress to itself.
    pub quiet: bool,
}

impl Rebuild {
    /// Fills a generation, compares, and switches.
    pub async fn run<G: Generations>(&self, generations: &G) -> anyhow::Result<Outcome> {
        let begun = Instant::now();
        let (number, resumed) = self.candidate(generations).await?;
        let did = if resumed { "goes on" } else { "begins" };
        self.tell::<G>(&format!("generation {number} {did}"));
        self.until(generations, number, Until::AllIn).await?;
        let previous = live(&ours(generations).await?).map(|live| live.number);
        let other = previous.filter(|previous| *previous != number);
        if let Some(other) = other {
            self.tell::<G>(&format!("comparing with generation {other}"));
        }
        // Its indexes are made meanwhile.
        let (tell, told) = oneshot::channel();
        let filled = async {
            let records = self.until(generations, number, Until::Ready).await?;
            // Nobody waits for it where there is nothing to compare with.
            let _ = tell.send(());
            anyhow::Ok((records, begun.elapsed().as_secs_f64()))
        };
        let rows = async {
            let ready = async { drop(told.await) };
            match other {
                Some(other) => Ok(generations.compare(other, number, Part::Rows, ready).await?),
                None => Ok(Comparison::default()),
            }
        };
        let ((records, filled_s), mut comparison) = tokio::try_join!(filled, rows)?;
        if let Some(other) = other {
            let sums = generations.compare(other, number, Part::Sums, std::future::ready(()));
            comparison.add(sums.await?);
        }
        let mut rebuilt = Rebuilt {
            generation: number,
            resumed,
            previous,
            records,
            filled_s,
            comparison,
            ..Rebuilt::default()
        };
        if rebuilt.comparison.differences > 0 && !self.accept_differences {
            return Ok(Outcome::Differs(rebuilt));
        }
        generations.switch(number).await?;
        rebuilt.took_s = begun.elapsed().as_secs_f64();
        Ok(Outcome::Switched(rebuilt))
    }

    /// The generation that a run before this one left, or a new one.
    async fn candidate<G: Generations>(&self, generations: &G) -> anyhow::Result<(i32, bool)> {
        let all = ours(generations).await?;
        let live = live(&all);
        let left = all.iter().rfind(|one| {
            let newer = live.is_none_or(|live| one.number > live.number);
            newer && matches!(one.state, State::Filling | State::Ready)
        });
        match left {
            Some(left) => Ok((left.number, true)),
            None => Ok((generations.create().await?, false)),
        }
    }

    /// Waits until it has come so far; how many records that were.
    async fn until<G: Generations>(&self, generations: &G, number: i32, until: Until) -> anyhow::Result<i64> {
        let (begun, mut first) = (Instant::now(), None);
        let (mut moved, mut told, mut last) = (Instant::now(), begun, -1);
        loop {
            let all = ours(generations).await?;
            let one = all.iter().find(|one| one.number == number);
            let one =
                one.context("the generation is gone: it was discarded, or its store lost everything")?;
            let (at, end) = self.place(generations, *one).await?;
            if one.state != State::Filling || (until == Until::AllIn && at >= end) {
                return Ok(at);
            }
            let since = *first.get_or_insert(at);
            if at != last {
                (last, moved) = (at, Instant::now());
            }
            if moved.elapsed() > STALLED && at < end {
                bail!(
                    "nobody fills generation {number}: is a projector of this version running? It goes on with the next run"
                );
            }
            if told.elapsed() > TELL_EVERY {
                told = Instant::now();
                #[allow(clippy::cast_precision_loss, reason = "for people")]
                let rate = (at - since) as f64 / begun.elapsed().as_secs_f64();
                let left = (end - at).max(0);
                self.tell::<G>(&format!("{at} of {end} records, {rate:.0}/s, {left} behind"));
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    /// How many records it has examined, and how many there are.
    async fn place<G: Generations>(&self, generations: &G, one: Generation) -> anyhow::Result<(i64, i64)> {
        let (log, partitions) = (Arc::clone(&self.log), TopicPartition::all(self.partitions));
        let ends = tokio::task::spawn_blocking(move || log.ends(partitions, TIMEOUT)).await??;
        let at = generations.positions(one).await?;
        Ok((sum(&at), ends.values().sum()))
    }

    /// Which generations there are.
    pub async fn status<G: Generations>(&self, generations: &G) -> anyhow::Result<Outcome> {
        let mut standings = Vec::new();
        for generation in generations.list().await? {
            let (at, end) = self.place(generations, generation).await?;
            standings.push(Standing {
                generation,
                records: at,
                behind: (end - at).max(0),
            });
        }
        Ok(Outcome::Status(standings))
    }

    /// Back to what was kept.
    pub async fn back<G: Generations>(&self, generations: &G) -> anyhow::Result<Outcome> {
        let all = ours(generations).await?;
        let kept = all.iter().rfind(|one| one.state == State::Kept);
        let Some(kept) = kept else {
            return Ok(Outcome::Failed("no generation is kept to go back to".to_owned()));
        };
        generations.switch(kept.number).await?;
        Ok(Outcome::Switched(Rebuilt {
            generation: kept.number,
            previous: live(&all).map(|live| live.number),
            ..Rebuilt::default()
        }))
    }

    /// Discards what is not read.
    pub async fn discard<G: Generations>(&self, generations: &G) -> anyhow::Result<Outcome> {
        let all = generations.list().await?;
        let Some(live) = live(&all) else {
            return Ok(Outcome::Failed(
                "nothing of this version is live yet, so all else stays".to_owned(),
            ));
        };
        let mut discarded = Vec::new();
        for one in all.iter().filter(|one| **one != live) {
            generations.discard(*one).await?;
            discarded.push(one.number);
        }
        Ok(Outcome::Discarded(discarded))
    }

    fn tell<G: Generations>(&self, what: &str) {
        if !self.quiet {
            eprintln!("{}: {what}", G::MODEL);
        }
    }
}

async fn ours<G: Generations>(generations: &G) -> anyhow::Result<Vec<Generation>> {
    let mut all = generations.list().await?;
    all.retain(Generation::is_ours);
    Ok(all)
}

fn sum(positions: &Positions) -> i64 {
    positions.iter().map(|(_, offset)| offset).sum()
}
