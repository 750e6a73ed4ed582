//! The writer's own state: what is asked last, where no model came far enough in time.
//!
//! Writers have one order or one SKU at a time as it is now, and no lists. What they have folded is acknowledged, and as far as the token by
//! their own word. It is never kept: nothing says how the models and the tail stand to it.

use std::sync::Arc;
use std::time::Duration;

use eventlog::{Positions, TopicPartition};
use read_model::view::OrderDocument;
use read_model::{Document, StockView, StoreError};

use super::{Reads, Served, Source};
use crate::answers::answer;
use crate::documents::json;
use crate::http::Known;
use crate::metrics;
use crate::models::{Body, Found, Query};
use crate::writers::WritersError;

/// How long a writer may take, after the caller's own patience.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Why the writer gives no answer.
#[derive(Debug, thiserror::Error)]
enum NoAnswer {
    #[error(transparent)]
    Writers(#[from] WritersError),
    #[error(transparent)]
    Unwritable(#[from] StoreError),
}

impl Reads {
    /// What the writer says, as far as is wanted; none where it cannot be asked, or does not answer.
    pub(super) async fn of_writer(
        &self,
        known: &Arc<Known>,
        query: &Query,
        wanted: &Positions,
    ) -> Option<Served> {
        let found = match query {
            Query::Order(_) | Query::Stock(_) => {
                self.ask_writer(query, wanted, known.identity.partitions).await
            }
            _ => return None,
        };
        match found {
            Ok(found) => {
                let (tags, identity) = (known.cache.tail().tags(), &known.identity);
                let entry = answer(
                    query,
                    found,
                    tags.generation(),
                    tags,
                    &identity.key,
                    identity.partitions,
                );
                metrics::served_by_writer();
                Some(Served {
                    source: Source::Writer,
                    entry,
                })
            }
            Err(error) => {
                tracing::debug!(%error, "query.writer.failed");
                metrics::writer_failed();
                None
            }
        }
    }

    async fn ask_writer(&self, query: &Query, wanted: &Positions, count: i32) -> Result<Found, NoAnswer> {
        let at_least = |partition: TopicPartition| wanted.get(partition).unwrap_or(0);
        let depends = query.partitions(count);
        let at_least = depends.first().copied().map_or(0, at_least);
        let (partition, position, document) = match query {
            Query::Order(id) => {
                let read = self.writers.order(*id, at_least, TIMEOUT).await?;
                let document = match &read.value {
                    Some(order) => Some(Document {
                        sequence: order.sequence,
                        causes: read.causes,
                        json: json(&OrderDocument::of_state(*id, order))?,
                    }),
                    None => None,
                };
                (read.partition, read.next_offset, document)
            }
            Query::Stock(sku) => {
                let read = self.writers.stock(sku, at_least, TIMEOUT).await?;
                let document = match &read.value {
                    Some(stock) => Some(Document {
                        sequence: stock.sequence,
                        causes: read.causes,
                        json: json(&StockView::of_state(&**sku, stock))?,
                    }),
                    None => None,
                };
                (read.partition, read.next_offset, document)
            }
            _ => return Err(WritersError::Unavailable.into()),
        };
        Ok(Found {
            positions: [(partition, position)].into_iter().collect(),
            body: Body::Document(document),
        })
    }
}
