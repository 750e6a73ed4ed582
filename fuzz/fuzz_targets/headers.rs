//! Request headers: each is understood or refused. The first byte says how many values there are.
#![no_main]

use http::{HeaderMap, HeaderName, HeaderValue, header};
use libfuzzer_sys::fuzz_target;
use service_kit::headers::{self, names};

fuzz_target!(|bytes: &[u8]| {
    let Some((count, bytes)) = bytes.split_first() else {
        return;
    };
    let each = bytes.len() / (usize::from(count % 4) + 1) + 1;
    let values: Vec<_> = bytes
        .chunks(each)
        .filter_map(|part| HeaderValue::from_bytes(part).ok())
        .collect();
    let of = |name: &HeaderName| {
        let mut headers = HeaderMap::new();
        for value in &values {
            headers.append(name.clone(), value.clone());
        }
        headers
    };
    let _ = headers::consistency_token(&of(&names::CONSISTENCY_TOKEN));
    let _ = headers::consistency(&of(&names::CONSISTENCY));
    let _ = headers::idempotency_key(&of(&names::IDEMPOTENCY_KEY));
    let _ = headers::if_match(&of(&header::IF_MATCH));
    let _ = headers::if_none_match(&of(&header::IF_NONE_MATCH));
    let _ = headers::prefer(&of(&names::PREFER));
    let _ = headers::accepts_json(&of(&header::ACCEPT));
    let _ = headers::caller(&of(&header::AUTHORIZATION));
});
