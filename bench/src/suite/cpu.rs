//! `cpu`: processor time of all of our processes together for each command that is decided, appended and projected into both
//! models. A note is one command; an order with one line is three, of which the process manager gives two. The floor is the least of it: a
//! constant answer by the same HTTP server, and each record read twice, by a projector and a query service that look at none.

use anyhow::Context as _;
use serde_json::json;

use super::{
    ROUNDS,
    consumer::read_everything,
    drive::{Tally, as_f64},
    models::{LogEnd, Models},
    report::{Figure, Finding, Goal},
    requests::{fitting_text, note, order, place_orders, receive_stock},
    rig::{CONSTANT, Rig},
    spent::{LOAD, OURS, PerOperation, Spent},
    write::peak,
};
use crate::load::{Request, Target};

/// Orders that notes are put on.
const ORDERS: usize = 30_000;
/// Processes that read each record: the projector and the query service.
const READERS: f64 = 2.0;

/// Runs it.
pub async fn run(rig: &Rig) -> anyhow::Result<Finding> {
    let services = rig.services_for_reads(&[])?;
    let target = Target::new(&services.command_urls()[0])?;
    let text = fitting_text(&rig.codec().await?)?;
    let watched = Watched {
        rig,
        target: &target,
        models: Models::of(&services)?,
        log: LogEnd::of(rig)?,
    };
    receive_stock(&target, "cpu").await?;
    let orders = place_orders(&target, "cpu-order", rig.pace.count(ORDERS)).await?;
    watched
        .spent(note(&target, "cpu-warm-up", &orders, &text))
        .await?;
    let constant = Target::new(&rig.constant_server()?)?;
    let (mut of_notes, mut of_orders) = (Costs::default(), Costs::default());
    let (mut constants, mut readings) = (Vec::new(), Vec::new());
    for round in 0..rig.pace.times(ROUNDS) {
        let make = note(&target, &format!("cpu-note-{round}"), &orders, &text);
        of_notes.push("a note", &watched.spent(make).await?)?;
        let make = order(&target, &format!("cpu-order-{round}"));
        of_orders.push("an order", &watched.spent(make).await?)?;
        let make = note(&constant, "constant", &orders, &text);
        constants.push(watched.of_a_constant(&constant, make).await?);
        readings.push(watched.of_a_reading().await?);
        eprintln!(
            "    a constant answer: {:.1} us, reading a record: {:.1} us",
            constants[round], readings[round]
        );
    }
    let least = |costs: &Costs| -> Vec<f64> {
        let rounds = constants.iter().zip(&readings).zip(&costs.records_each);
        rounds
            .map(|((constant, reading), records)| constant / records + READERS * reading)
            .collect()
    };
    let goal = Goal::AtMost(80.0);
    let what = "processor time of our processes for a projected note";
    let ratio = Figure::of(what, "us", &of_notes.of_a_record, goal);
    let what = "the same for each command of an order";
    let also = vec![
        Figure::of(what, "us", &of_orders.of_a_record, goal),
        Figure::of("floor: of a note", "us", &least(&of_notes), Goal::None),
        Figure::of(
            "floor: of each command of an order",
            "us",
            &least(&of_orders),
            Goal::None,
        ),
    ];
    Ok(Finding::new(
        ratio,
        also,
        json!({
            "processor_us_per_note": of_notes.by_process.raw(),
            "processor_us_per_order": of_orders.by_process.raw(),
            "notes_per_second": of_notes.per_second,
            "orders_per_second": of_orders.per_second,
            "records_per_order": of_orders.records_each,
            "constant_us": constants,
            "bare_reading_us": readings,
        }),
    ))
}

struct Watched<'a> {
    rig: &'a Rig,
    target: &'a Target,
    models: Models,
    log: LogEnd,
}

/// What one round took, until both models had all of it.
struct Round {
    tally: Tally,
    records: u64,
    spent: Spent,
}

impl Watched<'_> {
    async fn spent(&self, make: impl Fn(usize) -> Request + 'static) -> anyhow::Result<Round> {
        let (before, spent) = (self.log.records().await?, self.rig.spent());
        let tally = peak(self.rig.pace, self.target, make).await?;
        super::requests::rest().await;
        let records = self.log.records().await?;
        self.models.follow(records).await?;
        Ok(Round {
            tally,
            records: records - before,
            spent: self.rig.spent().since(&spent),
        })
    }

    /// What a constant answer takes of the server's processor time, in microseconds.
    async fn of_a_constant(
        &self,
        constant: &Target,
        make: impl Fn(usize) -> Request + 'static,
    ) -> anyhow::Result<f64> {
        let before = self.rig.spent();
        let tally = peak(self.rig.pace, constant, make).await?;
        let spent = self.rig.spent().since(&before);
        spent.each_of(CONSTANT, tally.acknowledged_ever)
    }

    /// What it takes a process to read a record, with the client's threads, in microseconds of processor time.
    async fn of_a_reading(&self) -> anyhow::Result<f64> {
        let (records, before) = (self.log.records().await?, self.rig.spent());
        read_everything(self.rig).await?;
        self.rig.spent().since(&before).each_of(LOAD, records)
    }
}

#[derive(Default)]
struct Costs {
    by_process: PerOperation,
    of_a_record: Vec<f64>,
    per_second: Vec<f64>,
    records_each: Vec<f64>,
}

impl Costs {
    fn push(&mut self, what: &str, round: &Round) -> anyhow::Result<()> {
        let operations = round.tally.acknowledged_ever;
        self.by_process.push(what, &round.spent, operations);
        let mut ours = 0.0;
        for name in OURS {
            ours += round
                .spent
                .of(name)
                .context("it works on every command")?
                .as_secs_f64();
        }
        self.of_a_record.push(ours * 1e6 / as_f64(round.records.max(1)));
        self.per_second.push(round.tally.per_second());
        self.records_each
            .push(as_f64(round.records) / as_f64(operations.max(1)));
        Ok(())
    }
}
