//! Debian's packages. Installing a server's package must not start a server, nor create a database cluster:
//! the machine's own servers are none of our business.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::unistd::geteuid;

use crate::error::{Context, Error, Result};
use crate::layout::workspace;
use crate::pins::{Debian, pins};
use crate::process::find_program;
use crate::step::Progress;

/// Asked by Debian's maintainer scripts before they start a service; 101 forbids it.
const POLICY: &str = "/usr/sbin/policy-rc.d";
const CREATE_CLUSTER: &str = "/etc/postgresql-common/createcluster.conf";

/// The pins of the release that this machine runs.
pub fn release() -> Result<&'static Debian> {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let field = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
            .map_or("", |value| value.trim_matches('"'))
    };
    let (id, version) = (field("ID"), field("VERSION_ID"));
    match pins().debian.get(version) {
        Some(debian) if id == "debian" => Ok(debian),
        _ => Err(Error::new(format!(
            "this system is {id} {version}, and the set-up knows Debian 12 and 13"
        ))
        .remedy("use `docker-compose --profile services up` (docker-compose.yml says how)")),
    }
}

/// Those of `packages` that are not installed.
pub fn missing(packages: &[&str]) -> Vec<String> {
    packages
        .iter()
        .filter(|package| !installed(package))
        .map(|package| (*package).to_owned())
        .collect()
}

fn installed(package: &str) -> bool {
    let mut query = Command::new("dpkg-query");
    query
        .args(["--show", "--showformat=${db:Status-Status}", package])
        .stderr(Stdio::null());
    query.output().is_ok_and(|output| output.stdout == b"installed")
}

/// Installs those of `packages` that are missing, as root or by sudo; else says what to install.
pub fn ensure(packages: &[&str], progress: Progress) -> Result<()> {
    let missing = missing(packages);
    if missing.is_empty() {
        return Ok(());
    }
    let root = Root::find().ok_or_else(|| {
        Error::new(format!(
            "these Debian packages are missing: {}",
            missing.join(" ")
        ))
        .remedy(format!(
            "as root: apt-get update && apt-get install --no-install-recommends {}",
            missing.join(" ")
        ))
    })?;
    let log = workspace().join(".local/logs/apt.log");
    if let Some(folder) = log.parent() {
        fs::create_dir_all(folder).context(format_args!("create {}", folder.display()))?;
    }
    progress.step(
        &format!("installing Debian packages: {}", missing.join(" ")),
        || {
            let _guard = NoServices::arrange(&root)?;
            root.run(&["apt-get", "update", "-q"], &log)?;
            // Alone and first, so that its setting can be made before a server's package reads it.
            if missing.iter().any(|package| package.starts_with("postgresql-")) {
                root.install(&["postgresql-common".to_owned()], &log)?;
                root.without_cluster(|| root.install(&missing, &log))
            } else {
                root.install(&missing, &log)
            }
        },
    )
}

/// How to become root.
struct Root {
    sudo: Option<PathBuf>,
}

impl Root {
    fn find() -> Option<Self> {
        if geteuid().is_root() {
            return Some(Self { sudo: None });
        }
        let sudo = find_program("sudo")?;
        // Without a terminal nobody can answer; with one, sudo may ask for the password.
        let interactive = std::io::IsTerminal::is_terminal(&std::io::stdin());
        let flag = if interactive {
            "--validate"
        } else {
            "--non-interactive"
        };
        let probe: &[&str] = if interactive { &[flag] } else { &[flag, "true"] };
        let allowed = Command::new(&sudo).args(probe).stderr(Stdio::inherit()).status();
        allowed
            .is_ok_and(|status| status.success())
            .then_some(Self { sudo: Some(sudo) })
    }

    fn command(&self, words: &[&str]) -> Command {
        // sudo drops the environment, so the variable goes on its command line.
        let all: Vec<&OsStr> = match &self.sudo {
            Some(sudo) => [
                sudo.as_os_str(),
                "env".as_ref(),
                "DEBIAN_FRONTEND=noninteractive".as_ref(),
            ]
            .to_vec(),
            None => Vec::new(),
        };
        let mut all = all.into_iter().chain(words.iter().map(AsRef::as_ref));
        let mut command = Command::new(all.next().unwrap_or_default());
        command.args(all);
        command
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(Stdio::null());
        command
    }

    fn run(&self, words: &[&str], log: &Path) -> Result<()> {
        let file = File::options().create(true).append(true).open(log);
        let file = file.context(format_args!("open {}", log.display()))?;
        let errors = file.try_clone().context("share the log")?;
        let status = self.command(words).stdout(file).stderr(errors).status();
        if status.context(format_args!("start {}", words[0]))?.success() {
            return Ok(());
        }
        Err(Error::new(format!("`{}` failed", words.join(" ")))
            .remedy("read the last lines of the log; a package lock held by another apt goes away by waiting")
            .log(log))
    }

    fn install(&self, packages: &[String], log: &Path) -> Result<()> {
        let mut words = vec!["apt-get", "install", "-q", "-y", "--no-install-recommends"];
        words.extend(["-o", "DPkg::Lock::Timeout=120"]);
        words.extend(packages.iter().map(String::as_str));
        self.run(&words, log)
    }

    /// Runs `work` while postgresql-common is told to create no cluster; puts its setting back afterwards.
    fn without_cluster(&self, work: impl FnOnce() -> Result<()>) -> Result<()> {
        let Ok(before) = fs::read_to_string(CREATE_CLUSTER) else {
            return work();
        };
        self.write(
            CREATE_CLUSTER,
            &format!("{before}\ncreate_main_cluster = false\n"),
            0o644,
        )?;
        let outcome = work();
        self.write(CREATE_CLUSTER, &before, 0o644)?;
        outcome
    }

    fn write(&self, path: &str, text: &str, mode: u32) -> Result<()> {
        if self.sudo.is_none() {
            fs::write(path, text).context(format_args!("write {path}"))?;
            return fs::set_permissions(path, fs::Permissions::from_mode(mode))
                .context(format_args!("set the rights of {path}"));
        }
        let draft = workspace().join(".local/root-file");
        fs::write(&draft, text).context(format_args!("write {}", draft.display()))?;
        let mode = format!("{mode:o}");
        let draft = draft.display().to_string();
        let status = self.command(&["install", "-m", &mode, &draft, path]).status();
        if status.context("start install")?.success() {
            return Ok(());
        }
        Err(Error::new(format!("cannot write {path}")))
    }
}

/// Forbids maintainer scripts to start services, for as long as it lives.
struct NoServices<'a> {
    root: Option<&'a Root>,
}

impl<'a> NoServices<'a> {
    fn arrange(root: &'a Root) -> Result<Self> {
        if Path::new(POLICY).exists() {
            return Ok(Self { root: None });
        }
        root.write(POLICY, "#!/bin/sh\nexit 101\n", 0o755)?;
        Ok(Self { root: Some(root) })
    }
}

impl Drop for NoServices<'_> {
    fn drop(&mut self) {
        if let Some(root) = self.root {
            let _ = root.command(&["rm", "-f", POLICY]).status();
        }
    }
}
