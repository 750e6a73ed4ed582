//! Kafka's jars and the registry's archive from Maven Central, each checked against its pinned SHA-256.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::{Context, Error, Result};
use crate::layout::workspace;
use crate::pins::{KAFKA_JARS, pins};
use crate::step::Progress;

const DEPENDENCY_PLUGIN: &str = "org.apache.maven.plugins:maven-dependency-plugin";

pub(super) fn kafka_folder(components: &Path) -> PathBuf {
    components.join(format!("kafka-{}", pins().kafka.version))
}

pub(super) fn registry_folder(components: &Path) -> PathBuf {
    components.join(format!("apicurio-registry-{}", pins().registry.version))
}

/// Downloads what is missing.
pub(super) fn ensure(components: &Path, progress: Progress) -> Result<()> {
    fs::create_dir_all(components).context(format_args!("create {}", components.display()))?;
    let kafka = kafka_folder(components);
    if !kafka.is_dir() {
        let what = format!(
            "downloading Kafka {} and its dependencies from Maven Central",
            pins().kafka.version
        );
        progress.step(&what, || download(&kafka, kafka_jars))?;
    }
    let registry = registry_folder(components);
    if !registry.is_dir() {
        let what = format!(
            "downloading Apicurio Registry {} from Maven Central (109 MB)",
            pins().registry.version
        );
        progress.step(&what, || download(&registry, registry_files))?;
    }
    Ok(())
}

/// Fills a draft folder, then moves it into place.
fn download(target: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let mut draft = target.as_os_str().to_owned();
    draft.push(".new");
    let draft = PathBuf::from(draft);
    let _ = fs::remove_dir_all(&draft);
    fs::create_dir_all(&draft).context(format_args!("create {}", draft.display()))?;
    fill(&draft)?;
    fs::rename(&draft, target).context(format_args!("move the download to {}", target.display()))
}

fn kafka_jars(draft: &Path) -> Result<()> {
    let work = draft.with_extension("pom");
    fs::create_dir_all(&work).context(format_args!("create {}", work.display()))?;
    fs::write(work.join("pom.xml"), pom()).context("write pom.xml")?;
    let goal = format!(
        "{DEPENDENCY_PLUGIN}:{}:copy-dependencies",
        pins().maven.dependencies_plugin
    );
    let output = format!("-DoutputDirectory={}", draft.display());
    let outcome = maven(&work, &[&goal, "-DincludeScope=runtime", &output]);
    let _ = fs::remove_dir_all(&work);
    outcome?;
    check(draft, KAFKA_JARS)
}

fn registry_files(draft: &Path) -> Result<()> {
    let version = &pins().registry.version;
    let goal = format!("{DEPENDENCY_PLUGIN}:{}:copy", pins().maven.copy_plugin);
    let artifact = format!("-Dartifact=io.apicurio:apicurio-registry-app:{version}:tar.gz:all");
    maven(
        draft,
        &[
            &goal,
            &artifact,
            &format!("-DoutputDirectory={}", draft.display()),
        ],
    )?;
    let archive = format!("apicurio-registry-app-{version}-all.tar.gz");
    check(draft, &format!("{}  {archive}\n", pins().registry.sha256))?;
    let unpacked = Command::new("tar")
        .args(["-xzf", &archive])
        .current_dir(draft)
        .status();
    if !unpacked.context("start tar")?.success() {
        return Err(Error::new(format!("cannot unpack {archive}")));
    }
    fs::remove_file(draft.join(&archive)).context(format_args!("delete {archive}"))
}

fn maven(folder: &Path, words: &[&str]) -> Result<()> {
    let log = workspace().join(".local/logs/maven.log");
    if let Some(logs) = log.parent() {
        fs::create_dir_all(logs).context(format_args!("create {}", logs.display()))?;
    }
    let file = File::options().create(true).append(true).open(&log);
    let file = file.context(format_args!("open {}", log.display()))?;
    let errors = file.try_clone().context("share the log")?;
    let status = Command::new("mvn")
        .args(["--batch-mode", "--strict-checksums", "--no-transfer-progress"])
        .args(words)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(errors)
        .status();
    if status.context("start mvn")?.success() {
        return Ok(());
    }
    Err(Error::new("Maven could not download what is pinned")
        .remedy("look for ERROR in the log; with the network back, call the same command again")
        .log(&log))
}

/// Holds the files in `folder` against lines in the form of `sha256sum`: each must be there, and no other.
fn check(folder: &Path, sums: &str) -> Result<()> {
    let file = folder.join("SHA256SUMS");
    fs::write(&file, sums).context(format_args!("write {}", file.display()))?;
    let output = Command::new("sha256sum")
        .args(["--check", "--strict", "--quiet", "SHA256SUMS"])
        .current_dir(folder)
        .output()
        .context("start sha256sum")?;
    let found = fs::read_dir(folder)
        .context(format_args!("read {}", folder.display()))?
        .count();
    if output.status.success() && found == sums.lines().count() + 1 {
        return Ok(());
    }
    let complaint = String::from_utf8_lossy(&output.stdout).trim().replace('\n', "; ");
    Err(Error::new(format!(
        "what was downloaded is not what is pinned ({found} files) {complaint}"
    ))
    .remedy("delete the files from Maven's local repository and try again; do not use them"))
}

fn pom() -> String {
    let kafka = &pins().kafka;
    let dependency = |group: &str, artifact: &str, version: &str| {
        format!(
            "<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId><version>{version}</version></dependency>\n"
        )
    };
    let dependencies = [
        dependency(
            "org.apache.kafka",
            &format!("kafka_{}", kafka.scala),
            &kafka.version,
        ),
        dependency("org.apache.kafka", "kafka-tools", &kafka.version),
        dependency("org.apache.logging.log4j", "log4j-slf4j-impl", &kafka.log4j),
        dependency("org.apache.logging.log4j", "log4j-1.2-api", &kafka.log4j),
    ]
    .concat();
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion>\
         <groupId>tailwater</groupId><artifactId>kafka</artifactId><version>1</version>\n\
         <dependencies>\n{dependencies}</dependencies></project>\n"
    )
}
