//! Processor time by process: what an operation costs the load generator, the services, the broker and the databases. And by thread
//! within one of them: where in it the time goes.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    time::Duration,
};

use anyhow::Context as _;
use devstack::process::{Processes, State};
use serde_json::{Value, json};

use super::drive::as_f64;

/// The kernel tells processes' times in hundredths of a second, on every architecture that it still has (`USER_HZ`, proc(5)).
const TICK: Duration = Duration::from_millis(10);

/// The load generator's name.
pub const LOAD: &str = "load";
/// The thread that takes a producer's delivery reports, as far as the kernel keeps its name.
const POLLING: &str = "producer pollin";
/// The processes that are ours, where each service runs once; the broker, the databases and the load generator are others'.
pub const OURS: [&str; 3] = ["command-service-1", "projector-1", "query-service-1"];

/// Processor time, user's and system's, of named processes with all that they started. The load generator is alone: what it
/// starts is either named, or what the pipeline is compared with. Or of the threads of one process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spent(BTreeMap<String, Duration>);

impl Spent {
    /// Since each of them began.
    pub fn so_far(processes: &Processes) -> Self {
        let all = Lives::now();
        let mut spent = BTreeMap::new();
        for name in processes.names() {
            if let State::Running(pid) = processes.state(&name) {
                spent.insert(name, all.of_tree(pid));
            }
        }
        let own = i32::try_from(std::process::id()).unwrap_or(0);
        spent.insert(LOAD.to_owned(), all.of_one(own));
        Self(spent)
    }

    /// Since each of them began, of the threads of a process; those of one name are one.
    pub fn by_thread(pid: i32) -> Self {
        let mut spent: BTreeMap<String, Duration> = BTreeMap::new();
        let threads = fs::read_dir(format!("/proc/{pid}/task"));
        for thread in threads.into_iter().flatten().flatten() {
            // It may have ended in between.
            let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            if let (Some(name), Some(life)) = (name_of(&stat), Life::parse(&stat)) {
                *spent.entry(name.to_owned()).or_default() += TICK * life.own;
            }
        }
        Self(spent)
    }

    /// Since an earlier look; what began in between has spent all of its time since.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let spent = self.0.iter().map(|(name, now)| {
            let before = before.0.get(name).copied().unwrap_or_default();
            (name.clone(), now.saturating_sub(before))
        });
        Self(spent.filter(|(_, spent)| !spent.is_zero()).collect())
    }

    /// Of one process; an error where it spent nothing, as then it does not run.
    pub fn of(&self, name: &str) -> anyhow::Result<Duration> {
        let spent = self.0.get(name).copied();
        spent.with_context(|| format!("{name} does not run"))
    }

    /// Of all others together.
    pub fn of_others(&self) -> Duration {
        let others = self.0.iter().filter(|(name, _)| !OURS.contains(&name.as_str()));
        others.map(|(_, spent)| *spent).sum()
    }

    /// Of Kafka's client, where this is by thread: what it takes to send and to fetch, whatever is made of the records.
    pub fn of_kafkas_client(&self) -> Duration {
        let threads = self.0.iter();
        let clients = threads.filter(|(name, _)| name.starts_with("rdk:") || *name == POLLING);
        clients.map(|(_, spent)| *spent).sum()
    }

    /// Operations a second if each took of the processors what it takes of others and of Kafka's client, and a constant answer beside
    /// that, so many microseconds; this is of so many operations.
    pub fn per_second_without_us(
        &self,
        by_kafkas_client: Duration,
        operations: u64,
        constant_us: f64,
    ) -> anyhow::Result<f64> {
        let processors = u64::try_from(std::thread::available_parallelism()?.get())?;
        let others = (self.of_others() + by_kafkas_client).as_secs_f64() / as_f64(operations.max(1));
        Ok(as_f64(processors) / (constant_us / 1e6 + others))
    }

    /// Microseconds of one process for each of so many operations; an error where it spent nothing.
    pub fn each_of(&self, name: &str, operations: u64) -> anyhow::Result<f64> {
        Ok(self.of(name)?.as_secs_f64() * 1e6 / as_f64(operations.max(1)))
    }

    /// Microseconds of each process for each of so many operations.
    pub fn per_operation(&self, operations: u64) -> BTreeMap<String, f64> {
        let operations = as_f64(operations.max(1));
        let each = self.0.iter();
        each.map(|(name, spent)| (name.clone(), spent.as_secs_f64() * 1e6 / operations))
            .collect()
    }
}

/// Microseconds of each process for each operation, over the rounds.
#[derive(Clone, Debug, Default)]
pub struct PerOperation(Vec<BTreeMap<String, f64>>);

impl PerOperation {
    /// Another round; tells it.
    pub fn push(&mut self, what: &str, spent: &Spent, operations: u64) {
        let round = spent.per_operation(operations);
        let told: Vec<String> = round
            .iter()
            .map(|(name, micros)| format!("{name} {micros:.1}"))
            .collect();
        let all: f64 = round.values().sum();
        eprintln!("    {what}: {all:.1} us of processor time ({})", told.join(", "));
        self.0.push(round);
    }

