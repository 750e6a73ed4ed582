//! Starts processes that outlive their starter, remembers them by id and start time, and stops them by that.
//!
//! `pids/<name>` holds the id, for people and scripts; `run/<name>` holds what proves that the id still means the
//! same process, and a fingerprint of what was started, so that a changed configuration or binary is noticed.
//! Nothing is ever stopped by its name.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::error::{Context, Error, Result};
use crate::layout::{Layout, write_atomically};
use crate::proc::{Identity, strays};

const POLL: Duration = Duration::from_millis(20);
/// After SIGKILL only the kernel has work left.
const KILL_DEADLINE: Duration = Duration::from_secs(10);

/// What to start.
#[derive(Debug, Clone, Hash)]
pub struct Spec {
    /// Its name: `kafka-1`, `postgres`, `command-service-2` …
    pub name: String,
    /// The program, as an absolute path.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Environment variables beside the inherited ones.
    pub env: Vec<(String, String)>,
    /// Its working directory.
    pub folder: PathBuf,
    /// User and group to run as, where that is not our own.
    pub user: Option<(u32, u32)>,
    /// Whatever else makes a restart necessary when it changes: the text of a configuration file.
    pub config: String,
}

impl Spec {
    fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        if let Ok(binary) = fs::metadata(&self.program) {
            binary.len().hash(&mut hasher);
            binary.modified().ok().hash(&mut hasher);
        }
        hasher.finish()
    }
}

/// How a named process is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It runs under this id.
    Running(i32),
    /// It was started and has ended without being asked to.
    Dead,
    /// It was never started, or was stopped.
    Absent,
}

/// The processes of one stack.
#[derive(Debug, Clone)]
pub struct Processes {
    layout: Layout,
}

impl Processes {
    /// The processes whose files are in `layout`.
    pub fn new(layout: Layout) -> Self {
        Self { layout }
    }

    /// How `name` is.
    pub fn state(&self, name: &str) -> State {
        match self.identity(name) {
            Some(identity) if identity.alive() => State::Running(identity.pid),
            Some(_) => State::Dead,
            None => State::Absent,
        }
    }

