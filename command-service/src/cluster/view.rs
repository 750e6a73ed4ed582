//! Who decides what: routes and roles, from who is alive and what each of them holds. Pure.

use std::cmp::Reverse;

use eventlog::rendezvous;

use super::member::MemberId;
use crate::engine::Role;

/// One member that is alive, as far as it matters here.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    pub id: MemberId,
    /// It is about to leave.
    pub draining: bool,
    /// Whether it could decide at once, slot by slot.
    pub warm: Vec<bool>,
}

/// How willingly a member is taken; the smaller, the better.
///
/// One that is leaving but warm comes before one that stays but would have to fold the log first: until somebody else is warm, it is
/// the one that can answer.
fn tier(member: &Standing, slot: usize) -> u8 {
    let warm = member.warm.get(slot).copied().unwrap_or(false);
    match (warm, member.draining) {
        (true, false) => 0,
        (true, true) => 1,
        (false, false) => 2,
        (false, true) => 3,
    }
}

/// The members in the order in which they are asked to decide on a slot: the first is the owner, as far as this instance
/// knows; the next one takes its place where it is gone. Indices into `members`.
pub(super) fn candidates(slot: usize, members: &[Standing]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..members.len()).collect();
    order.sort_by_cached_key(|index| {
        let member = &members[*index];
        let weight = rendezvous::weight(member.id, slot);
        (tier(member, slot), Reverse((weight, member.id)))
    });
    order
}

/// What `me` does for a slot whose first candidate is known.
///
/// The first two of all that are alive and stay hold it, those that have just come included, so that they get warm. One that
/// leaves keeps what it held, in case that whoever comes after it is lost.
pub(super) fn role(slot: usize, me: MemberId, first: Option<MemberId>, members: &[Standing]) -> Role {
    if !members.iter().any(|member| member.id == me) {
        return Role::Idle;
    }
    if first == Some(me) {
        return Role::Owner;
    }
    let holders = members
        .iter()
        .filter(|member| !member.draining || member.id == me)
        .map(|member| member.id);
    if rendezvous::rank(slot, holders).iter().take(2).any(|id| *id == me) {
        Role::Standby
    } else {
        Role::Idle
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use uuid::Uuid;

    const SLOTS: usize = 24;

    fn standing(n: u128, warm: bool) -> Standing {
        Standing {
            id: MemberId(Uuid::from_u128(n)),
            draining: false,
            warm: vec![warm; SLOTS],
        }
    }

    fn first(slot: usize, members: &[Standing]) -> Option<MemberId> {
        candidates(slot, members).first().map(|index| members[*index].id)
    }

    fn roles(me: &Standing, members: &[Standing]) -> Vec<Role> {
        (0..SLOTS)
            .map(|slot| role(slot, me.id, first(slot, members), members))
            .collect()
    }

    #[test]
    fn a_lone_member_decides_all_though_it_is_cold() {
        let alone = [standing(1, false)];
        assert!(roles(&alone[0], &alone).iter().all(|role| *role == Role::Owner));
    }

    #[test]
    fn whoever_comes_takes_over_once_it_is_warm() {
        let mut members = [standing(1, true), standing(2, true), standing(3, false)];
        let before = roles(&members[2], &members);
        assert!(before.iter().all(|role| *role != Role::Owner));
        assert!(before.contains(&Role::Standby));
        members[2].warm = vec![true; SLOTS];
        let after = roles(&members[2], &members);
        assert!(after.contains(&Role::Owner));
        for (before, after) in before.iter().zip(&after) {
            assert_eq!(*before == Role::Idle, *after == Role::Idle);
        }
    }

    #[test]
    fn whoever_leaves_decides_until_somebody_else_is_warm() {
        let mut members = [standing(1, true), standing(2, false)];
        members[0].draining = true;
        assert!(
            roles(&members[0], &members)
                .iter()
                .all(|role| *role == Role::Owner)
        );
        assert!(
            roles(&members[1], &members)
                .iter()
                .all(|role| *role == Role::Standby)
        );
        members[1].warm = vec![true; SLOTS];
        assert!(
            roles(&members[0], &members)
                .iter()
                .all(|role| *role == Role::Standby)
        );
        assert!(
            roles(&members[1], &members)
                .iter()
                .all(|role| *role == Role::Owner)
        );
    }

    #[test]
    fn whoever_has_left_holds_nothing() {
        let (me, members) = (standing(1, true), [standing(2, true)]);
        assert!(roles(&me, &members).iter().all(|role| *role == Role::Idle));
        assert_eq!(first(0, &[]), None);
    }

    fn cluster() -> impl Strategy<Value = Vec<Standing>> {
        let member = (any::<bool>(), proptest::collection::vec(any::<bool>(), SLOTS));
        proptest::collection::vec(member, 1..6).prop_map(|members| {
            let numbered = members.into_iter().enumerate();
            numbered
                .map(|(n, (draining, warm))| Standing {
                    id: MemberId(Uuid::from_u128(n as u128)),
                    draining,
                    warm,
                })
                .collect()
        })
    }

    proptest! {
        /// All who know the same come to the same: one owner for each slot, and somebody who stands by where there are two
        /// that stay.
        #[test]
        fn each_slot_has_one_owner_and_a_standby(members in cluster()) {
            for slot in 0..SLOTS {
                let roles: Vec<_> = members
                    .iter()
                    .map(|me| role(slot, me.id, first(slot, &members), &members))
                    .collect();
                prop_assert_eq!(roles.iter().filter(|role| **role == Role::Owner).count(), 1);
                if members.iter().filter(|member| !member.draining).count() >= 2 {
                    prop_assert!(roles.contains(&Role::Standby));
                }
            }
        }

        /// Where an owner goes that was warm, and somebody else was warm too, it is one of those who decides.
        #[test]
        fn the_next_is_warm_where_any_is(members in cluster()) {
            for slot in 0..SLOTS {
                let order = candidates(slot, &members);
                let tiers: Vec<_> = order.iter().map(|index| tier(&members[*index], slot)).collect();
                prop_assert!(tiers.is_sorted());
            }
        }
    }
}
