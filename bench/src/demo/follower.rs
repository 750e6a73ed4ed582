//! Follows the log as any subscriber does.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use eventlog::{
    Chain, Checkpoint, LogConfig, LogReader, LogRecord, TopicPartition, Verdict, topics::partition_count,
};
use schemas::Codec;

use super::{folded::Folded, progress::Progress};

const TIMEOUT: Duration = Duration::from_secs(10);

/// Where the log has come to.
pub(super) struct Follower {
    reader: LogReader,
    codec: Codec,
    chains: BTreeMap<TopicPartition, Chain>,
    /// What it held since the demo began.
    pub(super) folded: Folded,
    /// Records that do not count.
    pub(super) void: u64,
    /// False while what was there before the demo is read past.
    counting: bool,
}

impl Follower {
    /// Reads past everything that is there: only the chain is followed, nothing is decoded.
    pub(super) fn begin(kafka: &str, prefix: &str, codec: Codec) -> anyhow::Result<Self> {
        let config = LogConfig {
            bootstrap: kafka.to_owned(),
            prefix: prefix.to_owned(),
        };
        let partitions = partition_count(&config, TIMEOUT).context("cannot ask Kafka for its partitions")?;
        let reader = LogReader::hopping(&config, "tailwater-demo")?;
        let all = TopicPartition::all(partitions);
        let chains: BTreeMap<_, _> = all.map(|at| (at, Chain::from(Checkpoint::BEGINNING))).collect();
        let mut follower = Self {
            reader,
            codec,
            chains,
            folded: Folded::default(),
            void: 0,
            counting: false,
        };
        follower.catch_up()?;
        follower.counting = true;
        Ok(follower)
    }

    /// Reads up to where the log ends now. Fetches nothing in between: a consumer that reads ahead would take its share of
    /// the machine while the pipeline is measured.
    pub(super) fn catch_up(&mut self) -> anyhow::Result<()> {
        let mut behind = self.reader.ends(self.chains.keys().copied(), TIMEOUT)?;
        behind.retain(|at, end| self.chains[at].checkpoint().next_offset < *end);
        if behind.is_empty() {
            return Ok(());
        }
        let from: Vec<_> = self
            .chains
            .iter()
            .map(|(at, chain)| (*at, chain.checkpoint().next_offset))
            .collect();
        self.reader.assign(&from)?;
        let mut last = Instant::now();
        while !behind.is_empty() {
            let polled = match self.reader.poll(Duration::from_millis(200)) {
                Ok(polled) => polled,
                Err(error) if error.is_fatal() => return Err(error.into()),
                Err(_transient) => None,
            };
            let Some((at, record)) = polled else {
                if last.elapsed() > TIMEOUT * 3 {
                    bail!("the log cannot be read: {behind:?} is not reached");
                }
                continue;
            };
            last = Instant::now();
            let next_offset = record.offset + 1;
            self.take(at, &record);
            if behind.get(&at).is_some_and(|end| next_offset >= *end) {
                behind.remove(&at);
            }
        }
        Ok(self.reader.assign(&[])?)
    }

    fn take(&mut self, at: TopicPartition, record: &LogRecord) {
        let Some(chain) = self.chains.get_mut(&at) else {
            return;
        };
        let verdict = chain.judge(record);
        if !self.counting {
            return;
        }
        match verdict {
            Verdict::Void(_) => self.void += 1,
            Verdict::Effective(envelope) => match self.codec.decode(at.topic, &record.value) {
                Ok(event) => self.folded.fold(&event, envelope.event_id),
                Err(error) => self
                    .folded
                    .faults
                    .push(format!("{at:?}, offset {}: {error}", record.offset)),
            },
        }
    }

    /// Follows until so many orders are there and none has a step to take; says how long it took.
    pub(super) fn until_rest(&mut self, placed: usize, patience: Duration) -> anyhow::Result<Duration> {
        let begin = Instant::now();
        let mut progress = Progress::begin("waiting until every order is at rest", placed);
        loop {
            self.catch_up()?;
            let (there, restless) = (self.folded.len(), self.folded.restless());
            progress.set(there - restless.len());
            if restless.is_empty() && there >= placed {
                progress.end();
                return Ok(begin.elapsed());
            }
            if begin.elapsed() > patience {
                let (open, example) = (restless.len(), restless.iter().next());
                bail!(
                    "{there} of {placed} orders are in the log after {patience:?}, and {open} are not at rest: {example:?}"
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
