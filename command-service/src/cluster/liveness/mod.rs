//! Who is there now: pings over one connection for each other member, answered by threads of their own.
//!
//! Threads, not tasks: a runtime that is busy must not make an instance look dead. A ping is 28 bytes: `TWp1`, the id of whom it is
//! for, a number that rises; the answer is `TWP1`, the id of who answers, the same number. The id tells a process that has got a
//! dead one's port from the dead one.

mod pinger;
mod responder;

use super::member::MemberId;

pub(super) use pinger::{Finding, Pinger};
pub(super) use responder::Responder;

use uuid::Uuid;

const PING: [u8; 4] = *b"TWp1";
const ANSWER: [u8; 4] = *b"TWP1";
const FRAME_BYTES: usize = 28;

/// A ping or its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Frame {
    id: MemberId,
    number: u64,
}

impl Frame {
    fn encode(self, kind: [u8; 4]) -> [u8; FRAME_BYTES] {
        let mut bytes = [0; FRAME_BYTES];
        bytes[..4].copy_from_slice(&kind);
        bytes[4..20].copy_from_slice(self.id.as_bytes());
        bytes[20..].copy_from_slice(&self.number.to_be_bytes());
        bytes
    }

    /// None where the bytes are something else.
    fn decode(bytes: &[u8; FRAME_BYTES], kind: [u8; 4]) -> Option<Self> {
        let (mut id, mut number) = ([0; 16], [0; 8]);
        id.copy_from_slice(&bytes[4..20]);
        number.copy_from_slice(&bytes[20..]);
        (bytes[..4] == kind).then_some(Self {
            id: MemberId(Uuid::from_bytes(id)),
            number: u64::from_be_bytes(number),
        })
    }
}

#[cfg(test)]
mod tests;
