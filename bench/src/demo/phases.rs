//! What is sent: stock, real orders, returns, and then load.

use std::{rc::Rc, time::Duration};

use super::{Demo, probe, progress::Progress};
use crate::{
    load::{Driven, Request, Target, closed_loop, each, open_loop},
    orders::{Order, Return, receipts},
    stolen::{self, Ticks},
};

/// Connections for what is not measured.
const CONNECTIONS: usize = 32;
/// SKUs that the load is spread over.
const LOAD_SKUS: usize = 200;
/// What is received of each, more than any load can take.
const LOAD_STOCK: i64 = 1_000_000;
/// What one costs, in pence.
const LOAD_PRICE_MINOR: i64 = 1_000;
/// Customers that the load is spread over.
const LOAD_CUSTOMERS: usize = 1_000;

impl Demo {
    /// Receives what the plan says.
    pub(super) async fn receive(&mut self, orders: &[Order]) -> anyhow::Result<()> {
        let plan: Vec<_> = receipts(orders).into_iter().collect();
        self.send_receipts("receiving stock", "receipt", plan).await
    }

    /// Receives what came back before the last of the chosen orders.
    pub(super) async fn take_back(&mut self, returns: &[Return]) -> anyhow::Result<()> {
        let chosen = self.options.orders as usize;
        let returns = returns.iter().filter(|back| back.orders_before <= chosen);
        let returns: Vec<_> = returns.map(|back| (back.sku.clone(), back.quantity)).collect();
        self.report.returns = returns.len();
        self.send_receipts("taking returns back", "return", returns).await
    }

    /// Receives what the load needs.
    pub(super) async fn receive_for_load(&mut self) -> anyhow::Result<()> {
        let plan = (0..LOAD_SKUS)
            .map(|index| (load_sku(index), LOAD_STOCK))
            .collect();
        self.send_receipts("receiving stock for the load", "load", plan)
            .await
    }

