//! The schema registry: schemas are registered by a deploy step; services only look their ids up.
//!
//! What was verified is kept on disk, so that a command service restarts and works while the registry is down.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use schema_registry_converter::async_impl::schema_registry::{
    SrSettings, get_schema_by_subject, post_schema,
};
use schema_registry_converter::schema_registry_common::{
    RegisteredSchema, SchemaType, SubjectNameStrategy, SuppliedSchema,
};
use schemas::{Codec, SchemaDef};
use serde::{Deserialize, Serialize};

/// What can go wrong between us and the registry.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The registry does not answer, and nothing is on disk.
    #[error("the schema registry at {url} does not answer: {reason}")]
    Unreachable {
        /// The registry's address.
        url: String,
        /// What the client said.
        reason: String,
    },
    /// A subject is not registered.
    #[error("subject {subject} is not in the schema registry: run `tailwater deploy`")]
    Missing {
        /// The subject.
        subject: String,
    },
    /// The registry has another schema under a subject.
    #[error(
        "subject {subject} has another schema in the registry than this program: run `tailwater deploy` of this version"
    )]
    Differs {
        /// The subject.
        subject: String,
    },
    /// The registry refused a schema.
    #[error("the schema registry refused {subject}: {reason}")]
    Refused {
        /// The subject.
        subject: String,
        /// What it said.
        reason: String,
    },
    /// The schemas do not make a codec.
    #[error("the schemas make no codec")]
    Codec(#[from] schemas::CodecError),
}

/// A schema as some writer used it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    id: u32,
    schema: serde_json::Value,
    /// Whether it is the one that this program writes with.
    current: bool,
}

/// What is known of the subjects: what [`load_codec`] keeps on disk.
type Book = BTreeMap<String, Vec<Known>>;

fn settings(url: &str) -> Result<SrSettings, RegistryError> {
    SrSettings::new_builder(url.trim_end_matches('/').to_owned())
        .no_proxy()
        .set_timeout(Duration::from_secs(10))
        .build()
        .map_err(|error| unreachable(url, &error))
}

fn unreachable(url: &str, reason: &dyn std::fmt::Display) -> RegistryError {
    RegistryError::Unreachable {
        url: url.to_owned(),
        reason: reason.to_string(),
    }
}

fn strategy(def: &SchemaDef, prefix: &str) -> SubjectNameStrategy {
    SubjectNameStrategy::TopicRecordNameStrategy(def.topic.name(prefix), def.full_name.to_owned())
}

fn parsed(schema: &str) -> serde_json::Value {
    serde_json::from_str(schema).unwrap_or_default()
}

/// Registers every schema and sets the compatibility that the contract promises. Idempotent.
pub async fn register(url: &str, prefix: &str) -> Result<(), RegistryError> {
    let settings = settings(url)?;
    let client = http_client(url)?;
    for def in schemas::all() {
        let subject = def.subject(prefix);
        let supplied = SuppliedSchema::new(
            Some(def.full_name.to_owned()),
            SchemaType::Avro,
            parsed(def.json).to_string(),
        );
        post_schema(&settings, subject.clone(), supplied)
            .await
            .map_err(|error| RegistryError::Refused {
                subject: subject.clone(),
                reason: error.to_string(),
            })?;
        let answer = client
            .put(format!("{}/config/{subject}", url.trim_end_matches('/')))
            .json(&serde_json::json!({ "compatibility": "FULL_TRANSITIVE" }))
            .send()
            .await
            .map_err(|error| unreachable(url, &error))?;
        if !answer.status().is_success() {
            return Err(RegistryError::Refused {
                subject,
                reason: format!("compatibility: {}", answer.status()),
            });
        }
    }
    Ok(())
}

fn http_client(url: &str) -> Result<reqwest::Client, RegistryError> {
    reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(10))
        .build()
        .map_err(|error| unreachable(url, &error))
}

/// The codec under the ids that the registry gave out, with every older version of each schema for reading.
///
/// Where the registry does not answer, what was verified last under `cache_dir` is used.
///
/// # Errors
/// [`RegistryError::Missing`] or [`RegistryError::Differs`] name the subject.
pub async fn load_codec(url: &str, prefix: &str, cache_dir: Option<&Path>) -> Result<Codec, RegistryError> {
    let cache = cache_dir.map(|dir| dir.join(format!("schema-ids-{prefix}.json")));
    let book = match look_up(url, prefix).await {
        Ok(book) => {
            if let Some(path) = &cache {
                store(path, &book);
            }
            book
        }
        Err(error @ RegistryError::Unreachable { .. }) => {
            let Some(book) = cache
                .as_deref()
                .and_then(restore)
                .filter(|book| covers(book, prefix))
            else {
                return Err(error);
            };
            tracing::warn!(%error, "registry.schemas.cached: the ids that were verified last are used");
            book
        }
        Err(error) => return Err(error),
    };
    codec(&book, prefix)
}

