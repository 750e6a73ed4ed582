//! Who may talk to an instance's peer port: whoever has the key of the consistency tokens, which only the services have.

use hmac::{Hmac, KeyInit, Mac};
use http::HeaderValue;
use http::header::AUTHORIZATION;
use sha2::Sha256;

use crate::cluster::member::MemberId;

const PURPOSE: &[u8] = b"tailwater requests between instances, version 1";
const SCHEME: &str = "Bearer ";

/// Makes and checks bearers. A bearer is for one start of one instance: of no use anywhere else.
#[derive(Clone)]
pub struct PeerKey(Hmac<Sha256>);

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    // HMAC takes keys of any length; the error is the type's, not ours.
    <Hmac<Sha256> as KeyInit>::new_from_slice(key)
        .unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"))
}

impl PeerKey {
    /// The key that follows from the secret of the consistency tokens. A key of its own, so that no token can ever be a bearer.
    pub fn new(secret: &[u8]) -> Self {
        Self(keyed(
            &keyed(secret).chain_update(PURPOSE).finalize().into_bytes(),
        ))
    }

    /// The value of `Authorization` for requests to `to`.
    pub(super) fn bearer(&self, to: MemberId) -> HeaderValue {
        let mac = self.0.clone().chain_update(to.as_bytes()).finalize();
        let text = format!("{SCHEME}{}", hex::encode(mac.into_bytes()));
        let mut value = HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(SCHEME));
        value.set_sensitive(true);
        value
    }

    /// Whether a request to `me` comes from one of us. Takes as long whatever is wrong with it.
    pub(super) fn admits(&self, headers: &http::HeaderMap, me: MemberId) -> bool {
        let bearer = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        bearer
            .and_then(|text| text.strip_prefix(SCHEME))
            .and_then(|text| hex::decode(text).ok())
            .is_some_and(|mac| {
                self.0
                    .clone()
                    .chain_update(me.as_bytes())
                    .verify_slice(&mac)
                    .is_ok()
            })
    }
}

impl std::fmt::Debug for PeerKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PeerKey(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderMap;
    use uuid::Uuid;

    #[test]
    fn a_bearer_is_for_one_instance_and_one_key() {
        let (key, other) = (
            PeerKey::new(b"0123456789abcdef"),
            PeerKey::new(b"0123456789abcdeg"),
        );
        let (me, you) = (MemberId(Uuid::from_u128(1)), MemberId(Uuid::from_u128(2)));
        let headers: HeaderMap = [(AUTHORIZATION, key.bearer(me))].into_iter().collect();
        assert!(key.admits(&headers, me));
        assert!(!key.admits(&headers, you));
        assert!(!other.admits(&headers, me));
        assert!(!key.admits(&HeaderMap::new(), me));
        assert_eq!(format!("{:?}", key.bearer(me)), "Sensitive");
    }
}
