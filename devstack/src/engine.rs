//! Docker's engine: found where one answers, started from Debian's package where none does, and stopped if we started it.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::unistd::geteuid;

use crate::error::{Context, Error, Result};
use crate::layout::{Layout, workspace};
use crate::pins::pins;
use crate::probe;
use crate::process::{Processes, Spec, State, find_program};
use crate::step::Progress;

const NAME: &str = "dockerd";
const READY_DEADLINE: Duration = Duration::from_mins(1);
const STOP_GRACE: Duration = Duration::from_secs(30);

/// Whether an engine answers the docker client.
pub fn answers() -> bool {
    let mut command = Command::new("docker");
    command.args(["version", "--format", "{{.Server.Version}}"]);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// An engine that answers.
#[derive(Debug)]
pub struct Engine {
    ours: Option<Processes>,
}

/// Starts Docker's engine unless one answers. Its package must be installed already. `root` is the stack's folder.
pub fn ensure(root: &Path, progress: Progress) -> Result<Engine> {
    if answers() {
        return Ok(Engine { ours: None });
    }
    let program = find_program(NAME)
        .filter(|_| geteuid().is_root())
        .ok_or_else(|| {
            Error::new("no Docker engine answers, and only root can start one from Debian's package").remedy(
                format!("as root: apt-get install {}", pins().packages.docker.join(" ")),
            )
        })?;
    // A root of its own: what belongs to the developer's stack is stopped by `down`, this by its user.
    let layout = Layout::create(&root.join("docker"))?;
    let processes = Processes::new(layout.clone());
    let folder = layout.data(NAME);
    fs::create_dir_all(&folder).context(format_args!("create {}", folder.display()))?;
    progress.step("starting Docker's engine", || {
        processes.stop(NAME, STOP_GRACE)?;
        processes.start(&Spec {
            name: NAME.to_owned(),
            program,
            args: vec!["--log-level=warn".to_owned()],
            env: Vec::new(),
            folder,
            user: None,
            config: String::new(),
        })?;
        let gone = || !matches!(processes.state(NAME), State::Running(_));
        if probe::wait(READY_DEADLINE, answers, gone) {
            return Ok(());
        }
        let tail = processes.tail(NAME, 12);
        let _ = processes.stop(NAME, STOP_GRACE);
        Err(Error::new(format!(
            "Docker's engine does not answer; its last lines:\n{tail}"
        ))
        .log(&layout.log(NAME)))
    })?;
    Ok(Engine {
        ours: Some(processes),
    })
}

impl Engine {
    /// Stops the engine if we started it.
    pub fn release(mut self, progress: Progress) -> Result<()> {
        let Some(processes) = self.ours.take() else {
            return Ok(());
        };
        processes.stop(NAME, STOP_GRACE)?;
        progress.say("· stopped Docker's engine, which this run had started");
        Ok(())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(processes) = &self.ours {
            let _ = processes.stop(NAME, STOP_GRACE);
        }
    }
}

/// Names the stack that a container belongs to, so that what a killed test left can be found and removed.
pub(crate) const LABEL: &str = "tailwater.stack";

/// Removes containers, their volumes and networks by their ids: those of the stack in `layout`, or of every stack below
/// this workspace.
pub fn remove_containers(layout: Option<&Layout>) -> Result<()> {
    let root = layout.map_or_else(workspace, |layout| layout.root().to_path_buf());
    let format = format!("{{{{.ID}}}}\t{{{{.Label \"{LABEL}\"}}}}\t{{{{.Networks}}}}");
    let filter = format!("label={LABEL}");
    let listed = docker(&[
        "ps",
        "--all",
        "--no-trunc",
        "--filter",
        &filter,
        "--format",
        &format,
    ])?;
    for line in listed.lines() {
        let mut fields = line.split('\t');
        let (Some(id), Some(stack), Some(network)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        let ours = if layout.is_some() {
            Path::new(stack) == root
        } else {
            Path::new(stack).starts_with(&root)
        };
        if ours {
            docker(&["rm", "--force", "--volumes", id])?;
            // The last container of a network takes it along; before that the engine refuses.
            let _ = docker(&["network", "rm", network]);
        }
    }
    Ok(())
}

/// Calls the docker client and returns what it printed.
pub(crate) fn docker(words: &[&str]) -> Result<String> {
    let output = Command::new("docker")
        .args(words)
        .stdin(Stdio::null())
        .output()
        .context("start docker")?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let complaint = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::new(format!(
        "`docker {}` failed: {complaint}",
        words.join(" ")
    )))
}

/// What a container has written to both of its outputs.
#[cfg(feature = "containers")]
pub(crate) fn docker_logs(id: &str) -> Result<String> {
    let output = Command::new("docker")
        .args(["logs", "--tail", "200", id])
        .stdin(Stdio::null())
        .output();
    let output = output.context("start docker")?;
    Ok(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}
