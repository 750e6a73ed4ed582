//! Apicurio Registry with its storage in our Postgres: ids of schemas are in every event, so they must outlive a restart.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Context, Result};
use crate::layout::Layout;
use crate::process::Spec;

/// Path of the Confluent-compatible API.
pub(crate) const API: &str = "/apis/ccompat/v7";

/// Says how to start the registry on `port` over the Postgres on `postgres`.
pub(crate) fn prepare(
    layout: &Layout,
    java: PathBuf,
    home: &Path,
    runner: &str,
    port: u16,
    postgres: u16,
) -> Result<Spec> {
    let folder = layout.data("registry");
    fs::create_dir_all(&folder).context(format_args!("create {}", folder.display()))?;
    let env = [
        ("QUARKUS_HTTP_HOST", "127.0.0.1".to_owned()),
        ("QUARKUS_HTTP_PORT", port.to_string()),
        ("APICURIO_STORAGE_KIND", "sql".to_owned()),
        ("APICURIO_STORAGE_SQL_KIND", "postgresql".to_owned()),
        (
            "APICURIO_DATASOURCE_URL",
            format!("jdbc:postgresql://127.0.0.1:{postgres}/registry"),
        ),
        ("APICURIO_DATASOURCE_USERNAME", "registry".to_owned()),
        ("APICURIO_DATASOURCE_PASSWORD", "registry".to_owned()),
    ];
    let args = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx256m", "-jar"];
    Ok(Spec {
        name: "registry".to_owned(),
        program: java,
        args: args
            .map(str::to_owned)
            .into_iter()
            .chain([home.join(runner).display().to_string()])
            .collect(),
        env: env.map(|(name, value)| (name.to_owned(), value)).to_vec(),
        folder,
        user: None,
        config: String::new(),
    })
}
