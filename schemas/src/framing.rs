//! Confluent framing: a zero byte, the schema's id (4 bytes, big-endian), the Avro body.

/// Length of what stands before the body.
const HEADER_BYTES: usize = 5;

/// A framed value, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Framed<'a> {
    /// The schema's id in the registry.
    pub schema_id: u32,
    /// The Avro body.
    pub body: &'a [u8],
}

impl<'a> Framed<'a> {
    /// Takes a value apart; `None` where it is not framed.
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        let (&[magic, a, b, c, d], body) = value.split_first_chunk::<{ HEADER_BYTES }>()?;
        (magic == 0).then_some(Self {
            schema_id: u32::from_be_bytes([a, b, c, d]),
            body,
        })
    }

    /// What stands before a body of that schema.
    pub const fn header(schema_id: u32) -> [u8; HEADER_BYTES] {
        let [a, b, c, d] = schema_id.to_be_bytes();
        [0, a, b, c, d]
    }
}
