//! What the checkers of the read side find: nothing in the services as they are, and each known mistake that is put in.

use std::time::Duration;

use e2e::cache::{Options as CacheOptions, hot, run as check_cache};
use e2e::causal::model::{Rule, Why};
use e2e::causal::{Options, Violation, run};
use e2e::{Pipeline, Setup};
use query_service::bugs::Bug;

fn operations(operations: u64) -> Options {
    Options {
        seed: fastrand::u64(..1_000_000),
        operations,
        clients: 24,
        weather: true,
        until_violated: false,
        progress: false,
    }
}

fn two_of_each(name: &str) -> Setup {
    Setup::new(name).counts(2, 2, 2)
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_thousand_operations_of_many_clients_break_no_promise() {
    let pipeline = two_of_each("causal").start().await;
    let report = run(&pipeline, operations(20_000)).await;
    println!("{report}");
    assert_eq!(report.violations, 0, "{report}");
    // It would have been seen: answers had something to show for each reason.
    for why in [Why::Own, Why::Read, Why::Cause, Why::Handed, Why::Acknowledged] {
        assert!(report.required.contains_key(&why), "nothing {why:?}: {report}");
    }
    assert_eq!(report.weather.len(), 5, "everything happened: {report}");
    pipeline.verify();
}

/// A caller sees less than it must.
const TOO_OLD: &[Rule] = &[
    Rule::ReadYourWrites,
    Rule::MonotonicReads,
    Rule::CausalOrder,
    Rule::HandedOver,
    Rule::Strong,
];

/// Runs until the checker finds the mistake, and holds what it finds against what the mistake breaks.
async fn is_found(bug: Bug, rules: &[Rule]) {
    let pipeline = two_of_each(bug.name()).bug(bug).start().await;
    let options = Options {
        until_violated: true,
        ..operations(20_000)
    };
    let report = run(&pipeline, options).await;
    println!("{}: {report}", bug.name());
    let found = |violation: &Violation| rules.contains(&violation.breach.rule);
    assert!(
        report.first_violations.iter().any(found),
        "{} is not found: {report}",
        bug.name()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_ignored_is_found() {
    is_found(Bug::TokenIgnored, TOO_OLD).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_for_the_wrong_partition_is_found() {
    is_found(Bug::WrongPartition, TOO_OLD).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_is_served_past_its_tag_is_found() {
    is_found(Bug::PastTag, TOO_OLD).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_not_merged_is_found() {
    is_found(Bug::TokenNotMerged, &[Rule::Token]).await;
}

fn cached_reads(reads: u64) -> CacheOptions {
    CacheOptions {
        seed: fastrand::u64(..1_000_000),
        reads,
        readers: 96,
        writers: 3,
        pause_of_writers: Duration::from_secs(2),
        restart_every: Some(Duration::from_secs(12)),
        progress: false,
    }
}

async fn small_cache(name: &str) -> Pipeline {
    let setup = Setup::new(name).env("TAILWATER_CACHE_MIB", "1");
    setup.counts(1, 1, 2).start().await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_thousand_answers_from_memory_are_what_the_log_says() {
    let pipeline = small_cache("cache").await;
    let report = check_cache(&pipeline, cached_reads(200_000)).await;
    println!("{report}");
    assert_eq!(report.violations, 0, "{report}");
    assert!(report.evictions > 0 && report.restarts > 0, "{report}");
    for kind in ["order", "stock", "page", "absent"] {
        assert!(report.reads.contains_key(kind), "no {kind}: {report}");
    }
    pipeline.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hot_key_under_a_thousand_readers_is_filled_by_one_at_a_time() {
    let pipeline = Setup::new("hotkey").start().await;
    let report = hot(&pipeline, 1_000, 2_000).await;
    println!("{report:?}");
    assert_eq!(report.older, 0, "{report:?}");
    assert!(report.fills_at_once <= 1.0, "{report:?}");
    assert!(report.reads > report.writes, "{report:?}");
    pipeline.verify();
}
