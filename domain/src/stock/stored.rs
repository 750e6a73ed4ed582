//! The open reservations as writers store them: a sequence of pairs in the order of their keys, so that equal stocks have
//! equal bytes. Read back, the map has the degree that it was made with.

use rpds::HashTrieMapSync;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{DEGREE, ReservationKey};

type Reservations = HashTrieMapSync<ReservationKey, i64>;

pub(super) fn serialize<S: Serializer>(
    reservations: &Reservations,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut pairs: Vec<(&ReservationKey, &i64)> = reservations.iter().collect();
    pairs.sort_unstable();
    pairs.serialize(serializer)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Reservations, D::Error> {
    let mut reservations = HashTrieMapSync::new_sync_with_degree(DEGREE);
    for (key, quantity) in Vec::<(ReservationKey, i64)>::deserialize(deserializer)? {
        reservations.insert_mut(key, quantity);
    }
    Ok(reservations)
}
