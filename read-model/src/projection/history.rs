//! An order as it was, from the events that are kept of it.

use schemas::Timestamp;

use super::apply_order;
use crate::store::StoreError;
use crate::view::{HistoryEvent, Order};

/// A moment in the life of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// After its event of that sequence.
    Sequence(u64),
    /// After the last event before any that was decided later than that.
    Time(Timestamp),
}

impl At {
    fn includes(self, event: &HistoryEvent) -> bool {
        match self {
            Self::Sequence(upto) => event.sequence <= upto,
            Self::Time(until) => event.occurred_at <= until,
        }
    }
}

/// The order that these events had made by then, from the first on; none where it had not come so far, or was not placed
/// yet.
///
/// # Errors
/// [`StoreError::Corrupt`] where an event cannot be read or does not fit what is before it.
pub fn order_at(events: &[HistoryEvent], at: At) -> Result<Option<Order>, StoreError> {
    let mut order = None;
    // A gap is where the query left out what is later.
    let events = (1..).zip(events).take_while(|(n, event)| event.sequence == *n);
    for (_, event) in events.take_while(|(_, event)| at.includes(event)) {
        apply_order(&mut order, &event.event()?, &event.causes)
            .map_err(|misfit| StoreError::Corrupt(format!("event {}: {misfit}", event.sequence)))?;
    }
    Ok(order.filter(|order: &Order| match at {
        At::Sequence(upto) => order.view.sequence == upto,
        At::Time(_) => true,
    }))
}
