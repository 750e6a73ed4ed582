//! Names of keys. Nobody else makes any.
//!
//! A partition's keys share a slot, in all generations: `{<prefix>:<version>:<topic>:<partition>}:<generation>:…`. Another
//! version of the model has other slots, and fills them beside these.

use std::fmt::Display;

use eventlog::{Topic, TopicPartition};
use uuid::Uuid;

use crate::generations::MODEL_VERSION;

/// Makes keys under a prefix.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    prefix: String,
}

impl Keys {
    pub(crate) fn new(prefix: &str) -> Self {
        Self::of_version(prefix, MODEL_VERSION)
    }

    /// Those of another version of the model.
    pub(crate) fn of_version(prefix: &str, version: i32) -> Self {
        Self {
            prefix: format!("{prefix}:{version}"),
        }
    }

    /// The keys of a generation.
    pub(crate) fn of(&self, generation: i32) -> KeysOf {
        KeysOf {
            keys: self.clone(),
            generation,
        }
    }

    fn slot(&self, partition: TopicPartition, rest: impl Display) -> String {
        format!(
            "{{{}:{}:{}}}:{rest}",
            self.prefix,
            partition.topic.index(),
            partition.partition
        )
    }

    /// Which generation of a partition is read.
    pub(crate) fn live(&self, partition: TopicPartition) -> String {
        self.slot(partition, "live")
    }

    /// Which generations there are, and the highest number that one ever had.
    pub(crate) fn registry(&self) -> String {
        format!("{}:generations", self.prefix)
    }

    /// A pattern for all keys of all partitions.
    pub(crate) fn all(&self) -> String {
        format!("{{{}:*}}:*", escaped(&self.prefix))
    }

    /// The generation that a key belongs to; none where it belongs to no single one.
    pub(crate) fn generation(key: &str) -> Option<i32> {
        Self::apart(key).map(|(generation, _)| generation)
    }

    /// A key's generation, and the key without it.
    pub(crate) fn apart(key: &str) -> Option<(i32, String)> {
        let (slot, rest) = key.split_once("}:")?;
        let (generation, rest) = rest.split_once(':')?;
        Some((generation.parse().ok()?, format!("{slot}}}:{rest}")))
    }

    /// The key of a generation that [`Keys::apart`] has taken apart.
    pub(crate) fn together(generation: i32, name: &str) -> String {
        name.replacen("}:", &format!("}}:{generation}:"), 1)
    }

    /// Which log the model is made from.
    pub(crate) fn deployment(&self) -> String {
        format!("{}:deployment", self.prefix)
    }
}

/// Makes the keys of one generation.
#[derive(Clone, Debug)]
pub(crate) struct KeysOf {
    keys: Keys,
    generation: i32,
}

impl KeysOf {
    pub(crate) const fn shared(&self) -> &Keys {
        &self.keys
    }

    pub(crate) const fn generation(&self) -> i32 {
        self.generation
    }

    fn slot(&self, partition: TopicPartition, kind: &str, id: impl Display) -> String {
        self.keys
            .slot(partition, format_args!("{}:{kind}{id}", self.generation))
    }

    pub(crate) fn watermark(&self, partition: TopicPartition) -> String {
        self.slot(partition, "wm", "")
    }

    pub(crate) fn order(&self, partition: i32, order_id: Uuid) -> String {
        let topic = Topic::Orders;
        self.slot(TopicPartition { topic, partition }, "order:", order_id)
    }

    pub(crate) fn stock(&self, partition: i32, sku: &str) -> String {
        let topic = Topic::Stock;
        self.slot(TopicPartition { topic, partition }, "stock:", sku)
    }

    /// What the keys of a partition's documents begin with.
    pub(crate) fn documents(&self, partition: TopicPartition) -> String {
        match partition.topic {
            Topic::Orders => self.slot(partition, "order:", ""),
            Topic::Stock => self.slot(partition, "stock:", ""),
        }
    }

    /// A pattern for the documents of a partition, without its watermark.
    pub(crate) fn pattern(&self, partition: TopicPartition) -> String {
        format!("{}*", escaped(&self.documents(partition)))
    }
}

/// Text of a pattern that stands for itself.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        if matches!(letter, '*' | '?' | '[' | ']' | '\\') {
            escaped.push('\\');
        }
        escaped.push(letter);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keys_generation_is_told_from_it() {
        let keys = Keys::of_version("a:b*", 1);
        let partition = TopicPartition {
            topic: Topic::Stock,
            partition: 3,
        };
        let of = keys.of(7);
        assert_eq!(of.watermark(partition), "{a:b*:1:1:3}:7:wm");
        assert_eq!(of.stock(3, "}:1:x"), "{a:b*:1:1:3}:7:stock:}:1:x");
        assert_eq!(of.pattern(partition), "{a:b\\*:1:1:3}:7:stock:*");
        assert_eq!(keys.all(), "{a:b\\*:1:*}:*");
        for key in [
            of.watermark(partition),
            of.order(1, Uuid::nil()),
            of.stock(3, "}:1:x"),
        ] {
            assert_eq!(Keys::generation(&key), Some(7), "{key}");
            let (generation, name) = Keys::apart(&key).unwrap();
            assert_eq!(Keys::together(generation, &name), key);
        }
        assert_eq!(Keys::generation(&keys.live(partition)), None);
    }
}
