//! Chooses a port for each listener and remembers it, so that addresses survive `down` and `up`.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use nix::unistd::geteuid;

use crate::error::{Error, Result};
use crate::layout::{Layout, write_atomically};

/// Ports handed out start below the range that the kernel gives to outgoing connections (32768 and up).
const LOWEST: u16 = 20_000;
const HIGHEST: u16 = 32_000;

/// Ports that this process chose, for which stack, and the lock that says so to others as long as this process lives: a broker takes
/// seconds until it listens, and who looks meanwhile would find its port free.
static CLAIMS: Mutex<BTreeMap<u16, (PathBuf, File)>> = Mutex::new(BTreeMap::new());

/// The ports of one stack.
#[derive(Debug)]
pub struct Ports {
    layout: Layout,
    chosen: BTreeMap<String, u16>,
}

impl Ports {
    /// What was chosen before, or nothing.
    pub fn load(layout: &Layout) -> Self {
        let text = fs::read_to_string(layout.ports()).unwrap_or_default();
        Self {
            layout: layout.clone(),
            chosen: toml::from_str(&text).unwrap_or_default(),
        }
    }

    /// The port of `listener`, where one was chosen.
    pub fn get(&self, listener: &str) -> Option<u16> {
        self.chosen.get(listener).copied()
    }

    /// The port of `listener`: the one it has where `kept` says that its process still runs; else the one it had,
    /// else `wanted`, else any, whichever is free first.
    pub fn choose(&mut self, listener: &str, wanted: Option<u16>, kept: bool) -> Result<u16> {
        let before = self.get(listener);
        if let (Some(port), true) = (before, kept) {
            return Ok(port);
        }
        let start = spread(self.layout.root(), listener);
        let others: Vec<u16> = self
            .chosen
            .iter()
            .filter(|(name, _)| *name != listener)
            .map(|(_, port)| *port)
            .collect();
        let port = before
            .into_iter()
            .chain(wanted)
            .chain((start..HIGHEST).chain(LOWEST..start))
            .find(|port| !others.contains(port) && is_free(*port) && claim(*port, self.layout.root()))
            .ok_or_else(|| Error::new(format!("no free port between {LOWEST} and {HIGHEST}")))?;
        if before != Some(port) {
            self.chosen.insert(listener.to_owned(), port);
            let text = toml::to_string(&self.chosen).map_err(|error| Error::new(error.to_string()))?;
            write_atomically(&self.layout.ports(), &text)?;
        }
        Ok(port)
    }
}

/// Where to begin looking: another place for each stack and listener, so that stacks started at once do not meet.
fn spread(root: &Path, listener: &str) -> u16 {
    let mut hasher = DefaultHasher::new();
    (root, listener).hash(&mut hasher);
    let offset = hasher.finish() % u64::from(HIGHEST - LOWEST);
    LOWEST + u16::try_from(offset).unwrap_or(0)
}

/// Whether nobody listens on this port, on the loopback or on all addresses.
fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// Claims a port for a stack; false where another stack has. Where nothing can be locked, nothing is claimed, and all is as free as
/// it looks.
fn claim(port: u16, root: &Path) -> bool {
    let mut claims = CLAIMS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((owner, _)) = claims.get(&port) {
        return owner == root;
    }
    let folder = std::env::temp_dir().join(format!("tailwater-ports-{}", geteuid()));
    let path = folder.join(port.to_string());
    let opened = fs::create_dir_all(&folder).and_then(|()| {
        let mut options = File::options();
        options.create(true).truncate(false).write(true).open(&path)
    });
    let Ok(mut file) = opened else { return true };
    let owner = root.display().to_string();
    match file.try_lock() {
        Ok(()) => {
            let written = file.set_len(0).and_then(|()| file.write_all(owner.as_bytes()));
            if written.is_ok() {
                claims.insert(port, (root.to_owned(), file));
            }
            true
        }
        // Somebody else who works on the same stack.
        Err(TryLockError::WouldBlock) => fs::read_to_string(&path).is_ok_and(|text| text == owner),
        Err(TryLockError::Error(_)) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_avoided_and_the_choice_is_kept() {
        let folder = std::env::temp_dir().join(format!("devstack-ports-{}", std::process::id()));
        let layout = Layout::create(&folder).unwrap();
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let wanted = taken.local_addr().unwrap().port();

        let port = Ports::load(&layout).choose("redis", Some(wanted), false).unwrap();
        assert_ne!(port, wanted);
        drop(taken);
        assert_eq!(
            Ports::load(&layout).choose("redis", Some(wanted), false).unwrap(),
            port
        );

        let squatter = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        assert_eq!(Ports::load(&layout).choose("redis", None, true).unwrap(), port);
        assert_ne!(Ports::load(&layout).choose("redis", None, false).unwrap(), port);
        drop(squatter);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_one_stack_chose_another_does_not_though_nobody_listens_there_yet() {
        let folder =
            |name: &str| std::env::temp_dir().join(format!("devstack-{name}-{}", std::process::id()));
        let (one, other) = (folder("one"), folder("other"));
        let (first, second) = (Layout::create(&one).unwrap(), Layout::create(&other).unwrap());
        let port = Ports::load(&first).choose("kafka", None, false).unwrap();
        let next = Ports::load(&second).choose("redis", Some(port), false).unwrap();
        assert_ne!(next, port);
        assert_eq!(Ports::load(&first).choose("kafka", None, false).unwrap(), port);
        assert!(!claim(port, &other) && claim(port, &one));
        for folder in [one, other] {
            std::fs::remove_dir_all(folder).unwrap();
        }
    }
}
