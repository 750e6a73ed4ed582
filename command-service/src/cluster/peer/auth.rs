//! Who may talk to an instance's peer port: whoever has the key of the consistency tokens, which only the services have.

use http::{HeaderMap, HeaderValue};
use service_kit::auth::BearerKey;

use crate::cluster::member::MemberId;

const PURPOSE: &[u8] = b"tailwater requests between instances, version 1";

/// Makes and checks bearers. A bearer is for one start of one instance: of no use anywhere else.
#[derive(Clone, Debug)]
pub struct PeerKey(BearerKey);

impl PeerKey {
    /// The key that follows from the secret of the consistency tokens.
    pub fn new(secret: &[u8]) -> Self {
        Self(BearerKey::new(secret, PURPOSE))
    }

    /// The value of `Authorization` for requests to `to`.
    pub(super) fn bearer(&self, to: MemberId) -> HeaderValue {
        self.0.bearer(to.as_bytes())
    }

    /// Whether a request to `me` comes from one of us. Takes as long whatever is wrong with it.
    pub(super) fn admits(&self, headers: &HeaderMap, me: MemberId) -> bool {
        self.0.admits(headers, me.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::AUTHORIZATION;
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
