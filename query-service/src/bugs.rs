//! Mistakes that tests put in, to show that the checkers would find them.
//!
//! Without the feature `bugs`, which only a test's build asks for, none is ever there and the questions compile to nothing.
//! With it, a process makes the one mistake that `TAILWATER_BUG` names when it starts.

/// A mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// Read as if no token had been sent.
    TokenIgnored,
    /// Wait for the token's position of another partition than the read's.
    WrongPartition,
    /// Serve a cached answer although its tags were touched.
    PastTag,
    /// Leave what the caller has seen out of the answer's token.
    TokenNotMerged,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::TokenIgnored,
        Self::WrongPartition,
        Self::PastTag,
        Self::TokenNotMerged,
    ];

    /// As in `TAILWATER_BUG`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TokenIgnored => "token-ignored",
            Self::WrongPartition => "wrong-partition",
            Self::PastTag => "past-tag",
            Self::TokenNotMerged => "token-not-merged",
        }
    }

    /// Whether this process makes it.
    #[cfg(feature = "bugs")]
    pub fn is_in(self) -> bool {
        static PUT_IN: std::sync::LazyLock<Option<Bug>> = std::sync::LazyLock::new(|| {
            let name = std::env::var("TAILWATER_BUG").ok()?;
            let found = Bug::ALL.into_iter().find(|bug| bug.name() == name);
            tracing::warn!(name, known = found.is_some(), "query.bug.in");
            found
        });
        *PUT_IN == Some(self)
    }

    /// Never: this build has none.
    #[cfg(not(feature = "bugs"))]
    #[inline]
    pub const fn is_in(self) -> bool {
        let _ = self;
        false
    }
}
