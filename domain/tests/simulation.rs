//! Orders and stock together, driven by the process manager through every kind of interruption.

use std::collections::{BTreeMap, HashMap};

use domain::{
    Command, Context, OrderCommand, OrderStatus, Reason, Reservation, State, StockCommand, Target, Task,
    answer, decide, evolve, outstanding,
};
use proptest::prelude::*;
use schemas::{Event, Timestamp, ids, orders::PlacedLine};
use uuid::Uuid;

const SKUS: u8 = 4;

/// One thing that happens.
#[derive(Clone, Debug)]
enum Op {
    Place {
        lines: Vec<(u8, i64)>,
    },
    Receive {
        sku: u8,
        quantity: i64,
    },
    Adjust {
        sku: u8,
        quantity: i64,
    },
    Pay(prop::sample::Index),
    Ship(prop::sample::Index),
    Cancel(prop::sample::Index),
    Expire(prop::sample::Index),
    Note(prop::sample::Index),
    /// The process manager takes a step; it may die before it records the answer, and forget that it asked.
    Step {
        which: prop::sample::Index,
        dies: bool,
        forgets: bool,
    },
    /// A step that was taken some time ago comes again, and its answer too.
    Repeat(prop::sample::Index),
}

fn op() -> impl Strategy<Value = Op> {
    let which = any::<prop::sample::Index>;
    let line = (0..=SKUS, 1..6_i64);
    prop_oneof![
        4 => prop::collection::vec(line, 1..6).prop_map(|lines| Op::Place { lines }),
        2 => (0..SKUS, 1..20_i64).prop_map(|(sku, quantity)| Op::Receive { sku, quantity }),
        1 => (0..SKUS, -8..8_i64).prop_map(|(sku, quantity)| Op::Adjust { sku, quantity }),
        3 => which().prop_map(Op::Pay),
        2 => which().prop_map(Op::Ship),
        2 => which().prop_map(Op::Cancel),
        1 => which().prop_map(Op::Expire),
        1 => which().prop_map(Op::Note),
        20 => (which(), prop::bool::weighted(0.2), any::<bool>())
            .prop_map(|(which, dies, forgets)| Op::Step { which, dies, forgets }),
        3 => which().prop_map(Op::Repeat),
    ]
}

/// The engine in miniature: it folds what it decides, and remembers the outcome of each command id.
#[derive(Default)]
struct Shop {
    states: BTreeMap<Target, State>,
    outcomes: HashMap<Uuid, Result<Event, Reason>>,
    orders: Vec<Uuid>,
    taken: Vec<(Uuid, Task)>,
    commands: u128,
}

impl Shop {
    fn submit(&mut self, command: impl Into<Command>) -> Result<Event, Reason> {
        self.commands += 1;
        self.submit_as(Uuid::from_u128(self.commands), &command.into())
    }

