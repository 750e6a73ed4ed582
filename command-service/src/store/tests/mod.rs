//! Stored snapshots against a writer that has everything in memory.

mod damage;
mod driven;
mod large;
mod same;
mod transferred;

use std::path::PathBuf;

use eventlog::{LogId, Topic, TopicPartition};
use schemas::{Timestamp, orders::PlacedLine};
use uuid::Uuid;

use super::*;
use crate::shop::{Aggregate, Answer, Causes, Created, Key, Shop};
use crate::store::format::encode;

const CACHE_BYTES: usize = 1 << 20;

fn identity(topic: Topic) -> Identity {
    Identity {
        log_id: LogId([7; 8]),
        partition: TopicPartition { topic, partition: 3 },
    }
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

fn open(path: &Path, topic: Topic) -> Opened<Shop> {
    Store::open(path, identity(topic), CACHE_BYTES).unwrap()
}

/// Raise `State::STORAGE_VERSION` when this changes.
#[test]
fn the_layout_is_frozen() {
    let mut causes = eventlog::Positions::new();
    causes.observe(identity(Topic::Stock).partition, 300);
    let causes = Causes::from(&causes);
    let order = || -> domain::State {
        let id = Uuid::from_u128(1);
        let placed = schemas::orders::OrderPlaced {
            occurred_at: Timestamp(5),
            order_id: id,
            customer_id: "c".to_owned(),
            currency: "EUR".to_owned(),
            total_minor: 20,
            lines: vec![PlacedLine {
                sku: "s".to_owned(),
                quantity: 2,
                unit_price_minor: 10,
            }],
        };
        let placed = schemas::Event::Order(schemas::OrderEvent::Placed(placed));
        domain::evolve(None, &placed, id).unwrap().unwrap()
    };
    let stock = || -> domain::State {
        let received = schemas::stock::StockReceived {
            occurred_at: Timestamp(5),
            sku: "s".to_owned(),
            quantity: 3,
        };
        let reserved = schemas::stock::StockReserved {
            occurred_at: Timestamp(5),
            sku: "s".to_owned(),
            order_id: Uuid::from_u128(1),
            line: 0,
            quantity: 2,
        };
        let received = schemas::Event::Stock(schemas::StockEvent::Received(received));
        let reserved = schemas::Event::Stock(schemas::StockEvent::Reserved(reserved));
        let state = domain::evolve(None, &received, Uuid::nil()).unwrap();
        domain::evolve(state, &reserved, Uuid::nil()).unwrap().unwrap()
    };
    let hex = |bytes: Vec<u8>| hex::encode(bytes);
    let one = "1000000000000000000000000000000001";
    assert_eq!(
        hex(encode(&order())),
        format!("000100{one}0a0163034555522801017304140100010000 0000000000000a").replace(' ', "")
    );
    let stock = Aggregate {
        state: stock(),
        causes,
    };
    assert_eq!(
        hex(encode(&stock)),
        format!("0102060401{one}0004 01 01 06 d804").replace(' ', "")
    );
    assert_eq!(hex(encode(&Key::Order(Uuid::from_u128(1)))), format!("00{one}"));
    assert_eq!(hex(encode(&Key::Stock("s".into()))), "010173");
    let applied = Answer::Applied {
        subject: Key::Stock("s".into()),
        created: Created::Nothing,
        sequence: 2,
        status: Some(domain::OrderStatus::Paid),
    };
    assert_eq!(hex(encode(&applied)), "00010173 00 02 0103".replace(' ', ""));
    let refused = Answer::Refused {
        status: 409,
        sequence: Some(1),
        problem: "{}".into(),
    };
    assert_eq!(hex(encode(&refused)), "0199030101027b7d");
}
