//! A Python with fastavro in a virtual environment: a reader of our records that is not ours, for the tests.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::{Context, Error, Result};
use crate::layout::workspace;
use crate::step::Progress;

/// Version and hashes, in the form of pip's requirements.
const REQUIREMENTS: &str = include_str!("../../fastavro.txt");
/// Debian's own interpreter, whatever else the search path has.
const PYTHON: &str = "/usr/bin/python3";

/// Makes the environment where it is missing; says where its interpreter is.
pub fn ensure(components: &Path, progress: Progress) -> Result<PathBuf> {
    let folder = components.join(name());
    let python = folder.join("bin/python");
    // Written last: an environment does not survive being moved into place.
    let done = folder.join("done");
    if done.exists() {
        return Ok(python);
    }
    progress.step("installing fastavro into a virtual environment", || {
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(components).context(format_args!("create {}", components.display()))?;
        let log = workspace().join(".local/logs/pip.log");
        run(Command::new(PYTHON).args(["-m", "venv"]).arg(&folder), &log)?;
        let requirements = folder.join("requirements.txt");
        fs::write(&requirements, REQUIREMENTS).context("write requirements.txt")?;
        let mut pip = Command::new(&python);
        pip.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--require-hashes",
            "--only-binary=:all:",
            "-r",
        ]);
        run(pip.arg(&requirements), &log)?;
        fs::write(&done, "").context(format_args!("write {}", done.display()))
    })?;
    Ok(python)
}

fn name() -> String {
    let line = REQUIREMENTS
        .lines()
        .find(|line| line.starts_with("fastavro=="))
        .unwrap_or("fastavro");
    line.trim_end_matches(['\\', ' ']).replace("==", "-")
}

fn run(command: &mut Command, log: &Path) -> Result<()> {
    if let Some(logs) = log.parent() {
        fs::create_dir_all(logs).context(format_args!("create {}", logs.display()))?;
    }
    let file = File::options().create(true).append(true).open(log);
    let file = file.context(format_args!("open {}", log.display()))?;
    let errors = file.try_clone().context("share the log")?;
    let status = command.stdin(Stdio::null()).stdout(file).stderr(errors).status();
    if status
        .context(format_args!("start {}", command.get_program().display()))?
        .success()
    {
        return Ok(());
    }
    Err(
        Error::new("the virtual environment for fastavro could not be made")
            .remedy("read the log; with the network back, call the same command again")
            .log(log),
    )
}
