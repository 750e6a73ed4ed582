//! The topics: made by a deploy step, checked by every service.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use schemas::Topic;

use crate::config::LogConfig;
use crate::error::LogError;
use crate::plain::PlainTopic;
use crate::positions::LogId;

const TIMEOUT: Duration = Duration::from_secs(30);

/// A topic and the settings that make it what it is.
struct Plan {
    name: String,
    partitions: i32,
    /// What must be so, in topics that are there already, too.
    settings: &'static [(&'static str, &'static str)],
    /// What new topics get beside it: a matter of cost, not of the contract.
    tuning: &'static [(&'static str, &'static str)],
}

/// Kept for ever, never compacted: offsets have no holes.
const KEPT: &[(&str, &str)] = &[
    ("cleanup.policy", "delete"),
    ("retention.ms", "-1"),
    ("retention.bytes", "-1"),
    ("unclean.leader.election.enable", "false"),
];
/// Heartbeats come several times a second and are of no use a moment later: without small segments the cleaner, which leaves
/// the newest one alone, would let gigabytes lie.
const HEARTBEATS: &[(&str, &str)] = &[
    ("segment.bytes", "4194304"),
    ("segment.ms", "600000"),
    ("min.cleanable.dirty.ratio", "0.1"),
    ("delete.retention.ms", "600000"),
];
const COMPACTED: &[(&str, &str)] = &[
    ("cleanup.policy", "compact"),
    ("unclean.leader.election.enable", "false"),
];

/// Makes the topics that are missing, and checks those that are there. Idempotent. Blocks while it asks for metadata.
///
/// # Errors
/// [`LogError::Topic`] where a topic has another number of partitions or another policy than the contract asks for.
pub async fn ensure(config: &LogConfig, partitions: i32, replication: i32) -> Result<(), LogError> {
    let admin: AdminClient<DefaultClientContext> = config.client("deploy").create()?;
    let options = AdminOptions::new()
        .operation_timeout(Some(TIMEOUT))
        .request_timeout(Some(TIMEOUT));
    let mut plans: Vec<Plan> = Topic::ALL
        .into_iter()
        .map(|topic| Plan {
            name: topic.name(&config.prefix),
            partitions,
            settings: KEPT,
            tuning: &[],
        })
        .collect();
    plans.push(Plan {
        name: PlainTopic::Commands.name(&config.prefix),
        partitions,
        settings: KEPT,
        tuning: &[],
    });
    plans.push(Plan {
        name: format!("{}.cluster", config.prefix),
        partitions: 1,
        settings: COMPACTED,
        tuning: HEARTBEATS,
    });
    plans.push(Plan {
        name: PlainTopic::DeadLetters.name(&config.prefix),
        partitions: 1,
        settings: KEPT,
        tuning: &[],
    });
    let min_insync = if replication >= 3 { "2" } else { "1" };
    let news: Vec<NewTopic<'_>> = plans
        .iter()
        .map(|plan| {
            let topic = NewTopic::new(&plan.name, plan.partitions, TopicReplication::Fixed(replication))
                .set("min.insync.replicas", min_insync);
            plan.settings
                .iter()
                .chain(plan.tuning)
                .fold(topic, |topic, (name, value)| topic.set(name, value))
        })
        .collect();
    for result in admin.create_topics(&news, &options).await? {
        match result {
            Ok(name) => tracing::info!(topic = name, "log.topic.created"),
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, code)) => return Err(LogError::Topic(format!("topic {name} cannot be made: {code}"))),
        }
    }
    for plan in &plans {
        check(&admin, &options, plan).await?;
    }
    let deadline = Instant::now() + TIMEOUT;
    let found = loop {
        match partition_count(config, TIMEOUT) {
            // A broker may not lead yet what the controller has just made.
            Err(LogError::Topic(_)) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(50));
            }
            found => break found?,
        }
    };
    if found != partitions {
        tracing::warn!(
            found,
            asked = partitions,
            "log.topic.partitions: the number of partitions never changes"
        );
    }
    Ok(())
}

async fn check(
    admin: &AdminClient<DefaultClientContext>,
    options: &AdminOptions,
    plan: &Plan,
) -> Result<(), LogError> {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let described = admin
            .describe_configs([&ResourceSpecifier::Topic(&plan.name)], options)
            .await?;
        let settings: HashMap<String, Option<String>> = described
            .into_iter()
            .flatten()
            .flat_map(|resource| resource.entries)
            .map(|entry| (entry.name, entry.value))
            .collect();
        // A broker may not have heard yet of a topic that the controller has just made.
        if settings.is_empty() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(50));
            continue;
        }
        for (name, wanted) in plan.settings {
            let found = settings.get(*name).and_then(Option::as_deref);
            if found != Some(*wanted) {
                return Err(LogError::Topic(format!(
                    "topic {} has {name}={}, but must have {wanted}: change it with kafka-configs.sh",
                    plan.name,
                    found.unwrap_or("?")
                )));
            }
        }
        return Ok(());
    }
}

/// The number of partitions, which both event topics share.
///
/// # Errors
/// [`LogError::Topic`] where a topic is missing or the two differ.
pub fn partition_count(config: &LogConfig, timeout: Duration) -> Result<i32, LogError> {
    let consumer: BaseConsumer = config.client("metadata").create()?;
    let mut counts = Vec::new();
    for topic in Topic::ALL {
        let name = topic.name(&config.prefix);
        let metadata = consumer.fetch_metadata(Some(&name), timeout)?;
        let found = metadata
            .topics()
            .iter()
            .find(|found| found.name() == name && found.error().is_none() && !found.partitions().is_empty())
            .ok_or_else(|| LogError::Topic(format!("topic {name} is missing: run `tailwater deploy`")))?;
        counts.push((name, i32::try_from(found.partitions().len()).unwrap_or(i32::MAX)));
    }
    if counts.iter().any(|(_, count)| *count != counts[0].1) {
        return Err(LogError::Topic(format!(
            "the event topics differ in their number of partitions: {counts:?}"
        )));
    }
    Ok(counts[0].1)
}

/// The log's identity, from the cluster's id.
pub fn log_id(config: &LogConfig, timeout: Duration) -> Result<LogId, LogError> {
    let consumer: BaseConsumer = config.client("metadata").create()?;
    let id = consumer
        .client()
        .fetch_cluster_id(timeout)
        .ok_or(LogError::NoClusterId)?;
    Ok(LogId::new(&id, &config.prefix))
}
