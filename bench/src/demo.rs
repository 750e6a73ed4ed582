//! What `cargo xtask demo` runs once everything is up.
//!
//! Real orders go in over REST and are followed through the log until each is at rest; then single-line orders come as
//! fast as they are acknowledged, and then at a steady rate while probes watch both read models. At the end the demo's own
//! list of acknowledged orders is compared with the log and the query service, and `tailwater verify` compares the log
//! with both models. Whoever else places orders meanwhile does not disturb it.

mod check;
mod folded;
mod follower;
mod ledger;
mod phases;
mod probe;
mod progress;
mod report;

use std::{path::PathBuf, time::Duration};

use anyhow::Context as _;
use uuid::Uuid;

use crate::{
    load::Target,
    orders::{self, Invoices},
};
use follower::Follower;
use ledger::Ledger;
use report::Report;

/// How long orders may take to come to rest once the last one was acknowledged.
const REST: Duration = Duration::from_mins(2);

/// What the demonstration is told.
#[derive(Clone, Debug, clap::Parser)]
#[command(
    name = "demo",
    about = "Real orders through the running pipeline, then load, then a comparison"
)]
pub struct Options {
    /// How many real orders to place; the file is begun again where it has fewer
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..))]
    orders: u32,
    /// Invoices of the same form as bench/data, .csv or .csv.gz
    #[arg(long)]
    file: Option<PathBuf>,
    /// Connections that place single-line orders
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    connections: u16,
    /// How long they do
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Single-line orders a second of the steady phase after it
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// How long the steady phase is
    #[arg(long, default_value_t = 3)]
    rate_seconds: u64,
    /// The command service's base address
    #[arg(long, env = "TAILWATER_COMMAND_URL")]
    command_url: String,
    /// The query service's base address
    #[arg(long, env = "TAILWATER_QUERY_URL")]
    query_url: String,
    /// Kafka's bootstrap servers
    #[arg(long, env = "TAILWATER_KAFKA")]
    kafka: String,
    /// The schema registry's Confluent API
    #[arg(long, env = "TAILWATER_REGISTRY_URL")]
    registry_url: String,
    /// The first part of the topics' names
    #[arg(long, env = "TAILWATER_TOPIC_PREFIX", default_value = "shop")]
    topic_prefix: String,
}

/// What all phases share.
struct Demo {
    options: Options,
    /// Tells this run's keys and customers from those of other runs.
    run: String,
    command: Target,
    query: Target,
    ledger: Ledger,
    follower: Follower,
    report: Report,
}

/// Runs the demonstration; `false` where something differs.
pub async fn run(options: Options) -> anyhow::Result<bool> {
    let invoices = match &options.file {
        Some(file) => orders::from_file(file)?,
        None => orders::embedded()?,
    };
    anyhow::ensure!(!invoices.orders.is_empty(), "there is no order in the file");
    let mut demo = Demo::begin(options).await?;
    let differences = demo.play(&invoices).await?;
    demo.report.print(&differences);
    demo.say_what_next(&invoices);
    Ok(differences.is_empty())
}

impl Demo {
    async fn begin(options: Options) -> anyhow::Result<Self> {
        let codec = eventlog::registry::load_codec(&options.registry_url, &options.topic_prefix, None)
            .await
            .context("cannot get the schemas' ids")?;
        let follower = Follower::begin(&options.kafka, &options.topic_prefix, codec)?;
        Ok(Self {
            run: Uuid::new_v4().simple().to_string()[..8].to_owned(),
            command: Target::new(&options.command_url)?,
            query: Target::new(&options.query_url)?,
            ledger: Ledger::default(),
            follower,
            report: Report::default(),
            options,
        })
    }

    /// All phases, and then the comparisons; says what differs.
    async fn play(&mut self, invoices: &Invoices) -> anyhow::Result<Vec<String>> {
        let count = self.options.orders as usize;
        let chosen: Vec<_> = invoices.orders.iter().cycle().take(count).cloned().collect();
        self.report.left_out = invoices.left_out;
        self.receive(&chosen).await?;
        self.place_real(chosen.clone()).await?;
        self.take_back(&invoices.returns).await?;
        self.rest()?;

        self.receive_for_load().await?;
        self.load().await?;
        self.report.behind_redis = self.probe_once(probe::REDIS).await?;
        self.report.behind_postgres = self.probe_once(probe::POSTGRES).await?;
        self.report.rest_after_load = self.rest()?;
        self.steady().await?;
        self.rest()?;

        self.report.count(&self.follower);
        let mut differences = self.follower.folded.differences(&self.ledger);
        differences.extend(check::query_service(self, &chosen).await?);
        differences.extend(check::verify()?);
        Ok(differences)
    }

    /// Follows the log until no order has a step to take; says how long it took.
    fn rest(&mut self) -> anyhow::Result<Duration> {
        self.follower.until_rest(self.ledger.len(), REST)
    }

    fn say_what_next(&self, invoices: &Invoices) {
        let (command, query) = (&self.options.command_url, &self.options.query_url);
        let Some((order_id, order)) = self.ledger.first().zip(invoices.orders.first()) else {
            return;
        };
        let (line, customer_id) = (&order.lines[0], &order.customer_id);
        let body = format!(
            r#"{{"customer_id":"{customer_id}","currency":"GBP","lines":[{{"sku":"{}","quantity":1,"unit_price_minor":{}}}]}}"#,
            line.sku, line.unit_price_minor
        );
        println!("\nThe pipeline goes on running. Try it:\n");
        println!(
            "  curl -i {command}/v1/orders -H 'Content-Type: application/json' -H 'Idempotency-Key: try-{}' -d '{body}'",
            self.run
        );
        println!("  curl -i {query}/v1/orders/{order_id}");
        println!("  curl -i '{query}/v1/customers/{customer_id}/orders?limit=3'");
        println!("\nStop it with `cargo xtask down`; `cargo xtask up` starts it again with all its data.");
    }
}