fn codec(book: &Book, prefix: &str) -> Result<Codec, RegistryError> {
    let current = |def: &SchemaDef| {
        let known = book
            .get(&def.subject(prefix))
            .into_iter()
            .flatten()
            .find(|known| known.current);
        known.map(|known| known.id).ok_or_else(|| RegistryError::Missing {
            subject: def.subject(prefix),
        })
    };
    let ids = schemas::all()
        .iter()
        .map(|def| Ok((def, current(def)?)))
        .collect::<Result<Vec<_>, RegistryError>>()?;
    let mut codec = Codec::new(ids)?;
    for def in schemas::all() {
        for old in book
            .get(&def.subject(prefix))
            .into_iter()
            .flatten()
            .filter(|known| !known.current)
        {
            codec.add_writer_schema(def.topic, old.id, &old.schema.to_string())?;
        }
    }
    Ok(codec)
}

/// Whether a book from disk has this program's schemas, not another version's.
fn covers(book: &Book, prefix: &str) -> bool {
    schemas::all().iter().all(|def| {
        let known = book
            .get(&def.subject(prefix))
            .into_iter()
            .flatten()
            .find(|known| known.current);
        known.is_some_and(|known| known.schema == parsed(def.json))
    })
}

async fn look_up(url: &str, prefix: &str) -> Result<Book, RegistryError> {
    let settings = settings(url)?;
    let client = http_client(url)?;
    let mut book = Book::new();
    for def in schemas::all() {
        let subject = def.subject(prefix);
        let base = format!("{}/subjects/{subject}/versions", url.trim_end_matches('/'));
        let answer = client
            .get(&base)
            .send()
            .await
            .map_err(|error| unreachable(url, &error))?;
        if answer.status() == reqwest::StatusCode::NOT_FOUND {
            return Err(RegistryError::Missing { subject });
        }
        let versions: Vec<u32> = answer
            .error_for_status()
            .map_err(|error| unreachable(url, &error))?
            .json()
            .await
            .map_err(|error| unreachable(url, &error))?;
        let latest = get_schema_by_subject(&settings, &strategy(def, prefix))
            .await
            .map_err(|error| unreachable(url, &error))?;
        if parsed(&latest.schema) != parsed(def.json)
            && !versions_hold(&client, &base, &versions, def).await?
        {
            return Err(RegistryError::Differs { subject });
        }
        let known = versions_of(&client, &base, &versions, def, &latest).await?;
        book.insert(subject, known);
    }
    Ok(book)
}

/// One version as the registry answers it.
#[derive(Deserialize)]
struct Version {
    id: u32,
    schema: String,
}

async fn version(client: &reqwest::Client, base: &str, number: u32) -> Result<Version, RegistryError> {
    let url = format!("{base}/{number}");
    let answer = client
        .get(&url)
        .send()
        .await
        .and_then(reqwest::Response::error_for_status);
    match answer {
        Ok(answer) => answer.json().await.map_err(|error| unreachable(&url, &error)),
        Err(error) => Err(unreachable(&url, &error)),
    }
}

/// Whether an older version is ours: then a newer program was deployed, and its schema is compatible with this one's.
async fn versions_hold(
    client: &reqwest::Client,
    base: &str,
    versions: &[u32],
    def: &SchemaDef,
) -> Result<bool, RegistryError> {
    for number in versions {
        if parsed(&version(client, base, *number).await?.schema) == parsed(def.json) {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn versions_of(
    client: &reqwest::Client,
    base: &str,
    versions: &[u32],
    def: &SchemaDef,
    latest: &RegisteredSchema,
) -> Result<Vec<Known>, RegistryError> {
    let ours = parsed(def.json);
    if versions.len() <= 1 {
        return Ok(vec![Known {
            id: latest.id,
            schema: ours,
            current: true,
        }]);
    }
    let mut known = Vec::with_capacity(versions.len());
    for number in versions {
        let found = version(client, base, *number).await?;
        let schema = parsed(&found.schema);
        known.push(Known {
            id: found.id,
            current: schema == ours,
            schema,
        });
    }
    Ok(known)
}

/// Keeps the book; a failure costs a later start without the registry, not this one.
fn store(path: &Path, book: &Book) {
    let write = || -> std::io::Result<()> {
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir)?;
        }
        let new = path.with_extension("new");
        std::fs::write(&new, serde_json::to_vec(book)?)?;
        std::fs::rename(&new, path)
    };
    if let Err(error) = write() {
        tracing::warn!(%error, path = %path.display(), "registry.schemas.store");
    }
}

fn restore(path: &Path) -> Option<Book> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}
