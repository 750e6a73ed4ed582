//! `COPY … FROM STDIN` in its binary format: rows that are only ever added go in twice as fast as by `UNNEST`, and cost
//! their writer one buffer.

use std::pin::pin;

use futures::{Stream, StreamExt, stream};
use sqlx::PgTransaction;
use uuid::Uuid;

use crate::store::StoreError;

/// Signature, no flags, no extension.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// Instead of a number of fields: the end.
const TRAILER: [u8; 2] = (-1_i16).to_be_bytes();

/// Rows go in parts of about so many bytes: a buffer for all of them would be copied while it grows, and again by the client.
const PART_BYTES: usize = 128 << 10;
/// Room for the row that makes a part full.
const ROW_BYTES: usize = 4 << 10;

/// Rows on their way into a table.
#[derive(Debug, Default)]
pub(super) struct Rows {
    full: Vec<Vec<u8>>,
    bytes: Vec<u8>,
}

impl Rows {
    /// Begins a row of so many fields; they follow, in the order of the columns.
    pub(super) fn row(&mut self, fields: i16) -> &mut Self {
        if self.bytes.len() >= PART_BYTES {
            let next = Vec::with_capacity(PART_BYTES + ROW_BYTES);
            self.full.push(std::mem::replace(&mut self.bytes, next));
        }
        self.bytes.extend_from_slice(&fields.to_be_bytes());
        self
    }

    /// An `integer`.
    pub(super) fn int(&mut self, value: i32) -> &mut Self {
        self.field(4, &value.to_be_bytes())
    }

    /// A `bigint`.
    pub(super) fn bigint(&mut self, value: i64) -> &mut Self {
        self.field(8, &value.to_be_bytes())
    }

    /// A `numeric` without a fraction: digits of base 10,000, of which the last ones are left out while they are zero.
    pub(super) fn numeric(&mut self, value: i128) -> &mut Self {
        const BASE: u128 = 10_000;
        const DIGITS_MAX: usize = 10;
        let (mut digits, mut count, mut rest) = ([0_i16; DIGITS_MAX], 0, value.unsigned_abs());
        while rest > 0 {
            digits[count] = i16::try_from(rest % BASE).unwrap_or(0);
            (count, rest) = (count + 1, rest / BASE);
        }
        let zeros = digits[..count].iter().take_while(|digit| **digit == 0).count();
        let number = |count: usize| i16::try_from(count).unwrap_or(0);
        let sign: i16 = if value < 0 { 0x4000 } else { 0 };
        let head = [number(count - zeros), number(count.max(1)) - 1, sign, 0];
        let mut bytes = [0; 2 * (4 + DIGITS_MAX)];
        let parts = head.iter().chain(digits[zeros..count].iter().rev());
        for (bytes, part) in bytes.chunks_exact_mut(2).zip(parts) {
            bytes.copy_from_slice(&part.to_be_bytes());
        }
        let length = head.len() + count - zeros;
        self.field(2 * i32::from(number(length)), &bytes[..2 * length])
    }

    /// A `uuid`.
    pub(super) fn uuid(&mut self, value: Uuid) -> &mut Self {
        self.field(16, value.as_bytes())
    }

    /// A `text`.
    pub(super) fn text(&mut self, value: &str) -> Result<&mut Self, StoreError> {
        let length = i32::try_from(value.len())
            .map_err(|_| StoreError::Corrupt("a text is longer than Postgres takes".to_owned()))?;
        Ok(self.field(length, value.as_bytes()))
    }

    fn field(&mut self, length: i32, value: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(&length.to_be_bytes());
        self.bytes.extend_from_slice(value);
        self
    }

    /// Sends them. The statement is a `COPY … FROM STDIN (FORMAT binary)`.
    pub(super) async fn send(
        self,
        transaction: &mut PgTransaction<'_>,
        statement: &'static str,
    ) -> Result<(), StoreError> {
        copy_in(transaction, statement, stream::iter([self])).await
    }
}

/// Copies rows in as they come, until no more can come.
pub(super) async fn copy_in(
    transaction: &mut PgTransaction<'_>,
    statement: &'static str,
    parts: impl Stream<Item = Rows> + Send,
) -> Result<(), StoreError> {
    let mut parts = pin!(parts);
    let mut copy = transaction.copy_in_raw(statement).await?;
    copy.send(HEADER).await?;
    while let Some(rows) = parts.next().await {
        for part in rows.full.into_iter().chain([rows.bytes]) {
            copy.send(part).await?;
        }
    }
    copy.send(&TRAILER[..]).await?;
    copy.finish().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_postgres_has_them() {
        let of = |value: i128| {
            let mut rows = Rows::default();
            rows.numeric(value);
            let parts = rows.bytes[4..].chunks(2);
            assert_eq!(
                rows.bytes[..4],
                i32::try_from(rows.bytes.len() - 4).unwrap().to_be_bytes()
            );
            parts
                .map(|part| i16::from_be_bytes([part[0], part[1]]))
                .collect::<Vec<_>>()
        };
        assert_eq!(of(0), [0, 0, 0, 0]);
        assert_eq!(of(7), [1, 0, 0, 0, 7]);
        assert_eq!(of(-12_345_678), [2, 1, 0x4000, 0, 1234, 5678]);
        assert_eq!(of(30_000), [1, 1, 0, 0, 3]);
        assert_eq!(of(i128::MAX).len(), 4 + 10);
        assert_eq!(of(i128::MIN)[..5], [10, 9, 0x4000, 0, 170]);
    }
}