    /// For the raw figures: of each process, a figure for each round.
    pub fn raw(&self) -> Value {
        let mut names: Vec<&String> = self.0.iter().flat_map(BTreeMap::keys).collect();
        names.sort();
        names.dedup();
        let rounds = |name: &String| -> Vec<f64> {
            let each = self.0.iter();
            each.map(|round| round.get(name).copied().unwrap_or_default())
                .collect()
        };
        json!(
            names
                .into_iter()
                .map(|name| (name.clone(), rounds(name)))
                .collect::<BTreeMap<_, _>>()
        )
    }
}

/// Every process of the machine: who started it, and its ticks.
struct Lives(HashMap<i32, Life>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Life {
    parent: i32,
    /// Its own ticks.
    own: u32,
    /// Those of its children that have ended and were waited for.
    ended: u32,
}

impl Lives {
    fn now() -> Self {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let lives = entries.filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            Some((pid, Life::parse(&stat)?))
        });
        Self(lives.collect())
    }

    fn of_one(&self, pid: i32) -> Duration {
        self.0.get(&pid).map_or(Duration::ZERO, |life| TICK * life.own)
    }

    /// With its descendants, those that have ended included.
    fn of_tree(&self, pid: i32) -> Duration {
        let children = self.0.iter().filter(|(_, life)| life.parent == pid);
        let of_children: Duration = children.map(|(child, _)| self.of_tree(*child)).sum();
        let ended = self.0.get(&pid).map_or(0, |life| life.ended);
        self.of_one(pid) + TICK * ended + of_children
    }
}

/// What a process or a thread is called.
fn name_of(stat: &str) -> Option<&str> {
    stat.get(stat.find('(')? + 1..stat.rfind(')')?)
}

impl Life {
    fn parse(stat: &str) -> Option<Self> {
        // The name is in parentheses and may hold anything; what follows the last one is regular.
        let fields: Vec<&str> = stat[stat.rfind(')')? + 1..].split_whitespace().collect();
        let ticks = |at: usize| fields.get(at)?.parse::<u32>().ok();
        Some(Self {
            parent: fields.get(1)?.parse().ok()?,
            own: ticks(11)?.checked_add(ticks(12)?)?,
            ended: ticks(13)?.checked_add(ticks(14)?)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_stands_for_all_that_it_started() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194304 1 2 3 4 50 25 10 5 20 0 3 0 99 1 1";
        let life = Life::parse(stat).unwrap();
        assert_eq!((life.parent, life.own, life.ended), (1, 75, 15));
        let child = |parent| Life {
            parent,
            own: 2,
            ended: 1,
        };
        let lives = Lives(HashMap::from([
            (7, life),
            (8, child(7)),
            (9, child(8)),
            (10, child(1)),
        ]));
        assert_eq!(lives.of_one(7), Duration::from_millis(750));
        assert_eq!(lives.of_tree(7), Duration::from_millis(960));
        let spaces = "7 (a (b) c) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0";
        let spaces = Lives(HashMap::from([(7, Life::parse(spaces).unwrap())]));
        assert_eq!(spaces.of_one(7), Duration::from_secs(3));
        assert_eq!(lives.of_tree(11), Duration::ZERO);
        assert_eq!(Life::parse("7 (a) S 1"), None);
        assert_eq!(name_of(stat), Some("a ) b"));
        assert_eq!(name_of("7"), None);
    }

    #[test]
    fn threads_are_told_by_their_names() {
        let own = i32::try_from(std::process::id()).unwrap();
        let busy = std::thread::Builder::new().name("busy".to_owned());
        let spent = busy.spawn(move || {
            while Spent::by_thread(own).0.get("busy").is_none_or(Duration::is_zero) {}
            Spent::by_thread(own)
        });
        assert!(spent.unwrap().join().unwrap().of("busy").unwrap() >= TICK);
    }

    #[test]
    fn an_operation_costs_what_was_spent_since_the_look_before() {
        let spent = |pairs: &[(&str, u64)]| {
            let pairs = pairs.iter();
            Spent(
                pairs
                    .map(|(name, ms)| ((*name).to_owned(), Duration::from_millis(*ms)))
                    .collect(),
            )
        };
        let since =
            spent(&[("kafka", 70), ("idle", 5), ("new", 20)]).since(&spent(&[("kafka", 50), ("idle", 5)]));
        assert_eq!(since, spent(&[("kafka", 20), ("new", 20)]));
        assert_eq!(since.of("new").unwrap(), Duration::from_millis(20));
        assert!(since.of("idle").is_err());
        let with_ours = spent(&[("projector-1", 40), ("kafka", 20), ("load", 3)]);
        assert_eq!(with_ours.of_others(), Duration::from_millis(23));
        let threads = spent(&[
            ("rdk:main", 1),
            ("rdk:broker1", 20),
            (POLLING, 300),
            ("writers", 4_000),
        ]);
        assert_eq!(threads.of_kafkas_client(), Duration::from_millis(321));
        assert!((since.per_operation(10)["kafka"] - 2_000.0).abs() < 1e-9);
        let mut rounds = PerOperation::default();
        rounds.push("", &since, 10);
        rounds.push("", &Spent::default(), 10);
        assert_eq!(rounds.raw()["new"], json!([2_000.0, 0.0]));
    }
}
