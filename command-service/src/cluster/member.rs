//! One instance of the command service, as it tells the others about itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use eventlog::MemberId;

/// How far a member is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemberState {
    /// It has not folded what it is to hold.
    #[default]
    Joining,
    /// It takes part.
    Ready,
    /// It is about to leave: it decides only what nobody else is warm for.
    Draining,
}

/// How far a member has folded one slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The first offset that it has not folded.
    pub next_offset: i64,
    /// Whether that was the log's end a moment ago: it could decide there at once.
    pub warm: bool,
}

/// What a member tells the others about itself, several times a second.
///
/// Unknown fields are ignored: instances of different versions run side by side while they are replaced one by one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Whose it is.
    pub id: MemberId,
    /// Rises with each one of the same member: an older one that comes late changes nothing.
    pub beat: u64,
    /// For people: what it calls itself in logs.
    pub name: String,
    /// Where it takes requests of other instances: `host:port`.
    pub peer: String,
    /// Where it answers pings: `host:port`.
    pub ping: String,
    /// Base URL at which clients reach it.
    pub http: String,
    /// How far it is in its life.
    pub state: MemberState,
    /// The slots that it folds.
    pub held: BTreeMap<usize, Held>,
}

impl Heartbeat {
    /// Whether it could decide on this slot at once.
    pub fn is_warm(&self, slot: usize) -> bool {
        self.held.get(&slot).is_some_and(|held| held.warm)
    }

    /// Whether routes or roles may differ from those that the other one makes: positions alone change nothing.
    pub(super) fn steers_like(&self, other: &Self) -> bool {
        let warm = |heartbeat: &Self| {
            let warm = heartbeat.held.iter().filter(|(_, held)| held.warm);
            warm.map(|(slot, _)| *slot).collect::<Vec<_>>()
        };
        self.state == other.state && warm(self) == warm(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heartbeat_of_another_version_is_read() {
        let text = r#"{"id":"01890a5d-ac96-774b-bcce-b302099a8057","beat":7,"name":"a","peer":"h:1","ping":"h:2",
            "http":"http://h:3","state":"ready","held":{"3":{"next_offset":9,"warm":true,"more":1}},"new":[]}"#;
        let heartbeat: Heartbeat = serde_json::from_str(text).unwrap();
        assert!(heartbeat.is_warm(3) && !heartbeat.is_warm(2));
        let again = serde_json::from_slice(&serde_json::to_vec(&heartbeat).unwrap()).unwrap();
        assert_eq!(heartbeat, again);
    }
}
