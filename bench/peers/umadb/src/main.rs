//! UmaDB through its Rust client: read the events with the order's tag, decide, and append on condition that no event
//! with that tag came after what was read. The server acknowledges after it has synced the file.

use std::process::ExitCode;

use anyhow::{Result, bail, ensure};
use futures::{StreamExt, TryStreamExt};
use harness::{Args, EVENTS_BEFORE, LINES_AT_MOST, Line, LineAdded, OrderPlaced, Peer, Refused};
use serde::{Deserialize, Serialize};
use umadb_client::{AsyncUmaDbClient, UmaDbClient};
use umadb_dcb::{DcbAppendCondition, DcbEvent, DcbEventStoreAsync, DcbQuery, DcbQueryItem};
use uuid::Uuid;

const STREAMS_AT_ONCE: usize = 100;

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Event {
    OrderPlaced(OrderPlaced),
    LineAdded(LineAdded),
}

impl Event {
    fn of(self, order: Uuid) -> Result<DcbEvent> {
        let name = match self {
            Self::OrderPlaced(_) => "OrderPlaced",
            Self::LineAdded(_) => "LineAdded",
        };
        Ok(DcbEvent::default()
            .event_type(name)
            .tags([tag(order)])
            .data(serde_json::to_vec(&self)?)
            .uuid(Uuid::new_v4()))
    }
}

fn tag(order: Uuid) -> String {
    format!("order:{order}")
}

/// Everything that a decision about this order depends on.
fn boundary(order: Uuid) -> DcbQuery {
    DcbQuery::new().item(
        DcbQueryItem::new()
            .types(["OrderPlaced", "LineAdded"])
            .tags([tag(order)]),
    )
}

struct UmaDb(AsyncUmaDbClient);

impl Peer for UmaDb {
    const NAME: &'static str = "umadb";
    const VERSION: &'static str = "0.7.8";

    async fn connect(args: &Args) -> Result<Self> {
        let client = UmaDbClient::new(args.url.clone()).connect_async().await?;
        client.head().await?;
        Ok(Self(client))
    }

    async fn place(&self, order: OrderPlaced) -> Result<()> {
        let id = order.order_id;
        let condition = DcbAppendCondition::new(boundary(id));
        self.0
            .append(vec![Event::OrderPlaced(order).of(id)?], Some(condition), None)
            .await?;
        Ok(())
    }

    async fn add_line(&self, order: Uuid, line: Line) -> Result<()> {
        let (events, head) = self
            .0
            .read_with_head(Some(boundary(order)), None, false, None)
            .await?;
        let (mut placed, mut lines) = (false, 0);
        for event in events {
            match serde_json::from_slice(&event.event.data)? {
                Event::OrderPlaced(order) => (placed, lines) = (true, order.lines.len()),
                Event::LineAdded(_) => lines += 1,
            }
        }
        ensure!(placed, Refused::NotPlaced);
        if lines >= LINES_AT_MOST {
            bail!(Refused::TooManyLines);
        }
        let added = Event::LineAdded(LineAdded {
            order_id: order,
            line,
        })
        .of(order)?;
        let condition = DcbAppendCondition::new(boundary(order)).after(head);
        self.0.append(vec![added], Some(condition), None).await?;
        Ok(())
    }

    async fn fill(&self, orders: &[Uuid]) -> Result<()> {
        let fills = orders
            .chunks(STREAMS_AT_ONCE)
            .map(<[Uuid]>::to_vec)
            .map(|orders| async move {
                let mut events = Vec::new();
                for order in orders {
                    events.push(Event::OrderPlaced(OrderPlaced::example(order)).of(order)?);
                    for _ in 1..EVENTS_BEFORE {
                        let added = LineAdded {
                            order_id: order,
                            line: Line::example(),
                        };
                        events.push(Event::LineAdded(added).of(order)?);
                    }
                }
                self.0.append(events, None, None).await?;
                anyhow::Ok(())
            });
        futures::stream::iter(fills)
            .buffer_unordered(4)
            .try_collect()
            .await
    }

    /// Positions are gapless and begin with 1.
    async fn count(&self) -> Result<u64> {
        Ok(self.0.head().await?.unwrap_or(0))
    }
}

fn main() -> ExitCode {
    harness::main::<UmaDb>()
}
