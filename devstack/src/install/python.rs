//! Virtual environments with what the tests use of Python: a reader of our records that is not ours, and a client that sends
//! what nobody thought of.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::{Context, Error, Result};
use crate::layout::workspace;
use crate::step::Progress;

/// What an environment is made for, and all that it needs: versions and hashes, in the form of pip's requirements.
#[derive(Debug, Clone, Copy)]
pub struct Environment {
    package: &'static str,
    requirements: &'static str,
}

/// Reads Avro.
pub const FASTAVRO: Environment = Environment {
    package: "fastavro",
    requirements: include_str!("../../fastavro.txt"),
};

/// Holds a service against its OpenAPI document.
pub const SCHEMATHESIS: Environment = Environment {
    package: "schemathesis",
    requirements: include_str!("../../schemathesis.txt"),
};

/// Debian's own interpreter, whatever else the search path has.
const PYTHON: &str = "/usr/bin/python3";

/// Makes the environment where it is missing; says where its programs are, `python` among them.
pub fn ensure(components: &Path, environment: Environment, progress: Progress) -> Result<PathBuf> {
    let folder = components.join(environment.name());
    let programs = folder.join("bin");
    // Written last, and says where it was made: an environment does not survive being moved.
    let (done, place) = (folder.join("done"), folder.display().to_string());
    if fs::read_to_string(&done).is_ok_and(|made_at| made_at == place) {
        return Ok(programs);
    }
    let Environment {
        package,
        requirements,
    } = environment;
    progress.step(
        &format!("installing {package} into a virtual environment"),
        || {
            let _ = fs::remove_dir_all(&folder);
            fs::create_dir_all(components).context(format_args!("create {}", components.display()))?;
            let log = workspace().join(".local/logs/pip.log");
            let run = |command: &mut Command| run(command, &log, package);
            run(Command::new(PYTHON).args(["-m", "venv"]).arg(&folder))?;
            let file = folder.join("requirements.txt");
            fs::write(&file, requirements).context("write requirements.txt")?;
            let mut pip = Command::new(programs.join("python"));
            pip.args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--require-hashes",
                "--only-binary=:all:",
                "-r",
            ]);
            run(pip.arg(&file))?;
            fs::write(&done, &place).context(format_args!("write {}", done.display()))
        },
    )?;
    Ok(programs)
}

impl Environment {
    /// Package and version: an environment of another version is another one.
    fn name(self) -> String {
        let pinned = |line: &&str| {
            line.strip_prefix(self.package)
                .is_some_and(|rest| rest.starts_with("=="))
        };
        let line = self.requirements.lines().find(pinned).unwrap_or(self.package);
        line.trim_end_matches(['\\', ' ']).replace("==", "-")
    }
}

fn run(command: &mut Command, log: &Path, package: &str) -> Result<()> {
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
        Error::new(format!("the virtual environment for {package} could not be made"))
            .remedy("read the log; with the network back, call the same command again")
            .log(log),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_is_named_after_its_package_and_version() {
        for environment in [FASTAVRO, SCHEMATHESIS] {
            let name = environment.name();
            let version = name.strip_prefix(environment.package).unwrap();
            assert!(
                version.starts_with('-') && version.ends_with(char::is_numeric),
                "{name}"
            );
        }
    }
}
