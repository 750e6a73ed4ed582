//! Who takes part, as far as this instance knows. Pure: time comes in as a value, and it is this process's own monotonic clock.
//!
//! Two sources, for two questions. The cluster topic says who there is and what each holds; pings say who is there *now*. A member
//! counts as alive from its first answer to a ping on, so the last words of instances that died long ago make nobody wait,
//! and until pings or a connection say otherwise, so a Kafka that is down takes nobody out.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::member::{Heartbeat, MemberId};

/// A member without a new heartbeat for that long has expired.
const EXPIRES_AFTER: Duration = Duration::from_secs(3);

/// While our own heartbeats have not come back for that long, nobody expires: nobody can be heard.
const DEAF_AFTER: Duration = Duration::from_secs(1);

/// The entry of a member without a new heartbeat for that long is deleted from the topic.
const BURIED_AFTER: Duration = Duration::from_mins(1);

/// What pings say of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Liveness {
    /// Nothing yet.
    Unknown,
    Answers,
    Gone,
}

struct Member {
    heartbeat: Heartbeat,
    /// When its heartbeat last changed.
    changed: Instant,
    liveness: Liveness,
    /// Neither heartbeats nor pings: it is not asked any more, until it says something.
    expired: bool,
}

/// What a heartbeat changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// Somebody new, or somebody who had expired: it is to be pinged.
    Appeared,
    /// Routes or roles may change.
    Steers,
    /// Positions at most.
    Nothing,
}

/// What time changes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Expired {
    /// Not to be pinged any more.
    pub expired: Vec<MemberId>,
    /// Their entries are to be deleted from the topic.
    pub buried: Vec<MemberId>,
}

/// The members but this one.
pub(super) struct Membership {
    me: MemberId,
    members: BTreeMap<MemberId, Member>,
    /// This instance's own heartbeat as it came back: what the others have heard by now, too.
    echo: Option<Heartbeat>,
    /// When our own heartbeat last came back.
    heard_at: Option<Instant>,
    /// Since when ours have come back without a gap.
    hearing_since: Option<Instant>,
}

impl Membership {
    pub const fn new(me: MemberId) -> Self {
        Self {
            me,
            members: BTreeMap::new(),
            echo: None,
            heard_at: None,
            hearing_since: None,
        }
    }

    /// The topic has a heartbeat.
    pub fn heard(&mut self, heartbeat: Heartbeat, now: Instant) -> Heard {
        if heartbeat.id == self.me {
            if self.is_deaf(now) {
                self.hearing_since = Some(now);
            }
            self.heard_at = Some(now);
            let steers = self
                .echo
                .as_ref()
                .is_none_or(|echo| !echo.steers_like(&heartbeat));
            self.echo = Some(heartbeat);
            return if steers { Heard::Steers } else { Heard::Nothing };
        }
        let Some(member) = self.members.get_mut(&heartbeat.id) else {
            let member = Member {
                changed: now,
                liveness: Liveness::Unknown,
                expired: false,
                heartbeat,
            };
            self.members.insert(member.heartbeat.id, member);
            return Heard::Appeared;
        };
        // Read again from the beginning after an error, or late: it says nothing about now.
        if heartbeat.beat <= member.heartbeat.beat {
            return Heard::Nothing;
        }
        let steers = !heartbeat.steers_like(&member.heartbeat);
        member.heartbeat = heartbeat;
        member.changed = now;
        if member.expired {
            member.expired = false;
            member.liveness = Liveness::Unknown;
            return Heard::Appeared;
        }
        if steers { Heard::Steers } else { Heard::Nothing }
    }

    /// The topic says that a member has left. Whether it was there.
    pub fn left(&mut self, id: MemberId) -> bool {
        self.members.remove(&id).is_some()
    }

    /// A member answered a ping. Whether that is news.
    pub fn answers(&mut self, id: MemberId) -> bool {
        self.set_liveness(id, Liveness::Answers)
    }

    /// Pings say that a member is gone. Whether that is news; one that was never there is none.
    ///
    /// Should it come back, it was stopped or cut off meanwhile: what it said it was warm for counts no more until it says so
    /// again.
    pub fn gone(&mut self, id: MemberId) -> bool {
        if let Some(member) = self.members.get_mut(&id) {
            member.heartbeat.held.clear();
        }
        self.suspected(id)
    }

    /// Somebody thinks that a member is gone, and a ping will tell. Whether that is news.
    pub fn suspected(&mut self, id: MemberId) -> bool {
        let was_alive = self
            .members
            .get(&id)
            .is_some_and(|member| member.liveness == Liveness::Answers);
        self.set_liveness(id, Liveness::Gone) && was_alive
    }

    fn set_liveness(&mut self, id: MemberId, liveness: Liveness) -> bool {
        self.members.get_mut(&id).is_some_and(|member| {
            let news = member.liveness != liveness;
            member.liveness = liveness;
            news
        })
    }

    fn is_deaf(&self, now: Instant) -> bool {
        self.heard_at
            .is_none_or(|at| now.saturating_duration_since(at) > DEAF_AFTER)
    }

