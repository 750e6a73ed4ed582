//! Bugs that tests put in, to show that they would be found.
//!
//! Each is a mistake that somebody could make in the chain rule or in the writer. Without the feature `seeded-bugs`, which
//! only the simulation asks for, none is ever there and the questions compile to nothing.

/// A mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "`what` says what each one is")]
pub enum Bug {
    AcknowledgeOnSending,
    AcknowledgeAnyOffset,
    JudgeOutOfOrder,
    JumpOverGap,
    DoubtIsApplied,
    DoubtIsRejected,
    ForgetAtTakeOver,
    LinkWithoutCommand,
    LinkWithoutAfter,
    LinkWithoutValue,
    LastLinkFromVoid,
    VoidCounts,
    DecideOnFolded,
    ChainAllToFolded,
    ChainAnewUndecided,
    TrustAfterVoid,
    AnswerRejectionOnSending,
    ForgetRejections,
    CheckpointLastRecord,
    StrongByEndOffset,
    RememberTooFew,
    FoldReadsClock,
    PassOverTurnedAway,
    PassBeforeDecided,
    ForgetCarriedOut,
    StepWithoutCause,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 26] = [
        Self::AcknowledgeOnSending,
        Self::AcknowledgeAnyOffset,
        Self::JudgeOutOfOrder,
        Self::JumpOverGap,
        Self::DoubtIsApplied,
        Self::DoubtIsRejected,
        Self::ForgetAtTakeOver,
        Self::LinkWithoutCommand,
        Self::LinkWithoutAfter,
        Self::LinkWithoutValue,
        Self::LastLinkFromVoid,
        Self::VoidCounts,
        Self::DecideOnFolded,
        Self::ChainAllToFolded,
        Self::ChainAnewUndecided,
        Self::TrustAfterVoid,
        Self::AnswerRejectionOnSending,
        Self::ForgetRejections,
        Self::CheckpointLastRecord,
        Self::StrongByEndOffset,
        Self::RememberTooFew,
        Self::FoldReadsClock,
        Self::PassOverTurnedAway,
        Self::PassBeforeDecided,
        Self::ForgetCarriedOut,
        Self::StepWithoutCause,
    ];

    /// What the mistake is.
    pub const fn what(self) -> &'static str {
        match self {
            Self::AcknowledgeOnSending => "acknowledge on sending",
            Self::AcknowledgeAnyOffset => "acknowledge on any report, whatever its offset",
            Self::JudgeOutOfOrder => "judge the second record before the first one's report",
            Self::JumpOverGap => "jump to an unexpected offset without reading the gap",
            Self::DoubtIsApplied => "answer an unknown outcome as applied",
            Self::DoubtIsRejected => "answer an unknown outcome as rejected",
            Self::ForgetAtTakeOver => "forget remembered commands at take-over",
            Self::LinkWithoutCommand => "link without the command's identity",
            Self::LinkWithoutAfter => "link without `after`",
            Self::LinkWithoutValue => "link without the value",
            Self::LastLinkFromVoid => "take the last link from a void record",
            Self::VoidCounts => "count a void record's command as applied",
            Self::DecideOnFolded => "decide on folded state but chain to the one in flight",
            Self::ChainAllToFolded => "name the folded link for all in flight",
            Self::ChainAnewUndecided => "chain a void record anew without deciding again",
            Self::TrustAfterVoid => "trust what follows a void one",
            Self::AnswerRejectionOnSending => "answer a rejection on sending",
            Self::ForgetRejections => "do not remember a rejection",
            Self::CheckpointLastRecord => {
                "checkpoint with the last record's link instead of the last effective one's"
            }
            Self::StrongByEndOffset => "serve a strong read after asking for the end offset only",
            Self::RememberTooFew => "remember too few commands",
            Self::FoldReadsClock => "let a fold read the clock",
            Self::PassOverTurnedAway => "carry out accepted commands behind one that was turned away",
            Self::PassBeforeDecided => "say that accepted commands are done with before they are decided",
            Self::ForgetCarriedOut => "forget at take-over how far the accepted commands are carried out",
            Self::StepWithoutCause => "give a step an id that does not depend on its cause",
        }
    }

    /// Whether it was put in on this thread.
    #[cfg(feature = "seeded-bugs")]
    pub fn is_in(self) -> bool {
        seeded::PUT_IN.get() == Some(self)
    }

    /// Never: this build has none.
    #[cfg(not(feature = "seeded-bugs"))]
    pub const fn is_in(self) -> bool {
        false
    }
}

#[cfg(feature = "seeded-bugs")]
pub use seeded::with;

#[cfg(feature = "seeded-bugs")]
mod seeded {
    use std::cell::Cell;

    use super::Bug;

    thread_local! {
        pub(super) static PUT_IN: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Takes the bug out again, also where what ran with it panics.
    struct Out(Option<Bug>);

    impl Drop for Out {
        fn drop(&mut self) {
            PUT_IN.set(self.0);
        }
    }

    /// Runs something with a bug put in on this thread, or with none.
    pub fn with<R>(bug: Option<Bug>, run: impl FnOnce() -> R) -> R {
        let _out = Out(PUT_IN.replace(bug));
        run()
    }
}
