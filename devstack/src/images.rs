//! Container images of the components: upstream's where they can be pulled, else the same built from Debian's packages.
//!
//! The recipes are in `deploy/images`. A built image carries a label with a hash of its recipe, so that it is built
//! again when the recipe or a pin changes, and only then.

use std::fmt;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::{Context, Error, Result};
use crate::install::{Components, components_folder, debian};
use crate::layout::workspace;
use crate::pins::{TEXT, pins};
use crate::step::Progress;

const LABEL: &str = "tailwater.recipe";
/// Where the base is bootstrapped: the release that the recipes are written for.
const RELEASE: &str = "bookworm";
const COMPONENTS: [&str; 4] = ["kafka", "postgres", "redis", "registry"];
/// A registry that can be reached says so within this time, with the smallest image.
const FIRST_PULL_SECONDS: &str = "60";

/// Which images a run uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Upstream's.
    Upstream,
    /// Those that `cargo xtask images` built.
    Local,
}

impl Source {
    /// Full name of a component's image.
    pub fn image(self, component: &str) -> &'static str {
        let image = &pins().containers[component];
        match self {
            Self::Upstream => &image.upstream,
            Self::Local => &image.local,
        }
    }

    /// What `TAILWATER_IMAGES` asks for (`upstream` or `local`); else our own where they are built, else upstream's.
    pub fn from_env() -> Self {
        match std::env::var("TAILWATER_IMAGES").as_deref() {
            Ok("local") => Self::Local,
            Ok("upstream") => Self::Upstream,
            _ if COMPONENTS.iter().all(|component| is_current(component)) => Self::Local,
            _ => Self::Upstream,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Upstream => "upstream",
            Self::Local => "local",
        })
    }
}

/// Makes sure that one kind is complete: upstream's where they are here or can be pulled, else our own.
pub fn ensure(progress: Progress) -> Result<Source> {
    if COMPONENTS
        .iter()
        .all(|component| exists(Source::Upstream.image(component)))
    {
        return Ok(Source::Upstream);
    }
    if COMPONENTS.iter().all(|component| is_current(component)) {
        return Ok(Source::Local);
    }
    if pull_all(progress) {
        return Ok(Source::Upstream);
    }
    progress.say("· upstream's images cannot be pulled; building the same from Debian's packages");
    build(progress)?;
    Ok(Source::Local)
}

/// Builds those of our own images that are missing or out of date.
pub fn build(progress: Progress) -> Result<()> {
    let components = Components::locate(&components_folder())?;
    base(progress)?;
    for component in COMPONENTS {
        if !is_current(component) {
            let image = Source::Local.image(component);
            progress.step(&format!("building {image}"), || build_one(component, &components))?;
        }
    }
    Ok(())
}

fn pull_all(progress: Progress) -> bool {
    let pull = |component: &str, seconds: &str| {
        let mut command = Command::new("timeout");
        command.args([
            seconds,
            "docker",
            "pull",
            "--quiet",
            Source::Upstream.image(component),
        ]);
        quietly(&mut command)
    };
    // Told apart from a slow download by the smallest one.
    pull("redis", FIRST_PULL_SECONDS)
        && progress
            .step("pulling the components' images", || {
                let all = COMPONENTS.iter().all(|component| pull(component, "900"));
                if all {
                    Ok(())
                } else {
                    Err(Error::new("an image could not be pulled"))
                }
            })
            .is_ok()
}

