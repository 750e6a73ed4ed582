//! The one error of this crate: what failed, what to do about it, and where the log is.

use std::fmt::Display;
use std::path::{Path, PathBuf};

/// Result of everything in this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// A step that failed, told to the person who asked for it.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct Error {
    what: String,
    remedy: Option<String>,
    log: Option<PathBuf>,
    #[source]
    source: Option<std::io::Error>,
}

impl Error {
    /// A failure, in one sentence.
    pub fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            remedy: None,
            log: None,
            source: None,
        }
    }

    /// What the reader should do now.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// Where more is written.
    #[must_use]
    pub fn log(mut self, log: &Path) -> Self {
        self.log = Some(log.to_path_buf());
        self
    }

    /// The whole story on several lines: failure, cause, remedy, log.
    pub fn report(&self) -> String {
        let mut lines = vec![self.what.clone()];
        lines.extend(self.source.iter().map(|cause| format!("  because: {cause}")));
        lines.extend(self.remedy.iter().map(|remedy| format!("  what to do: {remedy}")));
        lines.extend(self.log.iter().map(|log| format!("  log: {}", log.display())));
        lines.join("\n")
    }
}

/// Says what was being done when the system refused.
pub(crate) trait Context<T> {
    fn context(self, what: impl Display) -> Result<T>;
}

impl<T, E: Into<std::io::Error>> Context<T> for std::result::Result<T, E> {
    fn context(self, what: impl Display) -> Result<T> {
        self.map_err(|source| Error {
            what: format!("cannot {what}"),
            remedy: None,
            log: None,
            source: Some(source.into()),
        })
    }
}
