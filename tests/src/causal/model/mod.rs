//! What has happened before what, and what a reader must therefore see.
//!
//! The model is told of each write before it is sent and when it is acknowledged, and of each read before it is sent and
//! when it is answered. It knows nothing of tokens, partitions or models: only which aggregate had which sequence, and which
//! writes were made by somebody who knew what. Orders of long ago are forgotten, and nothing is required of them any more.

mod knowledge;
mod order;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

pub use knowledge::{Knowledge, Known, Thing, Why};
pub use order::{Reservation, ShownNote, ShownOrder};
use uuid::Uuid;

use order::Order;

/// A rule that an answer can break.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// A caller sees what it wrote.
    ReadYourWrites,
    /// A caller never sees less than it has seen.
    MonotonicReads,
    /// A write comes after everything that its caller had seen.
    WritesFollowReads,
    /// Who sees an effect sees its cause.
    CausalOrder,
    /// A token carries what its first holder knew.
    HandedOver,
    /// A strong read shows everything that was acknowledged before it began.
    Strong,
    /// An answer's token is never behind the request's.
    Token,
    /// The same aggregate at the same sequence is the same for everybody, and has what was written to it.
    Content,
    /// A status, header or body that the contract does not allow.
    Contract,
}

/// A rule that was broken, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    /// Which.
    pub rule: Rule,
    /// How.
    pub what: String,
}

impl Breach {
    /// A breach of that rule.
    pub fn new(rule: Rule, what: impl Into<String>) -> Self {
        Self {
            rule,
            what: what.into(),
        }
    }
}

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// No promise.
    Eventual,
    /// At least what the caller knows.
    Causal,
    /// That, and everything that was acknowledged.
    Strong,
}

/// What is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// One order.
    Order(u32),
    /// One SKU.
    Stock(u32),
    /// All orders of a customer.
    Customer(Arc<str>),
}

/// What an answer must show at least: taken before the request is sent.
#[derive(Clone, Debug, Default)]
pub struct Expected(BTreeMap<Thing, Known>);

impl Expected {
    /// What is asked of one thing.
    pub fn least(&self, thing: Thing) -> Option<Known> {
        self.0.get(&thing).copied()
    }

    /// Why something is asked, of each thing.
    pub fn reasons(&self) -> impl Iterator<Item = Why> {
        self.0.values().map(|known| known.why)
    }
}

/// A write that is under way: what its sequence must be above.
#[derive(Clone, Copy, Debug)]
pub struct Writing {
    thing: Thing,
    acknowledged: u64,
    known: u64,
}

/// One SKU.
#[derive(Debug, Default)]
struct Stock {
    acknowledged: u64,
    /// What was shown at each sequence.
    views: HashMap<u64, u64>,
}

/// All that has happened.
#[derive(Debug)]
pub struct Model {
    orders: VecDeque<Order>,
    /// The number of the first order that is remembered.
    first: u32,
    remembered: usize,
    by_id: HashMap<Uuid, u32>,
    stock: Vec<Stock>,
    notes: u64,
}

impl Model {
    /// A model of that many SKUs, which remembers that many orders.
    pub fn new(skus: u32, remembered: usize) -> Self {
        Self {
            orders: VecDeque::new(),
            first: 0,
            remembered,
            by_id: HashMap::new(),
            stock: (0..skus).map(|_| Stock::default()).collect(),
            notes: 0,
        }
    }

    /// How many orders there ever were.
    pub fn placed_count(&self) -> u32 {
        self.first + u32::try_from(self.orders.len()).unwrap_or(u32::MAX)
    }

    /// The number of the oldest order that is remembered.
    pub fn oldest(&self) -> u32 {
        self.first
    }

    /// An order's id and customer, once it was acknowledged and while it is remembered.
    pub fn acknowledged_order(&self, number: u32) -> Option<(Uuid, Arc<str>)> {
        let order = self.order(number).filter(|order| order.acknowledged > 0)?;
        Some((order.id, Arc::clone(&order.customer)))
    }

    fn order(&self, number: u32) -> Option<&Order> {
        self.orders.get(number.checked_sub(self.first)? as usize)
    }

    fn order_mut(&mut self, number: u32) -> Option<&mut Order> {
        self.orders.get_mut(number.checked_sub(self.first)? as usize)
    }

