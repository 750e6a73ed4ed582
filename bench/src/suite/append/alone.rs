//! The floor of `append` and of `peers`: one record, made beforehand, again and again through the writer's own producer, with its
//! headers and as many in flight. What the client and the broker take of it, whoever decides.

use std::time::{Duration, Instant};

use anyhow::ensure;
use crossbeam_channel::Receiver;
use eventlog::{Appender, LogConfig, NewRecord, Outcome, Report};

use super::partition;
use crate::suite::drive::as_f64;

/// How many records are under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct UnderWay {
    pub partitions: usize,
    /// In each of them.
    pub each: usize,
}

/// Records acknowledged a second. Every one of them is void, which the broker does not know.
pub(super) fn measure(
    log: &LogConfig,
    record: &NewRecord,
    under_way: UnderWay,
    warm_up: Duration,
    duration: Duration,
) -> anyhow::Result<f64> {
    let (sink, reports) = crossbeam_channel::unbounded();
    let mut producer = Producer {
        appender: Appender::new(log, "bench-alone", 10_000, sink, |report| report)?,
        reports,
        in_flight: vec![0; under_way.partitions],
        in_flight_max: under_way.each,
        acknowledged: 0,
    };
    producer.fill_until(record, Instant::now() + warm_up)?;
    let (begin, before) = (Instant::now(), producer.acknowledged);
    producer.fill_until(record, begin + duration)?;
    let (elapsed, counted) = (begin.elapsed(), producer.acknowledged - before);
    while producer.in_flight.iter().any(|count| *count > 0) {
        producer.take_reports()?;
    }
    Ok(as_f64(counted) / elapsed.as_secs_f64())
}

struct Producer {
    appender: Appender<Report>,
    reports: Receiver<Report>,
    /// By partition.
    in_flight: Vec<usize>,
    in_flight_max: usize,
    acknowledged: u64,
}

impl Producer {
    fn fill_until(&mut self, record: &NewRecord, end: Instant) -> anyhow::Result<()> {
        while Instant::now() < end {
            for (slot, count) in self.in_flight.iter_mut().enumerate() {
                while *count < self.in_flight_max {
                    let taken = self.appender.append(partition(slot)?, record, slot);
                    ensure!(taken, "the producer refused a record");
                    *count += 1;
                }
            }
            self.take_reports()?;
        }
        Ok(())
    }

    /// Waits for a delivery report, and takes in what else is there.
    fn take_reports(&mut self) -> anyhow::Result<()> {
        let first = self.reports.recv_timeout(Duration::from_millis(20)).ok();
        for Report { ticket, outcome } in first.into_iter().chain(self.reports.try_iter()) {
            ensure!(outcome != Outcome::Doubt, "a record is in doubt");
            self.in_flight[ticket] -= 1;
            self.acknowledged += 1;
        }
        Ok(())
    }
}
