//! Between events and framed Avro bytes.
//!
//! Both directions go straight between struct and bytes. Only what was written under an older version of a schema
//! takes the longer way through Avro's schema resolution. Which id stands for which schema is told from outside:
//! nothing here talks to a registry.

use std::{
    collections::HashMap,
    sync::{LazyLock, Once},
};

use apache_avro::{
    Schema, from_value, reader::datum::GenericDatumReader, schema_compatibility::SchemaCompatibility,
    util::max_allocation_bytes, writer::datum::GenericDatumWriter,
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Event, Framed, SchemaDef, Topic, all,
    definitions::{self, Sink, Source},
};

/// Most that decoding one value may allocate at once, whatever lengths the value claims.
pub const DECODED_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Why a codec could not be built, or a value not be coded.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// No zero byte and id in front.
    #[error("the value is not in Confluent framing")]
    NotFramed,
    /// An id that stands for no schema of this topic, as far as this codec was told.
    #[error("schema id {0} is not known for this topic")]
    UnknownSchema(u32),
    /// The bytes are not what the schema says.
    #[error("the value is no {full_name}")]
    Malformed {
        /// The record that it should be.
        full_name: &'static str,
        /// What Avro says.
        #[source]
        source: Box<apache_avro::Error>,
    },
    /// There is more in the value than the record.
    #[error("{bytes} bytes follow the {full_name}")]
    Trailing {
        /// The record that was there.
        full_name: &'static str,
        /// How many bytes follow.
        bytes: usize,
    },
    /// The event does not fit its schema.
    #[error("cannot encode a {full_name}")]
    Encode {
        /// The record.
        full_name: &'static str,
        /// What Avro says.
        #[source]
        source: Box<apache_avro::Error>,
    },
    /// A record was given no id, so it could not be written.
    #[error("no schema id for {0}")]
    NoId(&'static str),
    /// A schema is no schema, none of this topic, or cannot be read by the record of its name.
    #[error("the schema with id {id} cannot be read: {detail}")]
    UnusableSchema {
        /// The schema's id.
        id: u32,
        /// Why.
        detail: String,
    },
}

/// The parsed schemas, in the order of [`all`].
static SCHEMAS: LazyLock<Vec<Schema>> = LazyLock::new(|| {
    all()
        .iter()
        .map(|def| Schema::parse_str(def.json).expect("the .avsc files are valid: a test parses each"))
        .collect()
});

/// How to write a record and read it back.
struct Current {
    header: [u8; 5],
    writer: GenericDatumWriter<'static>,
    reader: GenericDatumReader<'static>,
}

/// What an id on a topic stands for.
enum Known {
    /// The record with this index in [`all`], as we write it.
    Current(usize),
    /// An older (or newer) version of it.
    Other(usize, Box<Schema>),
}

/// Encodes and decodes events. Made once, then shared.
pub struct Codec {
    current: Vec<Current>,
    known: HashMap<(Topic, u32), Known>,
}

impl std::fmt::Debug for Codec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Codec")
            .field("schemas", &self.known.len())
            .finish_non_exhaustive()
    }
}

