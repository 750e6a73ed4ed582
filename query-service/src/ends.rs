//! The log's end, asked for when a token seems to be ahead of it: by a thread, so that a Kafka that is down slows nobody.

use std::collections::BTreeSet;
use std::time::Duration;

use eventlog::{LogConfig, LogReader, Positions, TopicPartition};
use tokio::sync::{mpsc, oneshot};

const TIMEOUT: Duration = Duration::from_secs(1);
/// Questions that wait for an answer; more than that are not asked.
const QUESTIONS_MAX: usize = 1024;

struct Question {
    partitions: Vec<TopicPartition>,
    answer: oneshot::Sender<Positions>,
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

    /// The offset that the next record of each of these partitions gets, as the broker says after this was asked; none where
    /// nobody says.
    pub(crate) async fn of(&self, partitions: Vec<TopicPartition>) -> Option<Positions> {
        let (answer, answered) = oneshot::channel();
        self.questions.try_send(Question { partitions, answer }).ok()?;
        answered.await.ok()
    }
}

fn answer(log: &LogConfig, asked: &mut mpsc::Receiver<Question>) {
    let mut reader = None;
    while let Some(first) = asked.blocking_recv() {
        // All questions that are there by now are asked at once, so the answers are fresh. A question without one is dropped,
        // which says so.
        let mut questions = vec![first];
        while let Ok(more) = asked.try_recv() {
            questions.push(more);
        }
        if reader.is_none() {
            reader = LogReader::new(log, "query-ends").ok();
        }
        let Some(reader) = &reader else { continue };
        let partitions: BTreeSet<_> = questions
            .iter()
            .flat_map(|one| &one.partitions)
            .copied()
            .collect();
        let Ok(ends) = reader.ends(partitions, TIMEOUT) else {
            continue;
        };
        for Question { partitions, answer } in questions {
            let found = |partition: TopicPartition| Some((partition, *ends.get(&partition)?));
            // Nobody may be waiting any more.
            if let Some(ends) = partitions.into_iter().map(found).collect() {
                let _ = answer.send(ends);
            }
        }
    }
}