    /// Time has passed.
    pub fn expire(&mut self, now: Instant) -> Expired {
        let mut out = Expired::default();
        let Some(hearing_since) = self.hearing_since.filter(|_| !self.is_deaf(now)) else {
            return out;
        };
        for (id, member) in &mut self.members {
            // Those who could not be heard get as long as everybody else once we hear again.
            let silent = now.saturating_duration_since(member.changed.max(hearing_since));
            if member.liveness == Liveness::Answers {
                continue;
            }
            if !member.expired && silent > EXPIRES_AFTER {
                member.expired = true;
                out.expired.push(*id);
            }
            if silent > BURIED_AFTER {
                out.buried.push(*id);
            }
        }
        for id in &out.buried {
            self.members.remove(id);
        }
        out
    }

    /// Those who are alive, but for this one.
    pub fn alive(&self) -> impl Iterator<Item = &Heartbeat> {
        self.members
            .values()
            .filter(|member| member.liveness == Liveness::Answers)
            .map(|member| &member.heartbeat)
    }

    /// This instance's heartbeat as the others have heard it.
    pub const fn echo(&self) -> Option<&Heartbeat> {
        self.echo.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::member::{Held, MemberState};
    use uuid::Uuid;

    const ME: MemberId = MemberId(Uuid::from_u128(1));
    const OTHER: MemberId = MemberId(Uuid::from_u128(2));

    fn heartbeat(id: MemberId, beat: u64) -> Heartbeat {
        Heartbeat {
            id,
            beat,
            name: String::new(),
            peer: String::new(),
            ping: String::new(),
            http: String::new(),
            state: MemberState::Ready,
            held: BTreeMap::new(),
        }
    }

    /// A membership whose clock is moved by hand.
    struct Given {
        membership: Membership,
        now: Instant,
        beat: u64,
    }

    impl Given {
        fn other() -> Self {
            let now = Instant::now();
            let mut membership = Membership::new(ME);
            assert_eq!(membership.heard(heartbeat(OTHER, 1), now), Heard::Appeared);
            Self {
                membership,
                now,
                beat: 1,
            }
        }

        /// Time passes; our own heartbeats come back, or not.
        fn pass(&mut self, ms: u64, hearing: bool) -> Expired {
            let mut all = Expired::default();
            for _ in 0..ms / 250 {
                self.now += Duration::from_millis(250);
                self.beat += 1;
                if hearing {
                    self.membership.heard(heartbeat(ME, self.beat), self.now);
                }
                let expired = self.membership.expire(self.now);
                all.expired.extend(expired.expired);
                all.buried.extend(expired.buried);
            }
            all
        }

        fn alive(&self) -> usize {
            self.membership.alive().count()
        }
    }

    #[test]
    fn the_last_words_of_the_dead_count_for_nothing() {
        let mut given = Given::other();
        assert_eq!(given.alive(), 0);
        assert!(!given.membership.gone(OTHER), "it never was there");
        assert_eq!(given.pass(4_000, true).expired, [OTHER]);
        assert_eq!(given.pass(57_000, true).buried, [OTHER]);
    }

    #[test]
    fn whoever_answers_pings_does_not_expire() {
        let mut given = Given::other();
        assert!(given.membership.answers(OTHER));
        assert_eq!(given.pass(10_000, true), Expired::default());
        assert_eq!(given.alive(), 1);
        assert!(given.membership.gone(OTHER));
        assert_eq!(given.alive(), 0);
        assert_eq!(given.pass(250, true).expired, [OTHER]);
    }

    #[test]
    fn nobody_expires_while_nobody_can_be_heard() {
        let mut given = Given::other();
        given.pass(500, true);
        given.membership.answers(OTHER);
        given.membership.gone(OTHER);
        // Kafka is slow to die: what we still hear at first is not held against the other one.
        assert_eq!(given.pass(30_000, false), Expired::default());
        assert!(given.membership.answers(OTHER), "pings decide meanwhile");
        given.membership.gone(OTHER);
        assert_eq!(given.pass(2_500, true), Expired::default());
        assert_eq!(given.pass(1_000, true).expired, [OTHER]);
    }

    #[test]
    fn whoever_comes_back_is_cold_until_it_says_otherwise() {
        let mut given = Given::other();
        let warm = |beat| {
            let held = Held {
                next_offset: 1,
                warm: true,
            };
            let mut heartbeat = heartbeat(OTHER, beat);
            heartbeat.held.insert(0, held);
            heartbeat
        };
        let is_warm = |given: &Given| given.membership.alive().any(|member| member.is_warm(0));
        given.membership.heard(warm(2), given.now);
        given.membership.answers(OTHER);
        given.membership.suspected(OTHER);
        assert!(!is_warm(&given));
        given.membership.answers(OTHER);
        assert!(is_warm(&given), "a suspicion is revoked as a whole");
        given.membership.gone(OTHER);
        given.membership.answers(OTHER);
        assert!(!is_warm(&given));
        assert_eq!(given.membership.heard(warm(3), given.now), Heard::Steers);
        assert!(is_warm(&given));
    }

    #[test]
    fn whoever_speaks_again_is_asked_again() {
        let mut given = Given::other();
        given.pass(4_000, true);
        assert_eq!(
            given.membership.heard(heartbeat(OTHER, 1), given.now),
            Heard::Nothing,
            "the same words again are no sign of life"
        );
        assert_eq!(
            given.membership.heard(heartbeat(OTHER, 2), given.now),
            Heard::Appeared
        );
        assert!(given.membership.answers(OTHER));
        assert!(given.membership.left(OTHER));
        assert_eq!(given.alive(), 0);
    }
}
