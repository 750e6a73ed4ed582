//! The log's end, asked for when a token seems to be ahead of it: by a thread, so that a Kafka that is down slows nobody.

use std::collections::BTreeMap;
use std::time::Duration;

use eventlog::{LogConfig, LogReader, Positions, TopicPartition};
use futures::future::join_all;
use tokio::sync::{mpsc, oneshot};

const TIMEOUT: Duration = Duration::from_secs(1);
/// Questions that wait for an answer; more than that are not asked.
const QUESTIONS_MAX: usize = 1024;

struct Question {
    partition: TopicPartition,
    answer: oneshot::Sender<i64>,
}

/// Answers how far the log is.
#[derive(Clone, Debug)]
pub(crate) struct Ends {
    questions: mpsc::Sender<Question>,
}

impl Ends {
    /// Starts the thread, which ends with the last of its handles.
    pub(crate) fn spawn(log: LogConfig) -> std::io::Result<Self> {
        let (questions, mut asked) = mpsc::channel(QUESTIONS_MAX);
        std::thread::Builder::new()
            .name("log-ends".to_owned())
            .spawn(move || answer(&log, &mut asked))?;
        Ok(Self { questions })
    }

    /// The offset that the partition's next record gets, as the broker says after this was asked; none where nobody says.
    pub(crate) async fn of(&self, partition: TopicPartition) -> Option<i64> {
        let (answer, answered) = oneshot::channel();
        self.questions.try_send(Question { partition, answer }).ok()?;
        answered.await.ok()
    }

    /// The same of several partitions; none where anything is missing.
    pub(crate) async fn of_all(&self, partitions: &[TopicPartition]) -> Option<Positions> {
        let asked = partitions.iter().map(async |partition| {
            let end = self.of(*partition).await?;
            Some((*partition, end))
        });
        join_all(asked).await.into_iter().collect()
    }
}

fn answer(log: &LogConfig, asked: &mut mpsc::Receiver<Question>) {
    let mut reader = None;
    while let Some(first) = asked.blocking_recv() {
        // All questions that are there by now get the same, fresh answers. A question without one is dropped, which says so.
        let mut questions = vec![first];
        while let Ok(more) = asked.try_recv() {
            questions.push(more);
        }
        if reader.is_none() {
            reader = LogReader::new(log, "query-ends").ok();
        }
        let Some(reader) = &reader else { continue };
        let mut ends: BTreeMap<TopicPartition, Option<i64>> = BTreeMap::new();
        let mut down = false;
        for Question { partition, answer } in questions {
            let end = ends.entry(partition).or_insert_with(|| {
                let end = if down {
                    None
                } else {
                    reader.watermarks(partition, TIMEOUT).ok()
                };
                down |= end.is_none();
                end.map(|(_, end)| end)
            });
            if let Some(end) = end {
                // Nobody may be waiting any more.
                let _ = answer.send(*end);
            }
        }
    }
}