    async fn send_receipts(
        &mut self,
        label: &str,
        kind: &str,
        plan: Vec<(String, i64)>,
    ) -> anyhow::Result<()> {
        let mut progress = Progress::begin(label, plan.len());
        let count = plan.len();
        let make = {
            let (target, run, kind) = (self.command.clone(), self.run.clone(), kind.to_owned());
            move |index: usize| {
                let (sku, quantity): &(String, i64) = &plan[index];
                let path = format!("/v1/stock/{sku}/receipts");
                let key = format!("demo-{run}-{kind}-{index}");
                Request::post(
                    &target,
                    &path,
                    &key,
                    format!(r#"{{"quantity":{quantity}}}"#).as_bytes(),
                )
            }
        };
        let driven = each(&self.command, CONNECTIONS, count, make, progress.setter()).await?;
        progress.end();
        self.report.retries += driven.retries;
        for (_, answer) in driven.answers.iter().filter(|(_, answer)| answer.status != 200) {
            self.ledger
                .faults
                .push(format!("a receipt was not acknowledged: {}", answer.summary()));
        }
        Ok(())
    }

    /// Places the real orders, each once.
    pub(super) async fn place_real(&mut self, orders: Vec<Order>) -> anyhow::Result<()> {
        let mut progress = Progress::begin("placing real orders", orders.len());
        let orders = Rc::new(orders);
        let make = {
            let (target, run, orders) = (self.command.clone(), self.run.clone(), Rc::clone(&orders));
            move |index: usize| {
                // Strings and integers in a derived struct: this cannot fail.
                let body = serde_json::to_vec(&orders[index]).unwrap_or_default();
                Request::post(&target, "/v1/orders", &real_key(&run, index), &body)
            }
        };
        let driven = each(&self.command, CONNECTIONS, orders.len(), make, progress.setter()).await?;
        progress.end();
        self.report.retries += driven.retries;
        self.report.real = orders.len();
        for (index, answer) in &driven.answers {
            self.ledger
                .note(&real_key(&self.run, *index), orders[*index].total_minor(), answer);
        }
        Ok(())
    }

    /// Single-line orders, as fast as they are acknowledged.
    pub(super) async fn load(&mut self) -> anyhow::Result<()> {
        let duration = Duration::from_secs(self.options.seconds);
        let connections = usize::from(self.options.connections);
        let label = format!("placing single-line orders over {connections} connections, {duration:?}");
        let mut progress = Progress::begin(&label, 0);
        let make = single_line(&self.command, &self.run, "load");
        let begin = Ticks::now();
        let driven = closed_loop(&self.command, connections, duration, make, progress.setter()).await?;
        self.report.stolen_full_load = stolen::since(begin);
        progress.end();
        self.report.per_second =
            f64::from(u32::try_from(driven.answers.len())?) / driven.elapsed.as_secs_f64();
        self.report.full_load = driven.latencies.clone();
        self.note_single_lines("load", &driven);
        Ok(())
    }

    /// Single-line orders at a steady rate, while probes watch both models.
    pub(super) async fn steady(&mut self) -> anyhow::Result<()> {
        let (rate, duration) = (self.options.rate, Duration::from_secs(self.options.rate_seconds));
        let mut progress = Progress::begin(&format!("placing {rate} orders a second, {duration:?}"), 0);
        let make = single_line(&self.command, &self.run, "steady");
        let connections = usize::from(self.options.connections);
        let load = open_loop(
            &self.command,
            connections,
            rate,
            duration,
            make,
            progress.setter(),
        );
        let [redis, postgres] = [probe::REDIS, probe::POSTGRES].map(|model| self.probe(model, duration));
        let begin = Ticks::now();
        let (driven, redis, postgres) = tokio::join!(load, redis, postgres);
        self.report.stolen_steady = stolen::since(begin);
        let (driven, redis, postgres) = (driven?, redis?, postgres?);
        progress.end();
        self.report.rate = rate;
        self.report.steady = driven.latencies.clone();
        self.note_single_lines("steady", &driven);
        for (key, answer) in redis.answers.iter().chain(&postgres.answers) {
            self.ledger.note(key, LOAD_PRICE_MINOR, answer);
            self.report.single += 1;
        }
        self.report.visible_redis = redis.latencies;
        self.report.visible_postgres = postgres.latencies;
        Ok(())
    }

    pub(super) fn note_probe(&mut self, key: &str, answer: &crate::load::Response) {
        self.ledger.note(key, LOAD_PRICE_MINOR, answer);
        self.report.single += 1;
    }

    fn note_single_lines(&mut self, kind: &str, driven: &Driven) {
        for (index, answer) in &driven.answers {
            self.ledger.note(
                &format!("demo-{}-{kind}-order-{index}", self.run),
                LOAD_PRICE_MINOR,
                answer,
            );
        }
        self.report.single += driven.answers.len();
        self.report.retries += driven.retries;
    }
}

/// The key of a real order.
pub(super) fn real_key(run: &str, index: usize) -> String {
    format!("demo-{run}-order-{index}")
}

fn load_sku(index: usize) -> String {
    format!("load-{:03}", index % LOAD_SKUS)
}

/// The body of the n-th single-line order.
pub(super) fn single_line_body(run: &str, index: usize) -> String {
    let (customer, sku) = (index % LOAD_CUSTOMERS, load_sku(index));
    format!(
        r#"{{"customer_id":"load-{run}-{customer}","currency":"GBP","lines":[{{"sku":"{sku}","quantity":1,"unit_price_minor":{LOAD_PRICE_MINOR}}}]}}"#
    )
}

fn single_line(target: &Target, run: &str, kind: &str) -> impl Fn(usize) -> Request + 'static {
    let (target, run, kind) = (target.clone(), run.to_owned(), kind.to_owned());
    move |index| {
        let key = format!("demo-{run}-{kind}-order-{index}");
        Request::post(
            &target,
            "/v1/orders",
            &key,
            single_line_body(&run, index).as_bytes(),
        )
    }
}
