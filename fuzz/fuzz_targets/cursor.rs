//! A cursor: refused, or the one that is written for the same place.
#![no_main]

use libfuzzer_sys::fuzz_target;
use query_service::cursor;
use read_model::postgres::Filter;

fuzz_target!(|bytes: &[u8]| {
    let filter = Filter::default();
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(after) = cursor::read(text, "customer", &filter)
    {
        assert_eq!(cursor::write(after, "customer", &filter), text);
    }
});
