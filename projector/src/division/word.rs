//! What projectors say to each other on the cluster topic.
//!
//! A word is a key without a value, so to Kafka it is a deletion of something that never was: compaction takes it away by itself,
//! and nobody has to clear up after who died. It also is what a command service passes over without a word: of an entry without a
//! value it knows only that a member of its own kind has left, and the key names none. A value that it cannot read it would
//! complain of, four times a second for each projector, and its older versions cannot be taught otherwise.

use std::str::FromStr;

use eventlog::MemberId;
use uuid::Uuid;

const KIND: &str = "projector";
const GONE: &str = "gone";

/// What is projected into: projectors into other stores, and of another version of the models, do other work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Models(Uuid);

impl Models {
    /// The same for the same name, on every machine and in every version.
    pub(super) fn named(name: &str) -> Self {
        Self(Uuid::new_v5(&Uuid::NAMESPACE_URL, name.as_bytes()))
    }
}

/// A projector's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// It is there.
    Here(MemberId),
    /// It has stopped, and works on nothing any more.
    Gone(MemberId),
}

impl Word {
    /// The key: `projector/<models>/<member>`, and `/gone` behind it where it has.
    pub(super) fn key(self, Models(models): Models) -> Vec<u8> {
        match self {
            Self::Here(member) => format!("{KIND}/{models}/{member}"),
            Self::Gone(member) => format!("{KIND}/{models}/{member}/{GONE}"),
        }
        .into_bytes()
    }

    /// What a key says to a projector into these models; nothing where it is somebody else's.
    pub(super) fn read(key: &[u8], models: Models) -> Option<Self> {
        let mut parts = std::str::from_utf8(key).ok()?.split('/');
        if parts.next() != Some(KIND) || Uuid::from_str(parts.next()?) != Ok(models.0) {
            return None;
        }
        let member = parts.next()?.parse().ok()?;
        match (parts.next(), parts.next()) {
            (None, _) => Some(Self::Here(member)),
            (Some(GONE), None) => Some(Self::Gone(member)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_read_by_who_projects_into_the_same_models() {
        let (ours, others) = (Models::named("1/tw/shop"), Models::named("2/tw/shop"));
        let member = MemberId(Uuid::from_u128(7));
        for word in [Word::Here(member), Word::Gone(member)] {
            assert_eq!(Word::read(&word.key(ours), ours), Some(word));
            assert_eq!(Word::read(&word.key(ours), others), None);
        }
        // Projectors of different versions must understand each other, so this never changes.
        assert_eq!(
            String::from_utf8(Word::Gone(member).key(ours)).unwrap(),
            "projector/0ccf7673-779d-5466-8ad5-3f9c2e019482/00000000-0000-0000-0000-000000000007/gone"
        );
    }

    #[test]
    fn what_others_say_is_passed_over() {
        let models = Models::named("1/tw/shop");
        let member = MemberId(Uuid::from_u128(7)).to_string();
        let here = String::from_utf8(Word::Here(MemberId(Uuid::from_u128(7))).key(models)).unwrap();
        for key in [
            &member,
            "",
            "projector",
            "projector/x/y",
            &format!("{here}/more"),
            &format!("{here}/gone/more"),
        ] {
            assert_eq!(Word::read(key.as_bytes(), models), None, "{key}");
        }
        assert_eq!(Word::read(b"\xff", models), None);
    }
}