impl Codec {
    /// A codec that writes under these ids. Every definition of [`all`] needs one.
    pub fn new(ids: impl IntoIterator<Item = (&'static SchemaDef, u32)>) -> Result<Self, CodecError> {
        limit_allocations();
        let ids: HashMap<&str, u32> = ids.into_iter().map(|(def, id)| (def.full_name, id)).collect();
        let mut codec = Self {
            current: Vec::with_capacity(all().len()),
            known: HashMap::new(),
        };
        for (index, (def, schema)) in all().iter().zip(SCHEMAS.iter()).enumerate() {
            let id = *ids.get(def.full_name).ok_or(CodecError::NoId(def.full_name))?;
            let unusable = |error: apache_avro::Error| CodecError::UnusableSchema {
                id,
                detail: error.to_string(),
            };
            // Uuids are strings in the schemas: that is what serde calls human-readable.
            codec.current.push(Current {
                header: Framed::header(id),
                writer: GenericDatumWriter::builder(schema)
                    .human_readable(true)
                    .build()
                    .map_err(unusable)?,
                reader: GenericDatumReader::builder(schema)
                    .human_readable(true)
                    .build()
                    .map_err(unusable)?,
            });
            codec.known.insert((def.topic, id), Known::Current(index));
        }
        Ok(codec)
    }

    /// Makes another version of a schema readable, by Avro's schema resolution. Events are read for ever.
    pub fn add_writer_schema(&mut self, topic: Topic, id: u32, json: &str) -> Result<(), CodecError> {
        if self.known.contains_key(&(topic, id)) {
            return Ok(());
        }
        let unusable = |detail: String| CodecError::UnusableSchema { id, detail };
        let schema = Schema::parse_str(json).map_err(|error| unusable(error.to_string()))?;
        let name = schema.name().map(|name| name.fullname(None)).unwrap_or_default();
        let index = all()
            .iter()
            .position(|def| def.topic == topic && def.full_name == name)
            .ok_or_else(|| unusable(format!("{topic:?} has no record {name:?}")))?;
        SchemaCompatibility::can_read(&schema, &SCHEMAS[index])
            .map_err(|error| unusable(error.to_string()))?;
        self.known
            .insert((topic, id), Known::Other(index, Box::new(schema)));
        Ok(())
    }

    /// The event as a framed value.
    pub fn encode(&self, event: &Event) -> Result<Vec<u8>, CodecError> {
        let index = definitions::index(event);
        let current = &self.current[index];
        let mut value = Vec::with_capacity(256);
        value.extend_from_slice(&current.header);
        definitions::hand_over(
            event,
            ToAvro {
                writer: &current.writer,
                value: &mut value,
            },
        )
        .map_err(|source| CodecError::Encode {
            full_name: all()[index].full_name,
            source: Box::new(source),
        })?;
        Ok(value)
    }

    /// The event in a framed value of that topic. Takes any bytes: the worst that they can do is an error.
    pub fn decode(&self, topic: Topic, framed: &[u8]) -> Result<Event, CodecError> {
        let Framed { schema_id, body } = Framed::parse(framed).ok_or(CodecError::NotFramed)?;
        let known = self
            .known
            .get(&(topic, schema_id))
            .ok_or(CodecError::UnknownSchema(schema_id))?;
        let mut rest = body;
        let (index, event) = match known {
            Known::Current(index) => (
                *index,
                definitions::make(
                    *index,
                    FromAvro {
                        reader: &self.current[*index].reader,
                        body: &mut rest,
                    },
                ),
            ),
            Known::Other(index, schema) => (
                *index,
                definitions::make(
                    *index,
                    FromOther {
                        schema,
                        reader: &SCHEMAS[*index],
                        body: &mut rest,
                    },
                ),
            ),
        };
        let full_name = all()[index].full_name;
        let event = event
            .ok_or(CodecError::UnknownSchema(schema_id))?
            .map_err(|source| CodecError::Malformed {
                full_name,
                source: Box::new(source),
            })?;
        if rest.is_empty() {
            Ok(event)
        } else {
            Err(CodecError::Trailing {
                full_name,
                bytes: rest.len(),
            })
        }
    }
}

/// The limit is the process's, and the first to set it wins.
fn limit_allocations() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        max_allocation_bytes(DECODED_BYTES_MAX);
    });
}

struct ToAvro<'a> {
    writer: &'a GenericDatumWriter<'static>,
    value: &'a mut Vec<u8>,
}

impl Sink for ToAvro<'_> {
    type Output = Result<(), apache_avro::Error>;

    fn take<T: Serialize>(self, record: &T) -> Self::Output {
        self.writer.write_ser(self.value, record).map(|_bytes| ())
    }
}

struct FromAvro<'a, 'b> {
    reader: &'a GenericDatumReader<'static>,
    body: &'a mut &'b [u8],
}

impl Source for FromAvro<'_, '_> {
    type Error = apache_avro::Error;

    fn give<T: DeserializeOwned>(self) -> Result<T, Self::Error> {
        self.reader.read_deser(self.body)
    }
}

struct FromOther<'a, 'b> {
    schema: &'a Schema,
    reader: &'static Schema,
    body: &'a mut &'b [u8],
}

impl Source for FromOther<'_, '_> {
    type Error = apache_avro::Error;

    fn give<T: DeserializeOwned>(self) -> Result<T, Self::Error> {
        let reader = GenericDatumReader::builder(self.schema)
            .reader_schema(self.reader)
            .build()?;
        from_value(&reader.read_value(self.body)?)
    }
}
