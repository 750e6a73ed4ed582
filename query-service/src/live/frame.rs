//! Server-sent events as they go over the wire.

use bytes::Bytes;
use eventlog::TokenKey;
use read_model::{HistoryEvent, KeptEvent, StoreError};
use service_kit::Problem;

use super::{STREAM_DROPPED, positions};
use crate::tail::{LiveEvent, Text};

/// After so many milliseconds a client comes again.
const RETRY_MS: u32 = 1_000;

/// The token of these places.
pub(crate) fn token(key: &TokenKey, places: impl IntoIterator<Item = (i32, i64)>) -> String {
    key.seal(&positions(places))
}

/// The first of a stream. An id without data is remembered by clients and shown to nobody.
pub(super) fn open(id: &str) -> Bytes {
    format!(": open\nretry: {RETRY_MS}\nid: {id}\n\n").into()
}

/// Says that the stream is there, and how far it is.
pub(super) fn heartbeat(id: &str) -> Bytes {
    format!(": there\nid: {id}\n\n").into()
}

/// The last where the service stops.
pub(super) fn stopping() -> Bytes {
    format!(": stopping\nretry: {RETRY_MS}\n\n").into()
}

/// The last of a stream that was not read in time.
pub(super) fn dropped(id: &str) -> Bytes {
    let problem = Problem::of(&STREAM_DROPPED, "Come again with this event's id.").to_json();
    format!("id: {id}\nevent: dropped\ndata: {problem}\n\n").into()
}

/// An event that was kept.
pub(super) fn kept(id: &str, event: &HistoryEvent, prefix: &str) -> Result<Bytes, StoreError> {
    let data = event.json_with_order(prefix)?;
    Ok(format!("id: {id}\nevent: {}\ndata: {data}\n\n", event.kind).into())
}

/// A live event with an id of its own.
pub(super) fn live(id: &str, event: &LiveEvent, prefix: &str) -> Result<Bytes, StoreError> {
    let shown = HistoryEvent::of(&KeptEvent {
        order_id: event.order_id,
        partition: event.partition,
        offset: event.offset,
        sequence: event.sequence,
        command_id: event.command_id,
        causes: &event.causes,
        event: &event.event,
    })?;
    kept(id, &shown, prefix)
}

/// A live event as all get it who are in step: made once.
pub(super) fn shared(
    text: Text,
    key: &TokenKey,
    event: &LiveEvent,
    prefix: &str,
) -> Result<Bytes, StoreError> {
    event.text(text, |event| {
        let id = match text {
            Text::Feed => token(key, event.after.iter().copied()),
            Text::Order => token(key, [(event.partition, event.offset + 1)]),
        };
        live(&id, event, prefix)
    })
}