    /// An order is about to be placed by somebody who knows `with`; its number.
    pub fn placing(&mut self, id: Uuid, customer: Arc<str>, skus: &[u32], with: &Knowledge) -> u32 {
        let number = self.placed_count();
        let lines = skus
            .iter()
            .map(|sku| (*sku, self.stock[*sku as usize].acknowledged))
            .collect();
        self.orders
            .push_back(Order::new(id, customer, lines, with.clone()));
        self.by_id.insert(id, number);
        while self.orders.len() > self.remembered {
            if let Some(forgotten) = self.orders.pop_front() {
                self.by_id.remove(&forgotten.id);
            }
            self.first += 1;
        }
        number
    }

    /// The order was acknowledged.
    pub fn placed(&mut self, number: u32, sequence: u64, knowledge: &mut Knowledge) -> Result<(), Breach> {
        if let Some(order) = self.order_mut(number) {
            order.acknowledged = order.acknowledged.max(sequence);
        }
        knowledge.learn(Thing::Order(number), sequence, Why::Own);
        if sequence == 1 {
            Ok(())
        } else {
            Err(Breach::new(
                Rule::Content,
                format!("a new order has sequence {sequence}"),
            ))
        }
    }

    /// A note is about to be put on an order by somebody who knows `with`; its number, which is its text.
    pub fn noting(&mut self, number: u32, with: &Knowledge) -> (u64, Writing) {
        self.notes += 1;
        let note = self.notes;
        let writing = self.writing(Thing::Order(number), with);
        if let Some(order) = self.order_mut(number) {
            order.noting(note, with.clone());
        }
        (note, writing)
    }

    /// A write is about to be sent by somebody who knows `with`.
    pub fn writing(&self, thing: Thing, with: &Knowledge) -> Writing {
        let acknowledged = match thing {
            Thing::Order(number) => self.order(number).map_or(0, |order| order.acknowledged),
            Thing::Stock(sku) => self.stock[sku as usize].acknowledged,
        };
        Writing {
            thing,
            acknowledged,
            known: with.least(thing).map_or(0, |known| known.sequence),
        }
    }

    /// A write was acknowledged; `note` where it was one.
    pub fn written(
        &mut self,
        writing: Writing,
        note: Option<(u64, Uuid)>,
        sequence: u64,
        knowledge: &mut Knowledge,
    ) -> Result<(), Breach> {
        let Writing {
            thing,
            acknowledged,
            known,
        } = writing;
        match thing {
            Thing::Order(number) => {
                if let Some(order) = self.order_mut(number) {
                    order.acknowledged = order.acknowledged.max(sequence);
                    if let Some((note, id)) = note {
                        order.noted(note, id, sequence);
                    }
                }
            }
            Thing::Stock(sku) => {
                let stock = &mut self.stock[sku as usize];
                stock.acknowledged = stock.acknowledged.max(sequence);
            }
        }
        knowledge.learn(thing, sequence, Why::Own);
        if sequence <= known {
            let what = format!("{thing} was known at {known}, a write after that got {sequence}");
            return Err(Breach::new(Rule::WritesFollowReads, what));
        }
        if sequence <= acknowledged {
            let what =
                format!("{thing} was acknowledged at {acknowledged}, a write after that got {sequence}");
            return Err(Breach::new(Rule::Content, what));
        }
        Ok(())
    }

    /// What an answer must show to somebody who knows `knowledge`.
    pub fn expected(&self, target: &Target, level: Level, knowledge: &Knowledge) -> Expected {
        let mut least = BTreeMap::new();
        if level != Level::Eventual {
            least.extend(
                knowledge
                    .iter()
                    .filter(|(thing, _)| self.concerns(target, *thing)),
            );
        }
        if level == Level::Strong {
            for (thing, sequence) in self.acknowledged(target) {
                let known = least.entry(thing).or_insert(Known::NOTHING);
                if known.sequence < sequence {
                    *known = Known {
                        sequence,
                        why: Why::Acknowledged,
                    };
                }
            }
        }
        Expected(least)
    }

    fn concerns(&self, target: &Target, thing: Thing) -> bool {
        match (target, thing) {
            (Target::Order(wanted), Thing::Order(number)) => *wanted == number,
            (Target::Stock(wanted), Thing::Stock(sku)) => *wanted == sku,
            (Target::Customer(customer), Thing::Order(number)) => self
                .order(number)
                .is_some_and(|order| order.customer == *customer),
            _ => false,
        }
    }

