//! Records as they lie in the log, and as a writer makes them.
//!
//! Header names and layouts are the contract's (`ce_*`: `CloudEvents` 1.0, Kafka binding, binary mode; `tw_*`: the chain).

use std::sync::Arc;

use rdkafka::message::{BorrowedMessage, Header, Headers as _, Message, OwnedHeaders};
use schemas::Timestamp;
use uuid::Uuid;

use crate::link::{Link, Linked};
use crate::positions::Positions;

/// A header that must be there at most once and in one form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Slot<T> {
    /// Not there.
    #[default]
    Absent,
    /// There once, in its form.
    One(T),
    /// There twice, or in another form.
    Wrong,
}

impl<T> Slot<T> {
    fn put(&mut self, value: Option<T>) {
        *self = match (&self, value) {
            (Self::Absent, Some(value)) => Self::One(value),
            _ => Self::Wrong,
        };
    }

    /// The value, where it is there once and in its form.
    pub const fn one(&self) -> Option<&T> {
        match self {
            Self::One(value) => Some(value),
            Self::Absent | Self::Wrong => None,
        }
    }
}

/// The headers that readers use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    /// `ce_id`
    pub event_id: Slot<Uuid>,
    /// `tw_command`
    pub command: Slot<[u8; 32]>,
    /// `tw_after`
    pub after: Slot<[u8; 16]>,
    /// `tw_link`
    pub link: Slot<[u8; 16]>,
    /// `tw_causes`
    pub causes: Slot<Vec<u8>>,
    /// `tw_source`
    pub source: Slot<[u8; 8]>,
    /// `ce_sequence`
    pub sequence: Option<u64>,
    /// `traceparent`
    pub traceparent: Option<String>,
}

impl Headers {
    /// Takes one header in; names that readers do not use are passed over.
    pub fn take(&mut self, name: &str, value: Option<&[u8]>) {
        let bytes = value.unwrap_or_default();
        match name {
            "ce_id" => self
                .event_id
                .put(text(bytes).and_then(|id| Uuid::try_parse(id).ok())),
            "tw_command" => self.command.put(bytes.try_into().ok()),
            "tw_after" => self.after.put(bytes.try_into().ok()),
            "tw_link" => self.link.put(bytes.try_into().ok()),
            "tw_causes" => self.causes.put(value.map(<[u8]>::to_vec)),
            "tw_source" => self.source.put(bytes.try_into().ok()),
            "ce_sequence" => self.sequence = text(bytes).and_then(|sequence| sequence.parse().ok()),
            "traceparent" => self.traceparent = text(bytes).map(str::to_owned),
            _ => {}
        }
    }
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// A record as read from a partition, not judged yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// Its offset in the partition.
    pub offset: i64,
    /// The aggregate's id; empty for a barrier.
    pub key: Vec<u8>,
    /// Avro in Confluent framing.
    pub value: Vec<u8>,
    /// What readers use of its headers.
    pub headers: Headers,
}

impl LogRecord {
    /// Copies a message out of the client's buffer.
    pub fn from_message(message: &BorrowedMessage<'_>) -> Self {
        let mut headers = Headers::default();
        if let Some(raw) = message.headers() {
            for header in raw.iter() {
                headers.take(header.key, header.value);
            }
        }
        Self {
            offset: message.offset(),
            key: message.key().unwrap_or_default().to_vec(),
            value: message.payload().unwrap_or_default().to_vec(),
            headers,
        }
    }
}

/// The headers of an effective record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// `ce_id`: the event's id.
    pub event_id: Uuid,
    /// First half of `tw_command`: the command that the record answers; nil for a barrier.
    pub command_id: Uuid,
    /// Second half of `tw_command`: the fingerprint of the request.
    pub fingerprint: [u8; 16],
    /// The link that it comes after.
    pub after: Link,
    /// Its own link.
    pub link: Link,
    /// The positions of the events that it depends on. What cannot be read as positions is taken as none: it is under
    /// the link all the same.
    pub causes: Positions,
    /// The command's offset in the commands topic, where it came from there.
    pub source: Option<u64>,
    /// The aggregate's sequence after the event.
    pub sequence: Option<u64>,
    /// W3C trace context.
    pub traceparent: Option<String>,
}