/// Debian's base image: the one that is here, upstream's, or one made by debootstrap.
fn base(progress: Progress) -> Result<()> {
    let image = Source::Local.image("base");
    let mut pull = Command::new("timeout");
    pull.args([FIRST_PULL_SECONDS, "docker", "pull", "--quiet", image]);
    if exists(image) || quietly(&mut pull) {
        return Ok(());
    }
    let packages: Vec<&str> = pins().packages.images.iter().map(String::as_str).collect();
    debian::ensure(&packages, progress)?;
    progress.step(&format!("making {image} by debootstrap"), || {
        let folder = workspace().join(".local/images");
        let (tree, archive) = (folder.join(RELEASE), folder.join("base.tar"));
        let _ = fs::remove_dir_all(&tree);
        fs::create_dir_all(&folder).context(format_args!("create {}", folder.display()))?;
        run(Command::new("debootstrap")
            .args(["--variant=minbase", RELEASE])
            .arg(&tree))?;
        run(Command::new("tar")
            .arg("-C")
            .arg(&tree)
            .arg("-cf")
            .arg(&archive)
            .arg("."))?;
        run(Command::new("docker").arg("import").arg(&archive).arg(image))?;
        fs::remove_dir_all(&folder).context(format_args!("delete {}", folder.display()))
    })
}

fn build_one(component: &str, components: &Components) -> Result<()> {
    let context = workspace().join(".local/images").join(component);
    let _ = fs::remove_dir_all(&context);
    fs::create_dir_all(&context).context(format_args!("create {}", context.display()))?;
    for file in recipe(component) {
        let name = file.file_name().unwrap_or_default();
        fs::copy(&file, context.join(name)).context(format_args!("copy {}", file.display()))?;
    }
    let files = match component {
        "kafka" => Some((&components.kafka_jars, "libs")),
        "registry" => Some((&components.registry_home, "app")),
        _ => None,
    };
    if let Some((from, to)) = files {
        run(Command::new("cp").arg("-r").arg(from).arg(context.join(to)))?;
    }
    let label = format!("{LABEL}={}", fingerprint(component));
    let mut command = Command::new("docker");
    command.args([
        "build",
        "--network",
        "host",
        "--label",
        &label,
        "--tag",
        Source::Local.image(component),
    ]);
    // The engine of Debian's package has no other builder.
    run(command.arg(&context).env("DOCKER_BUILDKIT", "0"))?;
    fs::remove_dir_all(&context).context(format_args!("delete {}", context.display()))
}

fn recipe(component: &str) -> Vec<PathBuf> {
    let folder = workspace().join("deploy/images").join(component);
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    files.sort();
    files
}

fn fingerprint(component: &str) -> String {
    let mut hasher = DefaultHasher::new();
    TEXT.hash(&mut hasher);
    for file in recipe(component) {
        fs::read(file).unwrap_or_default().hash(&mut hasher);
    }
    format!("{:016x}", hasher.finish())
}

fn is_current(component: &str) -> bool {
    let format = format!("{{{{index .Config.Labels \"{LABEL}\"}}}}");
    let mut command = Command::new("docker");
    command.args([
        "image",
        "inspect",
        "--format",
        &format,
        Source::Local.image(component),
    ]);
    command.stdin(Stdio::null()).stderr(Stdio::null());
    command.output().is_ok_and(|output| {
        output.status.success() && String::from_utf8_lossy(&output.stdout).trim() == fingerprint(component)
    })
}

fn exists(image: &str) -> bool {
    quietly(Command::new("docker").args(["image", "inspect", image]))
}

fn quietly(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn run(command: &mut Command) -> Result<()> {
    let log = log()?;
    let file = File::options().create(true).append(true).open(&log);
    let file = file.context(format_args!("open {}", log.display()))?;
    let errors = file.try_clone().context("share the log")?;
    let status = command.stdin(Stdio::null()).stdout(file).stderr(errors).status();
    let program = command.get_program().display().to_string();
    if status.context(format_args!("start {program}"))?.success() {
        return Ok(());
    }
    Err(Error::new(format!("{program} failed while images were built")).log(&log))
}

fn log() -> Result<PathBuf> {
    let folder: &Path = &workspace().join(".local/logs");
    fs::create_dir_all(folder).context(format_args!("create {}", folder.display()))?;
    Ok(folder.join("images.log"))
}
