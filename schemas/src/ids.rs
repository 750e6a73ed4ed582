//! Ids that follow from other ids, so that a repeat is known for one. Frozen by `schemas/vectors.json`.

use sha1::Sha1;
use sha2::{Digest, Sha256};
use uuid::{Builder, Uuid};

/// The namespace of every command id.
pub const NAMESPACE: Uuid = Uuid::from_u128(0x6c1f_0d6e_52a3_4c39_9d0b_7f4a_1e83_c2d5);

/// What a command id stands for: the first 16 bytes of SHA-256 over method, path and body of the request.
/// Commands of our own have an empty method and path, and their canonical JSON as body.
pub fn fingerprint(method: &str, path: &str, body: &[u8]) -> [u8; 16] {
    let hash = Sha256::new()
        .chain_update(method)
        .chain_update(path)
        .chain_update(body)
        .finalize();
    let mut first = [0; 16];
    first.copy_from_slice(&hash[..16]);
    first
}

/// The id of a command that a caller sent with an `Idempotency-Key`.
///
/// None of the four parts can contain a line feed, so no two lists of parts run together.
pub fn command_id(caller: &str, method: &str, path: &str, key: &str) -> Uuid {
    named(NAMESPACE, &[caller, "\n", method, "\n", path, "\n", key])
}

/// The id of what a command creates; `kind` is `order` or `note`.
pub fn created_id(command_id: Uuid, kind: &str) -> Uuid {
    named(command_id, &[kind])
}

/// The id of the one event that a command leaves.
pub fn event_id(command_id: Uuid) -> Uuid {
    created_id(command_id, "event")
}

/// The id of the command that the process manager issues for a line because of an event.
pub fn step_id(cause_event_id: Uuid, step: &str, line: i32) -> Uuid {
    named(cause_event_id, &[step, ":", &line.to_string()])
}

/// `UUIDv5` (RFC 9562, section 5.5) of a name in pieces: a command takes four, and the crate `uuid` makes them by an SHA-1 that
/// leaves the processor's instructions for it unused.
fn named(namespace: Uuid, name: &[&str]) -> Uuid {
    let mut hash = Sha1::new_with_prefix(namespace.as_bytes());
    for piece in name {
        hash.update(piece);
    }
    let mut first = [0; 16];
    first.copy_from_slice(&hash.finalize()[..16]);
    Builder::from_sha1_bytes(first).into_uuid()
}
