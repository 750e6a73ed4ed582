//! The demo's own list of what was acknowledged.

use rustc_hash::FxHashMap;
use schemas::ids;
use serde::Deserialize;
use uuid::Uuid;

use crate::load::Response;

/// What was sent with an acknowledged order.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    /// What the order costs.
    pub(super) total_minor: i64,
}

/// Every acknowledged order, and what was wrong with an acknowledgement.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    sent: FxHashMap<Uuid, Sent>,
    first: Option<Uuid>,
    /// What an acknowledgement said that it must not.
    pub(super) faults: Vec<String>,
}

#[derive(Deserialize)]
struct Acknowledged {
    order_id: Uuid,
    sequence: u64,
    status: String,
}

impl Ledger {
    /// The id that the contract gives the order of a key; a second order for one key would have another.
    pub(super) fn id_of(key: &str) -> Uuid {
        ids::created_id(ids::command_id("anonymous", "POST", "/v1/orders", key), "order")
    }

    /// Notes the answer to an order that was placed under a key; says its id where it was acknowledged.
    pub(super) fn note(&mut self, key: &str, total_minor: i64, answer: &Response) -> Option<Uuid> {
        let expected = Self::id_of(key);
        let acknowledged = match serde_json::from_slice::<Acknowledged>(&answer.body) {
            Ok(acknowledged) if answer.status == 201 => acknowledged,
            _ => {
                self.faults
                    .push(format!("order {key} was not acknowledged: {}", answer.summary()));
                return None;
            }
        };
        let Acknowledged {
            order_id,
            sequence,
            status,
        } = acknowledged;
        if (order_id, sequence, status.as_str()) != (expected, 1, "pending") {
            self.faults.push(format!(
                "order {key} should be {expected}, 1, pending: {}",
                answer.summary()
            ));
        }
        if self.sent.insert(order_id, Sent { total_minor }).is_some() {
            self.faults
                .push(format!("order {order_id} was acknowledged for two keys"));
        }
        self.first.get_or_insert(order_id);
        Some(order_id)
    }

    /// How many orders were acknowledged.
    pub(super) fn len(&self) -> usize {
        self.sent.len()
    }

    /// The first order.
    pub(super) fn first(&self) -> Option<Uuid> {
        self.first
    }

    /// What was sent with an order.
    pub(super) fn get(&self, order_id: Uuid) -> Option<&Sent> {
        self.sent.get(&order_id)
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Uuid, &Sent)> {
        self.sent.iter().map(|(id, sent)| (*id, sent))
    }
}
