//! What the log says once the load is over.

use std::{collections::HashMap, time::Duration};

use anyhow::bail;
use eventlog::{Chain, Checkpoint, LogConfig, LogReader, Topic, TopicPartition, Verdict};
use schemas::{Codec, Event, OrderEvent};
use uuid::Uuid;

use super::{drive::as_f64, rig::PARTITIONS};

const TIMEOUT: Duration = Duration::from_secs(30);

/// The longest time in seconds that an order was pending, from when it was placed to when it was confirmed or rejected, as the
/// events say; where one still is, until now.
pub async fn longest_pending(log: LogConfig, codec: Codec) -> anyhow::Result<f64> {
    tokio::task::spawn_blocking(move || {
        let mut reader = LogReader::hopping(&log, "bench-pending")?;
        let mut longest = 0;
        for partition in 0..PARTITIONS {
            let partition = TopicPartition {
                topic: Topic::Orders,
                partition,
            };
            longest = longest.max(longest_in(&mut reader, &codec, partition)?);
        }
        Ok(as_f64(u64::try_from(longest).unwrap_or(0)) / 1e6)
    })
    .await?
}

/// The same in one partition, in microseconds.
fn longest_in(reader: &mut LogReader, codec: &Codec, partition: TopicPartition) -> anyhow::Result<i64> {
    let (_, end) = reader.watermarks(partition, TIMEOUT)?;
    reader.assign(&[(partition, 0)])?;
    let mut chain = Chain::from(Checkpoint::BEGINNING);
    let mut pending: HashMap<Uuid, i64> = HashMap::new();
    let mut longest = 0;
    while chain.checkpoint().next_offset < end {
        let Some((_, record)) = reader.poll(TIMEOUT)? else {
            bail!("the log cannot be read: {partition:?} ends at {end}");
        };
        if matches!(chain.judge(&record), Verdict::Void(_)) {
            continue;
        }
        let Event::Order(event) = codec.decode(partition.topic, &record.value)? else {
            continue;
        };
        match &event {
            OrderEvent::Placed(placed) => drop(pending.insert(placed.order_id, placed.occurred_at.0)),
            OrderEvent::Confirmed(_)
            | OrderEvent::Rejected(_)
            | OrderEvent::Cancelled(_)
            | OrderEvent::Expired(_) => {
                let id = Event::Order(event.clone())
                    .aggregate_id()
                    .parse()
                    .unwrap_or_default();
                if let Some(placed) = pending.remove(&id) {
                    longest = longest.max(event.occurred_at().0 - placed);
                }
            }
            _ => {}
        }
    }
    let now = jiff::Timestamp::now().as_microsecond();
    let still = pending.values().map(|placed| now - placed).max().unwrap_or(0);
    Ok(longest.max(still))
}
