//! The `Consistency-Token`: positions, sealed so that a service can trust what a client hands back.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::positions::{LogId, Positions, PositionsError};

/// Bytes of the seal: HMAC-SHA-256, cut to half its length (RFC 2104, section 5).
const SEAL_BYTES: usize = 16;

/// Longer ones are not looked at.
const TOKEN_CHARS_MAX: usize = 64 * 1024;

/// So many tokens can be sent at once.
pub const TOKENS_MAX: usize = 32;

/// Seals and opens tokens of one log.
#[derive(Clone)]
pub struct TokenKey {
    mac: Hmac<Sha256>,
    log: LogId,
}

/// The text is no token of this log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not base64url, cut off, or changed.
    #[error("the token is not one of ours")]
    Forged,
    /// Sealed with our key, but its content is not known.
    #[error("the token cannot be read: {0}")]
    Unreadable(#[source] PositionsError),
    /// Of another log.
    #[error("the token belongs to another log")]
    OtherLog,
}

impl TokenKey {
    /// A key for the tokens of `log`.
    pub fn new(secret: &[u8], log: LogId) -> Self {
        // HMAC takes keys of any length; the error is the type's, not ours.
        let mac = <Hmac<Sha256> as KeyInit>::new_from_slice(secret)
            .unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
        Self { mac, log }
    }

    /// The log whose tokens these are.
    pub const fn log(&self) -> LogId {
        self.log
    }

    /// The token of these positions.
    pub fn seal(&self, positions: &Positions) -> String {
        let mut bytes = positions.encode(self.log);
        let seal = self.mac.clone().chain_update(&bytes).finalize().into_bytes();
        bytes.extend(&seal[..SEAL_BYTES]);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The positions of a token, or of several with commas between them: what any of them covers. A client that got tokens from
    /// answers side by side cannot merge them, so it sends them all.
    ///
    /// # Errors
    /// Where any of them is none of this log's, or there are more than [`TOKENS_MAX`].
    pub fn open(&self, tokens: &str) -> Result<Positions, TokenError> {
        if tokens.len() > TOKEN_CHARS_MAX || tokens.split(',').nth(TOKENS_MAX).is_some() {
            return Err(TokenError::Forged);
        }
        let mut parts = tokens.split(',').map(str::trim);
        let mut positions = self.open_one(parts.next().unwrap_or_default())?;
        for token in parts {
            positions.merge(&self.open_one(token)?);
        }
        Ok(positions)
    }

    fn open_one(&self, token: &str) -> Result<Positions, TokenError> {
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| TokenError::Forged)?;
        let split = bytes.len().checked_sub(SEAL_BYTES).ok_or(TokenError::Forged)?;
        let (content, seal) = bytes.split_at(split);
        self.mac
            .clone()
            .chain_update(content)
            .verify_truncated_left(seal)
            .map_err(|_| TokenError::Forged)?;
        let (log, positions) = Positions::decode(content).map_err(TokenError::Unreadable)?;
        if log == self.log {
            Ok(positions)
        } else {
            Err(TokenError::OtherLog)
        }
    }
}

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenKey")
            .field("log", &self.log)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Topic, TopicPartition};
    use proptest::prelude::*;

    fn key() -> TokenKey {
        TokenKey::new(b"secret", LogId([1; 8]))
    }

    fn positions() -> Positions {
        [(
            TopicPartition {
                topic: Topic::Orders,
                partition: 3,
            },
            17,
        )]
        .into_iter()
        .collect()
    }

    #[test]
    fn a_token_opens_with_its_key_only() {
        let token = key().seal(&positions());
        assert_eq!(key().open(&token), Ok(positions()));
        assert_eq!(
            TokenKey::new(b"other", LogId([1; 8])).open(&token),
            Err(TokenError::Forged)
        );
        assert_eq!(
            TokenKey::new(b"secret", LogId([2; 8])).open(&token),
            Err(TokenError::OtherLog)
        );
    }

    #[test]
    fn several_tokens_cover_what_any_of_them_does() {
        let at = |topic, partition, offset| [(TopicPartition { topic, partition }, offset)];
        let (one, other): (Positions, Positions) = (
            at(Topic::Orders, 3, 20).into_iter().collect(),
            at(Topic::Stock, 1, 2).into_iter().collect(),
        );
        let text = [&one, &other, &positions()]
            .map(|positions| key().seal(positions))
            .join(", ");
        let mut both = one;
        both.merge(&other);
        assert_eq!(key().open(&text), Ok(both));
        for bad in ["", ",", &format!("{text},"), &[text.as_str(); 11].join(",")] {
            assert_eq!(key().open(bad), Err(TokenError::Forged), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_changed_token_is_forged(at in 0_usize..1000, bit in 0_u8..6) {
            let token = key().seal(&positions());
            let mut bytes = URL_SAFE_NO_PAD.decode(&token).unwrap();
            let at = at % bytes.len();
            bytes[at] ^= 1_u8 << bit;
            prop_assert!(key().open(&URL_SAFE_NO_PAD.encode(bytes)).is_err());
        }

        #[test]
        fn any_text_is_refused_without_a_panic(text in ".{0,200}") {
            prop_assert!(key().open(&text).is_err());
        }
    }
}