    /// Names of everything that was started and not stopped, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.layout.root().join("run"))
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| !name.contains('.'))
            .collect();
        names.sort();
        names
    }

    /// Whether `spec` runs exactly as it stands.
    pub fn runs(&self, spec: &Spec) -> bool {
        matches!(self.state(&spec.name), State::Running(_))
            && self.fingerprint(&spec.name) == Some(spec.fingerprint())
    }

    /// Starts `spec` in a session of its own, with its output in its log. It must not run already.
    pub fn start(&self, spec: &Spec) -> Result<i32> {
        end_strays(spec)?;
        let path = self.layout.log(&spec.name);
        let log = File::options()
            .create(true)
            .append(true)
            .open(&path)
            .context(format_args!("open {}", path.display()))?;
        let errors = log.try_clone().context("share the log")?;
        // `setsid` replaces itself by the program: the id stays, and no terminal's hang-up reaches it.
        let mut command = Command::new("/usr/bin/setsid");
        command
            .arg(&spec.program)
            .args(&spec.args)
            .envs(spec.env.iter().cloned())
            .current_dir(&spec.folder);
        command.stdin(Stdio::null()).stdout(log).stderr(errors);
        if let Some((user, group)) = spec.user {
            command.uid(user).gid(group);
        }
        let child = command
            .spawn()
            .context(format_args!("start {}", spec.program.display()))?;
        let pid = i32::try_from(child.id()).map_err(|_| Error::new("the process id is out of range"))?;
        self.remember(&spec.name, pid, spec.fingerprint())?;
        Ok(pid)
    }

    /// Sends a signal to `name`; says whether there was a process to send it to.
    pub fn signal(&self, name: &str, signal: Signal) -> Result<bool> {
        match self.identity(name).filter(Identity::alive) {
            Some(identity) => send(&identity, signal).map(|()| true),
            None => Ok(false),
        }
    }

    /// SIGTERM, then SIGKILL after `grace`; forgets the process. Says whether it ran.
    pub fn stop(&self, name: &str, grace: Duration) -> Result<bool> {
        let ran = match self.identity(name).filter(Identity::alive) {
            Some(identity) => end(name, &identity, grace).map(|()| true)?,
            None => false,
        };
        self.forget(name);
        Ok(ran)
    }

    /// Waits until `name` has ended, for as long as `deadline`.
    pub fn wait_until_ended(&self, name: &str, deadline: Duration) -> bool {
        self.identity(name)
            .is_none_or(|identity| ended(&identity, deadline))
    }

    /// Ends processes that a killed starter left in the data folders of this stack without a record.
    pub(crate) fn end_all_strays(&self) -> Result<()> {
        const PROGRAMS: [&str; 7] = [
            "java",
            "postgres",
            "redis-server",
            "redis-check-rdb",
            "command-service",
            "projector",
            "query-service",
        ];
        let ours = |exe: &Path| {
            exe.file_name()
                .and_then(|name| name.to_str())
                .is_some_and(|name| PROGRAMS.contains(&name))
        };
        for entry in fs::read_dir(self.layout.root().join("data"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let name = entry.file_name().to_string_lossy().into_owned();
            for stray in strays(&entry.path(), ours) {
                end(&name, &stray, Duration::from_secs(5))?;
            }
        }
        Ok(())
    }

    /// The last lines of a log, for a failure's report.
    pub fn tail(&self, name: &str, lines: usize) -> String {
        let text = fs::read(self.layout.log(name)).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    fn identity(&self, name: &str) -> Option<Identity> {
        let record = fs::read_to_string(self.layout.record(name)).ok()?;
        Identity::decode(record.lines().next()?)
    }

    fn fingerprint(&self, name: &str) -> Option<u64> {
        let record = fs::read_to_string(self.layout.record(name)).ok()?;
        u64::from_str_radix(record.lines().nth(1)?, 16).ok()
    }

    fn remember(&self, name: &str, pid: i32, fingerprint: u64) -> Result<()> {
        // A process that has ended by now leaves a record that no living one can match.
        let identity = Identity::of(pid).unwrap_or(Identity {
            pid,
            started_ticks: 0,
            boot: "ended".to_owned(),
        });
        write_atomically(
            &self.layout.record(name),
            &format!("{}\n{fingerprint:x}\n", identity.encode()),
        )?;
        write_atomically(&self.layout.pid(name), &format!("{pid}\n"))
    }

    fn forget(&self, name: &str) {
        let _ = fs::remove_file(self.layout.pid(name));
        let _ = fs::remove_file(self.layout.record(name));
    }
}

/// Ends what a killed parent or a killed starter left behind of `spec`.
pub(crate) fn end_strays(spec: &Spec) -> Result<()> {
    let program = spec
        .program
        .canonicalize()
        .unwrap_or_else(|_| spec.program.clone());
    for stray in strays(&spec.folder, |exe| exe == program) {
        end(&spec.name, &stray, Duration::from_secs(2))?;
    }
    Ok(())
}

/// The signal that asks a process to end: Postgres would wait for its clients on SIGTERM.
pub(crate) fn polite(name: &str) -> Signal {
    if name == "postgres" {
        Signal::SIGINT
    } else {
        Signal::SIGTERM
    }
}

fn send(identity: &Identity, signal: Signal) -> Result<()> {
    match kill(Pid::from_raw(identity.pid), signal) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(errno).context(format_args!("send {signal} to process {}", identity.pid)),
    }
}

fn ended(identity: &Identity, deadline: Duration) -> bool {
    let begun = Instant::now();
    while identity.alive() {
        if begun.elapsed() > deadline {
            return false;
        }
        sleep(POLL);
    }
    true
}

fn end(name: &str, identity: &Identity, grace: Duration) -> Result<()> {
    send(identity, polite(name))?;
    if ended(identity, grace) {
        return Ok(());
    }
    send(identity, Signal::SIGKILL)?;
    if ended(identity, KILL_DEADLINE) {
        return Ok(());
    }
    Err(Error::new(format!(
        "{name} (process {}) does not end, even by SIGKILL",
        identity.pid
    )))
}

/// The absolute path of a program on the search path.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    // Some users' search path leaves out where servers are.
    std::env::split_paths(&path)
        .chain(["/usr/bin", "/usr/sbin", "/bin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(file).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}
