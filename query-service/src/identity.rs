//! Which log the tokens belong to, and how many partitions it has: from Kafka, else from what the models noted.

use std::time::Duration;

use eventlog::{LogConfig, LogError, TokenKey, topics};
use read_model::deployment::Deployment;
use service_kit::Health;
use service_kit::config::Secret;
use service_kit::health::START;

use crate::models::Models;

const TIMEOUT: Duration = Duration::from_secs(2);
const RETRY_EVERY: Duration = Duration::from_millis(500);
const WATCH_EVERY: Duration = Duration::from_secs(2);
/// Kafka is asked again every so many rounds of the watch.
const ROUNDS: u32 = 15;

/// What tokens and keys are judged by.
#[derive(Debug)]
pub struct Identity {
    /// Seals and opens tokens.
    pub key: TokenKey,
    /// Partitions of each event topic.
    pub partitions: i32,
}

/// Learns it, from whichever answers: Kafka first, as the models may be another log's.
///
/// # Errors
/// Where the topics are there, but not as they must be.
pub(crate) async fn learn(
    log: &LogConfig,
    secret: &Secret,
    models: &Models,
    health: &Health,
) -> anyhow::Result<Identity> {
    health.down(START, "neither Kafka nor a model says which log this is");
    loop {
        let found = match of_kafka(log).await {
            Ok(found) => Some(found),
            Err(error) if error.is_fatal() => return Err(error.into()),
            Err(error) => {
                let noted = models.deployment().await;
                tracing::warn!(%error, noted = noted.is_some(), "query.identity.wait");
                noted
            }
        };
        if let Some(Deployment { log_id, partitions }) = found {
            let key = TokenKey::new(secret.expose().as_bytes(), log_id);
            tracing::info!(partitions, "query.identity.known");
            return Ok(Identity { key, partitions });
        }
        tokio::time::sleep(RETRY_EVERY).await;
    }
}

/// Looks again now and then, for ever: whether a model answers, and whether the log is still the one that was learnt.
///
/// # Errors
/// Where Kafka says that it is another log: a restart learns it anew.
pub(crate) async fn watch(
    log: &LogConfig,
    known: &Identity,
    models: &Models,
    health: &Health,
) -> anyhow::Result<()> {
    for round in 0_u32.. {
        match models.any_answers(known.partitions).await {
            Ok(()) => health.up("models"),
            Err(reason) => health.down("models", reason),
        }
        if round % ROUNDS == 0
            && let Ok(found) = of_kafka(log).await
        {
            anyhow::ensure!(
                found.log_id == known.key.log() && found.partitions == known.partitions,
                "the log behind the models is another one now: started again, the service learns it"
            );
        }
        tokio::time::sleep(WATCH_EVERY).await;
    }
    Ok(())
}

async fn of_kafka(log: &LogConfig) -> Result<Deployment, LogError> {
    let log = log.clone();
    let asked = tokio::task::spawn_blocking(move || {
        let log_id = topics::log_id(&log, TIMEOUT)?;
        Ok(Deployment {
            log_id,
            partitions: topics::partition_count(&log, TIMEOUT)?,
        })
    });
    asked.await.unwrap_or(Err(LogError::NoClusterId))
}
