//! Where one stack keeps its files: everything is below one root folder, `.local` for the developer's own.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::Result;
use crate::error::Context;
use crate::step::Progress;

/// The folders of one stack.
#[derive(Debug, Clone)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// Lays the folders out below `root`, creating what is missing.
    pub fn create(root: &Path) -> Result<Self> {
        for folder in ["data", "logs", "pids", "run", "conf"] {
            let folder = root.join(folder);
            fs::create_dir_all(&folder).context(format_args!("create {}", folder.display()))?;
        }
        let root = root
            .canonicalize()
            .context(format_args!("find {}", root.display()))?;
        Ok(Self { root })
    }

    /// The folders of a stack that was laid out before, or nothing.
    pub fn existing(root: &Path) -> Option<Self> {
        let root = root.canonicalize().ok()?;
        root.join("run").is_dir().then_some(Self { root })
    }

    /// The root itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Data of a process: also its working directory, by which a stray of it is recognised.
    pub fn data(&self, name: &str) -> PathBuf {
        self.root.join("data").join(name)
    }

    /// Standard output and error of a process.
    pub fn log(&self, name: &str) -> PathBuf {
        self.root.join("logs").join(format!("{name}.log"))
    }

    /// Configuration that was written for a process.
    pub fn conf(&self, file: &str) -> PathBuf {
        self.root.join("conf").join(file)
    }

    /// Waits until nobody else holds the lock of this name, and holds it until the file is dropped, however we end.
    pub fn lock(&self, name: &str, progress: Progress) -> Result<File> {
        let path = self.root.join(format!("{name}.lock"));
        let file = File::create(&path).context(format_args!("create {}", path.display()))?;
        if file.try_lock().is_err() {
            progress.say(&format!(
                "· waiting for another command that holds {}",
                path.display()
            ));
            file.lock().context(format_args!("lock {}", path.display()))?;
        }
        Ok(file)
    }

    pub(crate) fn pid(&self, name: &str) -> PathBuf {
        self.root.join("pids").join(name)
    }

    pub(crate) fn record(&self, name: &str) -> PathBuf {
        self.root.join("run").join(name)
    }

    pub(crate) fn ports(&self) -> PathBuf {
        self.root.join("ports.toml")
    }
}

/// The top folder of this workspace: as cargo says that runs this program, else where it was built, else where it lies. A folder that was
/// moved with all that was built in it is built no second time, so where it was built may be gone, or be another checkout.
pub fn workspace() -> PathBuf {
    let built_at = Path::new(env!("CARGO_MANIFEST_DIR"));
    let run_by_cargo = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let program = std::env::current_exe().ok();
    let places = [run_by_cargo.as_deref(), Some(built_at), program.as_deref()];
    let found = places.into_iter().flatten().find_map(top_of);
    found.unwrap_or(built_at).to_path_buf()
}

/// The workspace that a path is in.
fn top_of(path: &Path) -> Option<&Path> {
    let is_ours = |folder: &&Path| folder.join("devstack/Cargo.toml").is_file();
    path.ancestors().find(is_ours)
}

/// Writes a file so that a reader sees the old text or the new one, and a kill in between leaves the old one.
pub(crate) fn write_atomically(path: &Path, text: &str) -> Result<()> {
    let draft = path.with_extension("new");
    fs::write(&draft, text).context(format_args!("write {}", draft.display()))?;
    fs::rename(&draft, path).context(format_args!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workspace_is_found_from_anything_in_it() {
        let top = workspace();
        assert!(top.join("Cargo.lock").is_file(), "{}", top.display());
        assert_eq!(top_of(&top.join("target/debug/xtask")), Some(top.as_path()));
        assert_eq!(top_of(Path::new("/")), None);
    }
}
