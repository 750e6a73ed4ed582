//! The log, folded by the domain.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use domain::{Order, OrderStatus, State, Stock};
use eventlog::{Chain, Checkpoint, LogConfig, LogReader, LogRecord, TopicPartition, Verdict};
use read_model::KeptEvent;
use read_model::projection::sales::Amount;
use read_model::snapshot::{self, SoldKey};
use read_model::view::Day;
use schemas::{Codec, Event};
use uuid::Uuid;

/// Without a record for that long, the log cannot be read.
const STALLED: Duration = Duration::from_secs(20);

/// What the effective records have made.
#[derive(Debug, Default)]
pub struct Folded {
    /// Where each partition's fold stands.
    pub checkpoints: BTreeMap<TopicPartition, Checkpoint>,
    /// Orders by id.
    pub orders: HashMap<Uuid, Order>,
    /// Stock by SKU.
    pub stock: HashMap<String, Stock>,
    /// The partition that each order was placed in.
    pub order_partitions: HashMap<Uuid, i32>,
    /// The digest of each event of an order, by partition and offset.
    pub order_events: HashMap<(i32, i64), u64>,
    /// Effective events, refusals and barriers left out.
    pub events: u64,
    /// Effective refusals.
    pub refusals: u64,
    /// Void records.
    pub void: u64,
    /// Commands with more than one effective record: always none, or the chain rule is broken.
    pub doubled: u64,
}

/// Folds each partition up to its offset.
pub fn fold(log: &LogConfig, codec: &Codec, upto: &BTreeMap<TopicPartition, i64>) -> anyhow::Result<Folded> {
    let mut folded = Folded::default();
    let mut commands = std::collections::HashSet::new();
    let mut chains: BTreeMap<TopicPartition, Chain> = BTreeMap::new();
    let mut left: i64 = 0;
    let mut assignment = Vec::new();
    for (partition, end) in upto {
        chains.insert(*partition, Chain::from(Checkpoint::BEGINNING));
        left += end;
        if *end > 0 {
            assignment.push((*partition, 0));
        }
    }
    let mut reader = LogReader::new(log, "verify")?;
    reader.assign(&assignment)?;
    let mut heard = Instant::now();
    while left > 0 {
        let Some((partition, record)) = reader.poll(Duration::from_millis(100))? else {
            if heard.elapsed() > STALLED {
                bail!("{left} records of the log cannot be read");
            }
            continue;
        };
        heard = Instant::now();
        if record.offset >= upto.get(&partition).copied().unwrap_or(0) {
            continue;
        }
        left -= 1;
        let Some(chain) = chains.get_mut(&partition) else {
            continue;
        };
        take(&mut folded, &mut commands, codec, chain, partition, &record)
            .with_context(|| format!("{partition:?} at offset {}", record.offset))?;
    }
    folded.checkpoints = chains
        .into_iter()
        .map(|(partition, chain)| (partition, chain.checkpoint()))
        .collect();
    Ok(folded)
}

fn take(
    folded: &mut Folded,
    commands: &mut std::collections::HashSet<Uuid>,
    codec: &Codec,
    chain: &mut Chain,
    partition: TopicPartition,
    record: &LogRecord,
) -> anyhow::Result<()> {
    let Verdict::Effective(envelope) = chain.judge(record) else {
        folded.void += 1;
        return Ok(());
    };
    if !envelope.command_id.is_nil() && !commands.insert(envelope.command_id) {
        folded.doubled += 1;
    }
    let event = codec.decode(partition.topic, &record.value)?;
    if !event.changes_state() {
        folded.refusals += u64::from(!envelope.command_id.is_nil());
        return Ok(());
    }
    folded.events += 1;
    match &event {
        Event::Order(order) => {
            let id = order.order_id().context("an order's event names no order")?;
            let state = folded.orders.remove(&id).map(State::Order);
            let Some(State::Order(state)) = domain::evolve(state, &event, envelope.event_id)? else {
                return Ok(());
            };
            let kept = KeptEvent {
                order_id: id,
                partition: partition.partition,
                offset: record.offset,
                sequence: state.sequence,
                command_id: envelope.command_id,
                causes: &envelope.causes,
                event: order,
            };
            let place = (partition.partition, record.offset);
            folded.order_events.insert(place, snapshot::digest(&kept)?);
            folded.order_partitions.entry(id).or_insert(partition.partition);
            folded.orders.insert(id, state);
        }
        Event::Stock(stock) => {
            let sku = stock.sku().context("a stock event names no SKU")?.to_owned();
            let state = folded.stock.remove(&sku).map(State::Stock);
            if let Some(State::Stock(stock)) = domain::evolve(state, &event, envelope.event_id)? {
                folded.stock.insert(sku, stock);
            }
        }
    }
    Ok(())
}

impl Folded {
    /// What was sold: the lines of confirmed, paid and shipped orders, by the UTC day on which they were placed.
    pub fn sales(&self) -> HashMap<SoldKey, Amount> {
        let mut sales: HashMap<SoldKey, Amount> = HashMap::new();
        for (id, order) in &self.orders {
            match order.status {
                OrderStatus::Confirmed | OrderStatus::Paid | OrderStatus::Shipped => {}
                OrderStatus::Pending
                | OrderStatus::Rejected
                | OrderStatus::Cancelled
                | OrderStatus::Expired => {
                    continue;
                }
            }
            let partition = self.order_partitions.get(id).copied().unwrap_or(-1);
            for line in &order.placed.lines {
                let day = Day::of(order.placed.at);
                let key = (partition, day, line.sku.clone(), order.placed.currency.clone());
                let amount = sales.entry(key).or_default();
                amount.quantity += i128::from(line.quantity);
                amount.revenue_minor += i128::from(line.quantity.saturating_mul(line.unit_price_minor));
            }
        }
        sales.retain(|_, amount| *amount != Amount::default());
        sales
    }

    /// How many orders have each status.
    pub fn statuses(&self) -> BTreeMap<&'static str, usize> {
        let all = [
            OrderStatus::Pending,
            OrderStatus::Confirmed,
            OrderStatus::Rejected,
            OrderStatus::Paid,
            OrderStatus::Shipped,
            OrderStatus::Cancelled,
            OrderStatus::Expired,
        ];
        let mut counts: BTreeMap<&'static str, usize> =
            all.iter().map(|status| (status.as_str(), 0)).collect();
        for order in self.orders.values() {
            *counts.entry(order.status.as_str()).or_default() += 1;
        }
        counts
    }

    /// SKUs whose `reserved` is not the sum over the open orders' reserved lines. At rest there is none; while steps of
    /// the process manager are under way there may be some.
    pub fn leaks(&self) -> Vec<String> {
        let mut open: HashMap<&str, i64> = HashMap::new();
        for order in self.orders.values() {
            for line in order
                .lines()
                .filter(|line| line.reservation == domain::Reservation::Reserved)
            {
                *open.entry(&line.placed.sku).or_default() += line.placed.quantity;
            }
        }
        self.stock
            .iter()
            .filter(|(sku, stock)| stock.reserved != open.get(sku.as_str()).copied().unwrap_or(0))
            .map(|(sku, stock)| {
                let open = open.get(sku.as_str()).copied().unwrap_or(0);
                format!("{sku}: reserved {}, open orders hold {open}", stock.reserved)
            })
            .collect()
    }

    /// Orders with steps that the process manager has not carried out yet.
    pub fn unsettled(&self) -> usize {
        self.orders
            .values()
            .filter(|order| order.steps_left() > 0)
            .count()
    }
}
