//! Tokens that nobody of ours has made: refused, without a panic, and in memory in proportion to their length.

use allocation_counter::measure;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use eventlog::{LogId, Positions, TokenError, TokenKey, Topic, TopicPartition};
use hmac::{Hmac, KeyInit, Mac};
use proptest::prelude::*;
use sha2::Sha256;

const SECRET: &[u8] = b"secret";
const LOG: LogId = LogId([1; 8]);
/// Bytes at once for each byte of a token: its bytes, its positions and their merger. An entry takes three bytes at least.
const BYTES_PER_BYTE: u64 = 64;
/// What a token of no length may take.
const BYTES_AT_LEAST: u64 = 4096;

fn key() -> TokenKey {
    TokenKey::new(SECRET, LOG)
}

/// A token with that inside of it, as only the holder of the key can make it.
fn sealed(content: &[u8]) -> String {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(SECRET).expect("HMAC takes any key");
    mac.update(content);
    let mut bytes = content.to_vec();
    bytes.extend(&mac.finalize().into_bytes()[..16]);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Opens it, and fails where that takes more memory than its length allows.
#[track_caller]
fn open(text: &str) -> Result<Positions, TokenError> {
    let mut opened = None;
    let taken = measure(|| opened = Some(key().open(text)));
    let allowed = BYTES_AT_LEAST + BYTES_PER_BYTE * text.len() as u64;
    assert!(
        taken.bytes_max <= allowed,
        "{} bytes for {} characters",
        taken.bytes_max,
        text.len()
    );
    opened.expect("it was measured")
}

fn positions() -> impl Strategy<Value = Positions> {
    let entry = (0..2_usize, 0..4096_i32, 1..i64::MAX).prop_map(|(topic, partition, offset)| {
        let topic = Topic::ALL[topic];
        (TopicPartition { topic, partition }, offset)
    });
    proptest::collection::vec(entry, 0..64).prop_map(|entries| entries.into_iter().collect())
}

/// The varint of a number.
fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    bytes.push(value.to_le_bytes()[0]);
    bytes
}

/// Version, log, a count and whatever follows.
fn content(count: u64, rest: &[u8]) -> Vec<u8> {
    [&[1][..], &LOG.0, &varint(count), rest].concat()
}

#[test]
fn a_count_without_its_entries_takes_no_memory() {
    for count in [1, 4096, 4097, u64::from(u32::MAX), u64::MAX] {
        assert!(matches!(
            open(&sealed(&content(count, &[]))),
            Err(TokenError::Unreadable(_))
        ));
    }
}

#[test]
fn a_varint_without_an_end_is_refused() {
    let endless = [&[1][..], &LOG.0, &[0xff; 1000]].concat();
    assert!(matches!(open(&sealed(&endless)), Err(TokenError::Unreadable(_))));
}

#[test]
fn what_is_far_too_long_is_not_looked_at() {
    for text in ["A".repeat(10 << 20), ",".repeat(10 << 20), "é,".repeat(1 << 20)] {
        let taken = measure(|| assert_eq!(key().open(&text), Err(TokenError::Forged)));
        assert!(taken.bytes_max <= BYTES_AT_LEAST, "{} bytes", taken.bytes_max);
    }
}

proptest! {
    #[test]
    fn any_bytes_are_refused(bytes: Vec<u8>) {
        prop_assert!(open(&String::from_utf8_lossy(&bytes)).is_err());
        prop_assert!(open(&URL_SAFE_NO_PAD.encode(&bytes)).is_err());
    }

    #[test]
    fn any_content_behind_our_seal_is_refused_or_comes_back(bytes: Vec<u8>) {
        if let Ok(positions) = open(&sealed(&bytes)) {
            prop_assert_eq!(key().open(&key().seal(&positions)), Ok(positions));
        }
    }

    #[test]
    fn any_entries_behind_our_seal_are_refused_or_come_back(count in 0..5000_u64, rest: Vec<u8>) {
        if let Ok(positions) = open(&sealed(&content(count, &rest))) {
            prop_assert_eq!(positions.iter().count() as u64, count);
            prop_assert_eq!(key().open(&key().seal(&positions)), Ok(positions));
        }
    }

    #[test]
    fn a_token_comes_back_whole_and_not_at_all_when_cut_or_longer(
        positions in positions(),
        at: prop::sample::Index,
        more in "[A-Za-z0-9_-]{1,40}",
    ) {
        let token = key().seal(&positions);
        prop_assert_eq!(open(&token), Ok(positions));
        prop_assert!(open(&token[..at.index(token.len())]).is_err());
        for longer in [[&token[..], &more[..]], [&more, &token]] {
            prop_assert!(open(&longer.concat()).is_err());
            prop_assert!(open(&longer.join(",")).is_err());
        }
    }

    #[test]
    fn many_tokens_take_no_more_than_their_length_allows(each in proptest::collection::vec(positions(), 1..40)) {
        let text = each.iter().map(|positions| key().seal(positions)).collect::<Vec<_>>().join(",");
        let mut all = Positions::new();
        for positions in &each {
            all.merge(positions);
        }
        let expected = if each.len() > 32 { Err(TokenError::Forged) } else { Ok(all) };
        prop_assert_eq!(open(&text), expected);
    }
}
