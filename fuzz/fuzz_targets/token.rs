//! A token: whatever it is, it is refused, or says the same when it is sealed again.
#![no_main]

use eventlog::{LogId, Positions, TokenKey};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let key = TokenKey::new(b"fuzz", LogId([7; 8]));
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(positions) = key.open(text)
    {
        assert_eq!(key.open(&key.seal(&positions)), Ok(positions));
    }
    // Behind the seal, where only our own bytes should come to.
    if let Ok((log, positions)) = Positions::decode(bytes) {
        assert_eq!(Positions::decode(&positions.encode(log)), Ok((log, positions)));
    }
});
