//! An event as live streams get it: decoded once, and made into text once, however many follow.

use std::sync::OnceLock;

use bytes::Bytes;
use eventlog::Positions;
use schemas::OrderEvent;
use uuid::Uuid;

/// An effective event of an order.
#[derive(Debug)]
pub(crate) struct LiveEvent {
    /// The partition of the orders' topic.
    pub(crate) partition: i32,
    /// Its place there.
    pub(crate) offset: i64,
    /// The order that it changed.
    pub(crate) order_id: Uuid,
    /// The order's sequence after it.
    pub(crate) sequence: u64,
    /// The command that it answers.
    pub(crate) command_id: Uuid,
    /// What it depends on.
    pub(crate) causes: Positions,
    /// What happened.
    pub(crate) event: OrderEvent,
    /// Size of the record, in bytes.
    pub(crate) record_bytes: usize,
    /// Where the partitions stand for who has had this event and all before it in the ring, which sets it.
    pub(crate) after: Box<[(i32, i64)]>,
    /// Number and offset of the order's event before it in the ring, which sets it; none where that was not held any more.
    pub(crate) previous: Option<(u64, i64)>,
    /// Its texts, once somebody asked for them.
    pub(crate) texts: [OnceLock<Bytes>; 2],
}

/// Whose text of an event: they differ in the id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Text {
    /// Of those who follow all orders.
    Feed,
    /// Of those who follow its order.
    Order,
}

impl LiveEvent {
    /// The event's text, made by whoever asks first. Nobody follows most events, so none is made ahead.
    pub(crate) fn text<E>(
        &self,
        text: Text,
        render: impl FnOnce(&Self) -> Result<Bytes, E>,
    ) -> Result<Bytes, E> {
        let kept = &self.texts[text as usize];
        if let Some(made) = kept.get() {
            return Ok(made.clone());
        }
        let made = render(self)?;
        Ok(kept.get_or_init(|| made).clone())
    }

    /// What it takes up in memory with its texts, in bytes, about.
    pub(crate) const fn bytes(&self) -> usize {
        3 * self.record_bytes + 800
    }
}

#[cfg(test)]
pub(crate) mod samples {
    use schemas::Timestamp;
    use schemas::orders::OrderExpired;

    use super::*;

    /// Some event at that place.
    pub(crate) fn event(partition: i32, offset: i64) -> LiveEvent {
        LiveEvent {
            partition,
            offset,
            // An order has one partition.
            order_id: Uuid::from_u128(partition.unsigned_abs().into()),
            sequence: 1,
            command_id: Uuid::nil(),
            causes: Positions::new(),
            event: OrderEvent::Expired(OrderExpired {
                occurred_at: Timestamp(0),
                order_id: Uuid::nil(),
            }),
            record_bytes: 100,
            after: Box::default(),
            previous: None,
            texts: Default::default(),
        }
    }

    #[test]
    fn a_text_is_made_once() {
        let event = event(0, 0);
        let say = |text| move |_: &LiveEvent| Ok::<_, ()>(Bytes::from_static(text));
        assert!(event.text(Text::Feed, |_| Err(())).is_err());
        assert_eq!(event.text(Text::Feed, say(b"a")).unwrap(), "a");
        assert_eq!(event.text(Text::Feed, say(b"b")).unwrap(), "a");
        assert_eq!(event.text(Text::Order, say(b"c")).unwrap(), "c");
    }
}