    fn acknowledged(&self, target: &Target) -> Vec<(Thing, u64)> {
        let orders = (self.first..).zip(&self.orders);
        match target {
            Target::Order(wanted) => {
                let found = self.order(*wanted).filter(|order| order.acknowledged > 0);
                found
                    .map(|order| (Thing::Order(*wanted), order.acknowledged))
                    .into_iter()
                    .collect()
            }
            Target::Stock(sku) => {
                let acknowledged = self.stock[*sku as usize].acknowledged;
                Vec::from_iter((acknowledged > 0).then_some((Thing::Stock(*sku), acknowledged)))
            }
            Target::Customer(customer) => orders
                .filter(|(_, order)| order.customer == *customer && order.acknowledged > 0)
                .map(|(number, order)| (Thing::Order(number), order.acknowledged))
                .collect(),
        }
    }

    /// An answer showed an order, at a sequence and perhaps with all it has; or that there is none.
    pub fn saw_order(
        &mut self,
        number: u32,
        expected: &Expected,
        shown: Option<&ShownOrder>,
        knowledge: &mut Knowledge,
    ) -> Result<(), Breach> {
        let thing = Thing::Order(number);
        enough(expected, thing, shown.map_or(0, |shown| shown.sequence))?;
        let (Some(shown), Some(order)) = (shown, self.order_mut(number)) else {
            return Ok(());
        };
        order.check(thing, shown)?;
        knowledge.learn(thing, shown.sequence, Why::Read);
        order.teach(shown, knowledge);
        Ok(())
    }

    /// An answer showed stock at a sequence, with a hash of the rest; or that there is none.
    pub fn saw_stock(
        &mut self,
        sku: u32,
        expected: &Expected,
        shown: Option<(u64, Option<u64>)>,
        knowledge: &mut Knowledge,
    ) -> Result<(), Breach> {
        let thing = Thing::Stock(sku);
        enough(expected, thing, shown.map_or(0, |(sequence, _)| sequence))?;
        let Some((sequence, hash)) = shown else {
            return Ok(());
        };
        if let Some(hash) = hash {
            same(&mut self.stock[sku as usize].views, thing, sequence, hash)?;
        }
        knowledge.learn(thing, sequence, Why::Read);
        Ok(())
    }

    /// An answer showed all orders of a customer.
    pub fn saw_customer(
        &mut self,
        expected: &Expected,
        shown: &[(Uuid, ShownOrder)],
        knowledge: &mut Knowledge,
    ) -> Result<(), Breach> {
        let numbered: Vec<(u32, &ShownOrder)> = shown
            .iter()
            .filter_map(|(id, shown)| Some((*self.by_id.get(id)?, shown)))
            .collect();
        for (thing, known) in &expected.0 {
            let found = numbered
                .iter()
                .find(|(number, _)| Thing::Order(*number) == *thing);
            let sequence = found.map_or(0, |(_, shown)| shown.sequence);
            // What was forgotten meanwhile cannot be found by its id.
            let forgotten = matches!(thing, Thing::Order(number) if *number < self.first);
            if sequence < known.sequence && !forgotten {
                return Err(short(*thing, *known, sequence));
            }
        }
        for (number, shown) in numbered {
            self.saw_order(number, &Expected::default(), Some(shown), knowledge)?;
        }
        Ok(())
    }

    /// Forgets of a client's knowledge what is forgotten here.
    pub fn prune(&self, knowledge: &mut Knowledge) {
        knowledge.forget_orders_before(self.first);
    }
}

fn enough(expected: &Expected, thing: Thing, sequence: u64) -> Result<(), Breach> {
    match expected.least(thing) {
        Some(known) if sequence < known.sequence => Err(short(thing, known, sequence)),
        _ => Ok(()),
    }
}

fn short(thing: Thing, known: Known, sequence: u64) -> Breach {
    let what = format!(
        "{thing} must be at {} at least ({}), and is shown at {sequence}",
        known.sequence, known.why
    );
    Breach::new(known.why.rule(), what)
}

/// Whether what is shown at a sequence is what was shown there before.
fn same(views: &mut HashMap<u64, u64>, thing: Thing, sequence: u64, hash: u64) -> Result<(), Breach> {
    if *views.entry(sequence).or_insert(hash) == hash {
        Ok(())
    } else {
        Err(Breach::new(
            Rule::Content,
            format!("{thing} at {sequence} is not what it was before at {sequence}"),
        ))
    }
}