    fn submit_as(&mut self, command_id: Uuid, command: &Command) -> Result<Event, Reason> {
        if let Some(outcome) = self.outcomes.get(&command_id) {
            return outcome.clone();
        }
        let target = command.target();
        let state = self.states.remove(&target);
        let context = Context {
            command_id,
            at: Timestamp(self.outcomes.len().try_into().unwrap_or(i64::MAX)),
        };
        let outcome = decide(state.as_ref(), command, &context).map_err(|refusal| refusal.reason);
        let state = match &outcome {
            Ok(event) => {
                assert_eq!(event.topic(), target.topic);
                assert_eq!(event.aggregate_id(), target.key);
                let before = state.as_ref().map_or(0, State::sequence);
                let after =
                    evolve(state, event, ids::event_id(command_id)).expect("what was decided can be folded");
                assert_eq!(after.as_ref().map(State::sequence), Some(before + 1));
                after
            }
            Err(_) => state,
        };
        if let Some(state) = state {
            check(&state);
            self.states.insert(target, state);
        }
        self.outcomes.insert(command_id, outcome.clone());
        outcome
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Place { lines } => {
                self.commands += 1;
                let order_id = Uuid::from_u128(self.commands << 64);
                self.orders.push(order_id);
                let lines = lines
                    .into_iter()
                    .map(|(sku, quantity)| PlacedLine {
                        sku: name(sku),
                        quantity,
                        unit_price_minor: quantity * 3,
                    })
                    .collect();
                let (customer_id, currency) = ("C".into(), "GBP".into());
                let placed = self.submit(OrderCommand::Place {
                    order_id,
                    customer_id,
                    currency,
                    lines,
                });
                assert!(placed.is_ok());
            }
            Op::Receive { sku, quantity } => {
                let sku = name(sku);
                assert!(self.submit(StockCommand::Receive { sku, quantity }).is_ok());
            }
            Op::Adjust { sku, quantity } => {
                let (sku, reason) = (name(sku), "r".into());
                let _ = self.submit(StockCommand::Adjust {
                    sku,
                    quantity,
                    reason,
                });
            }
            Op::Step { which, dies, forgets } => self.step(which, dies, forgets),
            Op::Repeat(which) => self.repeat(which),
            Op::Pay(which) => self.order_command(which, |order_id, amount_minor| OrderCommand::Pay {
                order_id,
                amount_minor,
                reference: "r".into(),
            }),
            Op::Ship(which) => self.order_command(which, |order_id, _| OrderCommand::Ship {
                order_id,
                carrier: "c".into(),
                tracking_code: "t".into(),
            }),
            Op::Cancel(which) => {
                self.order_command(which, |order_id, _| OrderCommand::Cancel {
                    order_id,
                    reason: "r".into(),
                });
            }
            Op::Expire(which) => {
                let due = Timestamp(0);
                self.order_command(which, |order_id, _| OrderCommand::Expire { order_id, due });
            }
            Op::Note(which) => self.order_command(which, |order_id, _| OrderCommand::AddNote {
                order_id,
                note_id: order_id,
                author: "a".into(),
                text: "t".into(),
                reply_to: None,
            }),
        }
    }

    fn order_command(&mut self, which: prop::sample::Index, command: impl Fn(Uuid, i64) -> OrderCommand) {
        if self.orders.is_empty() {
            return;
        }
        let order_id = self.orders[which.index(self.orders.len())];
        let total_minor = self.order(order_id).placed.total_minor;
        let _ = self.submit(command(order_id, total_minor));
    }

    fn order(&self, order_id: Uuid) -> &domain::Order {
        let due = Timestamp(0);
        let target = Command::from(OrderCommand::Expire { order_id, due }).target();
        self.states[&target].as_order().expect("an order")
    }

    /// Everything that all orders ask for.
    fn tasks(&self) -> Vec<(Uuid, Task)> {
        let of = |&id: &Uuid| {
            outstanding(id, self.order(id))
                .into_iter()
                .map(move |task| (id, task))
        };
        self.orders.iter().flat_map(of).collect()
    }

    /// Asks the stock; "already done" and success are what `answer` is told.
    fn ask(&mut self, task: &Task) -> Result<(), &'static str> {
        self.submit_as(task.command_id(), &task.command.clone().into())
            .map(|_| ())
            .map_err(Reason::slug)
    }

    fn step(&mut self, which: prop::sample::Index, dies: bool, forgets: bool) {
        let tasks = self.tasks();
        if tasks.is_empty() {
            return;
        }
        let (order_id, task) = tasks[which.index(tasks.len())].clone();
        let outcome = self.ask(&task);
        if dies {
            // Its command id was forgotten too, as after 24 hours: the state must be enough.
            if forgets {
                self.outcomes.remove(&task.command_id());
            }
            return;
        }
        let recorded = self.submit(answer(&task, order_id, outcome));
        assert!(recorded.is_ok(), "{task:?} {outcome:?} {recorded:?}");
        self.taken.push((order_id, task));
    }

    /// A step that was recorded long ago changes nothing, nor does its record.
    fn repeat(&mut self, which: prop::sample::Index) {
        if self.taken.is_empty() {
            return;
        }
        let (order_id, task) = self.taken[which.index(self.taken.len())].clone();
        let before = self.states.clone();
        let outcome = self.ask(&task);
        assert_eq!(
            self.submit(answer(&task, order_id, outcome)),
            Err(Reason::AlreadyDone)
        );
        assert_eq!(self.states, before);
    }

    /// Takes what steps there are until there are none.
    fn come_to_rest(&mut self) {
        let limit = 4 * self
            .orders
            .iter()
            .map(|&id| self.order(id).lines().len())
            .sum::<usize>()
            + 1;
        for _ in 0..limit {
            let tasks = self.tasks();
            if tasks.is_empty() {
                return;
            }
            for (order_id, task) in tasks {
                let outcome = self.ask(&task);
                assert!(self.submit(answer(&task, order_id, outcome)).is_ok());
            }
        }
        panic!("orders do not come to rest: {:?}", self.tasks());
    }

    /// Nothing is pending, and each SKU has reserved exactly what open orders hold.
    fn check_at_rest(&self) {
        let mut held: BTreeMap<String, i64> = BTreeMap::new();
        for &order_id in &self.orders {
            let order = self.order(order_id);
            assert_ne!(order.status, OrderStatus::Pending);
            for line in order.lines() {
                let expected: &[Reservation] = match order.status {
                    OrderStatus::Confirmed | OrderStatus::Paid => &[Reservation::Reserved],
                    OrderStatus::Shipped => &[Reservation::Shipped],
                    _ => &[Reservation::Released, Reservation::Refused],
                };
                assert!(
                    expected.contains(&line.reservation),
                    "{:?} {:?}",
                    order.status,
                    line.reservation
                );
                if line.reservation == Reservation::Reserved {
                    *held.entry(line.placed.sku.clone()).or_default() += line.placed.quantity;
                }
            }
        }
        let stocks = self
            .states
            .iter()
            .filter_map(|(target, state)| Some((&target.key, state.as_stock()?)));
        for (sku, stock) in stocks {
            assert_eq!(stock.reserved, held.remove(sku).unwrap_or(0), "{sku}");
        }
        assert!(held.is_empty(), "{held:?} was reserved where nothing is");
    }
}

fn name(sku: u8) -> String {
    format!("SKU-{sku}")
}

/// What holds of every state at any time.
fn check(state: &State) {
    match state {
        State::Order(order) => {
            let sum: i64 = order
                .lines()
                .map(|line| line.placed.quantity * line.placed.unit_price_minor)
                .sum();
            assert_eq!(order.placed.total_minor, sum);
            let left = outstanding(Uuid::nil(), order).len();
            assert_eq!(order.steps_left() as usize, left);
            if let Some(payment) = &order.payment {
                assert_eq!(payment.amount_minor, sum);
            }
        }
        State::Stock(stock) => {
            assert!(
                stock.on_hand >= 0 && stock.reserved >= 0 && stock.available() >= 0,
                "{stock:?}"
            );
            assert_eq!(stock.reservations.values().sum::<i64>(), stock.reserved);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_orders_come_to_rest(ops in prop::collection::vec(op(), 0..120)) {
        let mut shop = Shop::default();
        for op in ops {
            shop.apply(op);
        }
        shop.come_to_rest();
        shop.check_at_rest();
    }
}
