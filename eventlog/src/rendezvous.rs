//! Rendezvous hashing: who comes first for a slot, without anybody being asked.
//!
//! Every member weighs every other one for a slot by the same hash, so all come to the same order as soon as they know the same
//! members. Where one goes, only its own slots move; where one comes, only those that are now its own do.
//!
//! Command services and projectors divide what they do by it, each among their own kind. What it does not know: who is alive.

use sha2::{Digest, Sha256};

use crate::member::MemberId;

/// How much a member weighs for a slot: the first 8 bytes, big-endian, of SHA-256 over the member's id (16 bytes) and the slot's
/// number (4 bytes, big-endian).
///
/// Instances of different versions must agree, so this never changes. It is worked out when members come and go, not for
/// each request: what SHA-256 costs does not matter.
pub fn weight(member: MemberId, slot: usize) -> u64 {
    let slot = u32::try_from(slot).unwrap_or(u32::MAX);
    let digest = Sha256::new()
        .chain_update(member.as_bytes())
        .chain_update(slot.to_be_bytes())
        .finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    u64::from_be_bytes(first)
}

/// The members in the order in which they are candidates for a slot.
pub fn rank(slot: usize, members: impl IntoIterator<Item = MemberId>) -> Vec<MemberId> {
    let mut weighed: Vec<_> = members
        .into_iter()
        .map(|member| (weight(member, slot), member))
        .collect();
    weighed.sort_unstable_by(|a, b| b.cmp(a));
    weighed.into_iter().map(|(_, member)| member).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use uuid::Uuid;

    #[test]
    fn the_weights_never_change() {
        let member = MemberId(Uuid::from_bytes([7; 16]));
        let weights: Vec<_> = [0, 1, 23].map(|slot| weight(member, slot)).to_vec();
        assert_eq!(weights, VECTOR);
    }

    const VECTOR: [u64; 3] = [
        0x3cee_514a_ff05_0410,
        0x03f9_b03b_9cf8_2645,
        0x06ac_a770_1903_53cb,
    ];

    fn members() -> impl Strategy<Value = Vec<MemberId>> {
        proptest::collection::btree_set(any::<[u8; 16]>(), 1..8)
            .prop_map(|ids| ids.into_iter().map(|id| MemberId(Uuid::from_bytes(id))).collect())
    }

    proptest! {
        #[test]
        fn everybody_comes_to_the_same_order(members in members(), slot in 0_usize..128) {
            let ranked = rank(slot, members.iter().copied());
            prop_assert_eq!(&ranked, &rank(slot, members.iter().rev().copied()));
            prop_assert_eq!(ranked.len(), members.len());
        }

        /// Whoever goes, the others keep their order: only its own slots get another first, and that is the one that
        /// stood by. Read from the other end it says the same of one who comes.
        #[test]
        fn only_what_the_leaver_had_moves(members in members(), slot in 0_usize..128, pick in any::<prop::sample::Index>()) {
            let leaver = *pick.get(&members);
            let before = rank(slot, members.iter().copied());
            let after = rank(slot, members.iter().copied().filter(|member| *member != leaver));
            let expected: Vec<_> = before.into_iter().filter(|member| *member != leaver).collect();
            prop_assert_eq!(after, expected);
        }
    }

    #[test]
    fn slots_are_spread_evenly() {
        let members: Vec<_> = (1..=4_u128).map(|n| MemberId(Uuid::from_u128(n))).collect();
        let slots = 4_000;
        for member in &members {
            let owned = (0..slots)
                .filter(|slot| rank(*slot, members.iter().copied())[0] == *member)
                .count();
            assert!((850..1_150).contains(&owned), "{owned} of {slots}");
        }
    }
}
