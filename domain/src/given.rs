//! Given these events, when this command comes, then that event or refusal follows.

use schemas::{Event, Timestamp};
use uuid::Uuid;

use crate::{Command, Context, Reason, Refusal, State, decide, evolve};

/// When commands are decided in tests.
pub(crate) const NOW: Timestamp = Timestamp(1_291_192_560_000_000);

/// The folded past.
#[derive(Clone, Debug)]
pub(crate) struct Given {
    state: Option<State>,
}

/// What came of the command.
#[derive(Debug)]
pub(crate) struct Then {
    state: Option<State>,
    outcome: Result<Event, Refusal>,
}

/// Folds the past; event n of it has the id n, from 1.
#[track_caller]
pub(crate) fn given<E: Into<Event>>(events: impl IntoIterator<Item = E>) -> Given {
    let folded = events.into_iter().zip(1..).try_fold(None, |state, (event, id)| {
        evolve(state, &event.into(), Uuid::from_u128(id))
    });
    Given {
        state: folded.expect("the past is consistent"),
    }
}

impl Given {
    /// The state of the past.
    #[track_caller]
    pub(crate) fn state(&self) -> &State {
        self.state.as_ref().expect("there was an event")
    }

    /// Decides a command on the past.
    pub(crate) fn when(&self, command: impl Into<Command>) -> Then {
        let context = Context {
            command_id: Uuid::from_u128(0xC0),
            at: NOW,
        };
        let outcome = decide(self.state.as_ref(), &command.into(), &context);
        Then {
            state: self.state.clone(),
            outcome,
        }
    }
}

impl Then {
    /// Exactly this event follows, and it can be folded: as one more, or as none where it changes nothing.
    #[track_caller]
    pub(crate) fn then(self, expected: impl Into<Event>) {
        let event = self.outcome.expect("the command was refused");
        assert_eq!(event, expected.into());
        let before = self.state.as_ref().map_or(0, State::sequence);
        let after =
            evolve(self.state, &event, Uuid::from_u128(0xE0)).expect("what was decided can be folded");
        assert_eq!(after.map(|state| state.sequence()), Some(before + 1));
    }

    /// It is refused for this reason, at the sequence that the past has.
    #[track_caller]
    pub(crate) fn refused(self, reason: Reason) -> Refusal {
        let refusal = self.outcome.expect_err("the command was not refused");
        assert_eq!(refusal.reason, reason, "{refusal}");
        assert_eq!(refusal.sequence, self.state.as_ref().map(State::sequence));
        refusal
    }
}
