//! What the kernel knows about processes, from `/proc`. No process is touched here.

use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

/// One life of one process id: a recycled id has another start time, another boot another id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub pid: i32,
    pub started_ticks: u64,
    pub boot: String,
}

impl Identity {
    /// The process that has this id now, unless it has ended.
    pub(crate) fn of(pid: i32) -> Option<Self> {
        // A child of ours that has ended stays in the table until it is waited for.
        let _ = waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG));
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name is in parentheses and may hold anything; what follows the last one is regular.
        let fields: Vec<&str> = stat[stat.rfind(')')? + 1..].split_whitespace().collect();
        let (state, threads) = (*fields.first()?, *fields.get(17)?);
        let started_ticks = fields.get(19)?.parse().ok()?;
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .ok()?
            .trim()
            .to_owned();
        // Where other threads still end, files and sockets are still open.
        let ended = state == "X" || (state == "Z" && matches!(threads, "0" | "1"));
        (!ended).then_some(Self {
            pid,
            started_ticks,
            boot,
        })
    }

    /// Whether exactly this process still runs.
    pub(crate) fn alive(&self) -> bool {
        Self::of(self.pid).as_ref() == Some(self)
    }

    pub(crate) fn encode(&self) -> String {
        format!("{} {} {}", self.pid, self.started_ticks, self.boot)
    }

    pub(crate) fn decode(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        Some(Self {
            pid: words.next()?.parse().ok()?,
            started_ticks: words.next()?.parse().ok()?,
            boot: words.next()?.to_owned(),
        })
    }
}

/// Processes of a certain program whose working directory is `folder`: what a killed starter or parent left behind.
pub(crate) fn strays(folder: &Path, program: impl Fn(&Path) -> bool) -> Vec<Identity> {
    let Ok(folder) = folder.canonicalize() else {
        return Vec::new();
    };
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == folder))
        .filter(|pid| {
            fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| program(&without_deleted(&exe)))
        })
        .filter_map(Identity::of)
        .collect()
}

/// The kernel marks the path of a running program whose file was replaced, as every rebuild does.
fn without_deleted(exe: &Path) -> PathBuf {
    let text = exe.to_string_lossy();
    PathBuf::from(text.strip_suffix(" (deleted)").unwrap_or(&text).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recycled_id_is_another_process() {
        let ours = Identity::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(ours.alive());
        assert_eq!(Identity::decode(&ours.encode()).unwrap(), ours);
        let before = Identity {
            started_ticks: ours.started_ticks - 1,
            ..ours
        };
        assert!(!before.alive());
    }

    #[test]
    fn a_process_that_ended_is_not_alive() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        child.wait().unwrap();
        assert!(Identity::of(pid).is_none());
    }
}
