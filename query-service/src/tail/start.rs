//! Where the tail starts: the furthest place that the models have and the log confirms.

use std::time::Duration;

use eventlog::{Checkpoint, LogConfig, LogError, LogReader, TopicPartition};

use super::follow::Places;
use crate::models::{Model, Models};

const TIMEOUT: Duration = Duration::from_secs(5);

/// Why there is no place to start from yet.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoStart {
    #[error("no model says how far it is")]
    NoModel,
    #[error("a model is made from another log, until the projector finds out")]
    Unconfirmed,
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("the log could not be asked")]
    NotAsked,
}

/// The furthest of the models' places, each partition by itself, right behind the last effective record.
pub(crate) async fn of_models(
    models: &Models,
    log: &LogConfig,
    partitions: &[TopicPartition],
) -> Result<Places, NoStart> {
    let count = partitions.iter().map(|of| of.partition + 1).max().unwrap_or(0);
    let (mut found, mut silent) = (Vec::new(), 0);
    for model in Model::ALL {
        match models.checkpoints(model, count).await {
            Ok(places) => found.push(complete(places, partitions)),
            Err(error) => {
                tracing::debug!(model = model.name(), %error, "query.tail.model");
                silent += 1;
            }
        }
    }
    // All of the log would be read only because a model that is down cannot say how far it is: sooner or later it will.
    let empty = |places: &Places| places.values().all(|place| place.last_offset < 0);
    if found.is_empty() || (silent > 0 && found.iter().all(empty)) {
        return Err(NoStart::NoModel);
    }
    for places in &found {
        if !confirmed(log, places.clone()).await? {
            return Err(NoStart::Unconfirmed);
        }
    }
    Ok(furthest(found.into_iter()))
}

/// Whether the log still has each record that a place was taken after.
pub(crate) async fn confirmed(log: &LogConfig, places: Places) -> Result<bool, NoStart> {
    let log = log.clone();
    let asked = tokio::task::spawn_blocking(move || {
        let wanted: Vec<_> = places
            .iter()
            .filter(|(_, place)| place.last_offset >= 0)
            .map(|(partition, place)| (*partition, place.last_offset))
            .collect();
        if wanted.is_empty() {
            return Ok(true);
        }
        let found = LogReader::hopping(&log, "query-confirm")?.fetch_each(&wanted, TIMEOUT)?;
        Ok::<_, LogError>(
            places
                .iter()
                .all(|(partition, place)| place.confirmed_by(found.get(partition))),
        )
    });
    Ok(asked.await.map_err(|_| NoStart::NotAsked)??)
}

/// Every partition; the beginning where a model has nothing.
fn complete(mut places: Places, partitions: &[TopicPartition]) -> Places {
    partitions
        .iter()
        .map(|partition| {
            let place = places.remove(partition).unwrap_or(Checkpoint::BEGINNING);
            (*partition, place)
        })
        .collect()
}

/// The furthest place of each partition. They are on one chain, as the log has confirmed each.
fn furthest(all: impl Iterator<Item = Places>) -> Places {
    let mut furthest = Places::new();
    for (partition, place) in all.flatten() {
        let known = furthest.entry(partition).or_insert(place);
        if place.last_offset > known.last_offset {
            *known = place;
        }
    }
    furthest
        .into_iter()
        .map(|(partition, place)| (partition, resume(place)))
        .collect()
}

/// Right behind the last effective record. The void ones behind it are looked at again: the link vouches for none of them.
pub(crate) const fn resume(place: Checkpoint) -> Checkpoint {
    Checkpoint {
        next_offset: place.last_offset + 1,
        ..place
    }
}

#[cfg(test)]
mod tests {
    use eventlog::{Link, Topic};

    use super::*;

    #[test]
    fn the_furthest_place_of_each_partition_counts() {
        let partition = |partition| TopicPartition {
            topic: Topic::Stock,
            partition,
        };
        let place = |last_offset: i64| Checkpoint {
            next_offset: last_offset + 3,
            last_offset,
            link: Link::ZERO,
        };
        let all = [partition(0), partition(1)];
        let one = complete([(all[0], place(5))].into(), &all);
        assert_eq!(one[&all[1]], Checkpoint::BEGINNING);
        let other = complete([(all[0], place(4)), (all[1], place(9))].into(), &all);
        let found = furthest([one, other].into_iter());
        assert_eq!((found[&all[0]].next_offset, found[&all[1]].next_offset), (6, 10));
    }
}