/// A record to append. Cloning is cheap enough to keep one until its answer is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRecord {
    /// The aggregate's id; empty for a barrier.
    pub key: Vec<u8>,
    /// Avro in Confluent framing.
    pub value: Vec<u8>,
    /// `ce_id`
    pub event_id: Uuid,
    /// `ce_type`: the record's full name.
    pub event_type: &'static str,
    /// `ce_time`
    pub occurred_at: Timestamp,
    /// `ce_sequence`; none for a barrier.
    pub sequence: Option<u64>,
    /// W3C trace context.
    pub traceparent: Option<Arc<str>>,
    /// `tw_command`: command id, then fingerprint.
    pub command: [u8; 32],
    /// `tw_after`
    pub after: Link,
    /// `tw_link`
    pub link: Link,
    /// `tw_causes`: [`Positions::encode`].
    pub causes: Arc<[u8]>,
    /// `tw_source`
    pub source: Option<u64>,
}

impl NewRecord {
    /// Sets `after` and the link that follows from it and from everything else in the record.
    #[must_use]
    pub fn chained(mut self, after: Link) -> Self {
        self.after = after;
        self.link = Link::of(&Linked {
            after,
            event_id: self.event_id,
            command: &self.command,
            key: &self.key,
            causes: &self.causes,
            source: self.source.map(u64::to_be_bytes).as_ref(),
            value: &self.value,
        });
        self
    }

    /// Size of what it takes up in queues, in bytes, about.
    pub fn bytes(&self) -> usize {
        self.key.len() + self.value.len() + self.causes.len() + 512
    }

    /// The headers as they go to Kafka.
    pub(crate) fn headers(&self, ce_source: &str) -> OwnedHeaders {
        let mut id = Uuid::encode_buffer();
        let id: &str = self.event_id.hyphenated().encode_lower(&mut id);
        let mut headers = OwnedHeaders::new_with_capacity(14)
            .insert(header("ce_specversion", b"1.0"))
            .insert(header("ce_id", id.as_bytes()))
            .insert(header("ce_type", self.event_type.as_bytes()))
            .insert(header("ce_source", ce_source.as_bytes()))
            .insert(header("ce_time", self.occurred_at.rfc3339().as_bytes()))
            .insert(header("content-type", b"application/avro"))
            .insert(header("tw_command", &self.command))
            .insert(header("tw_after", &self.after.0))
            .insert(header("tw_link", &self.link.0))
            .insert(header("tw_causes", &self.causes));
        if let Some(sequence) = self.sequence {
            headers = headers.insert(header("ce_sequence", sequence.to_string().as_bytes()));
        }
        if !self.key.is_empty() {
            headers = headers.insert(header("ce_subject", &self.key));
        }
        if let Some(traceparent) = &self.traceparent {
            headers = headers.insert(header("traceparent", traceparent.as_bytes()));
        }
        if let Some(source) = self.source {
            headers = headers.insert(header("tw_source", &source.to_be_bytes()));
        }
        headers
    }

    /// The record as a reader finds it at an offset.
    #[must_use]
    pub fn at_offset(&self, offset: i64) -> LogRecord {
        LogRecord {
            offset,
            key: self.key.clone(),
            value: self.value.clone(),
            headers: Headers {
                event_id: Slot::One(self.event_id),
                command: Slot::One(self.command),
                after: Slot::One(self.after.0),
                link: Slot::One(self.link.0),
                causes: Slot::One(self.causes.to_vec()),
                source: self
                    .source
                    .map_or(Slot::Absent, |source| Slot::One(source.to_be_bytes())),
                sequence: self.sequence,
                traceparent: self.traceparent.as_deref().map(str::to_owned),
            },
        }
    }
}

const fn header<'a>(key: &'a str, value: &'a [u8]) -> Header<'a, &'a [u8]> {
    Header {
        key,
        value: Some(value),
    }
}
