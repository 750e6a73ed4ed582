//! The writer under every fault, and the mistakes that the simulation must find.

use eventlog::bugs::Bug;
use simulation::{
    Violation, find,
    model::{TESTED, shows, walk},
    replay, run,
    shrink::shrink,
    world::Seen,
};

/// Enough to meet every fault in many combinations; `cargo xtask sim --seeds N` runs more.
const SEEDS: u64 = 10_000;

#[test]
fn no_seed_violates_anything() {
    let mut seen = Seen::default();
    for seed in 0..SEEDS {
        let run = run(seed, None);
        if let Some(violation) = run.violation {
            let short = shrink(run.tape, None, violation);
            panic!(
                "seed {seed} violates: {}\n{}",
                violation.property(),
                short.trace.join("\n")
            );
        }
        seen += run.seen;
    }
    println!("{SEEDS} seeds: {seen:?}");
    // What is worth seeing was seen: a simulation in which nothing goes wrong proves nothing.
    for (what, times) in [
        ("records", seen.records),
        ("void records", seen.void),
        ("answers", seen.answers),
        ("zombies that count", seen.zombies_effective),
        ("zombies that are void", seen.zombies_void),
        ("crashes", seen.crashes),
        ("starts from a checkpoint", seen.resumed),
        ("strong reads", seen.proven),
        ("states that could not be read", seen.lost),
        ("keys used twice", seen.mismatches),
        ("accepted commands", seen.accepted),
        ("accepted commands that were carried out", seen.carried_out),
        (
            "accepted commands that were turned away and taken again",
            seen.taken_again,
        ),
        ("entries that cannot be read", seen.unreadable),
        ("outcomes that were looked up", seen.looked),
        ("steps of process managers", seen.steps),
    ] {
        assert!(times > SEEDS / 10, "{what}: {times}");
    }
    assert!(seen.turned_away > 0, "nobody was turned away");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 0..50 {
        let (first, second) = (run(seed, None), run(seed, None));
        assert_eq!((&first.tape, first.seen), (&second.tape, second.seen));
        // And so does what it chose.
        assert_eq!(replay(first.tape, None, false).seen, second.seen);
    }
}

/// Each known mistake, a seed that finds it, and what it violates there. `cargo xtask sim --bugs` prints this table anew.
const FOUND: [(Bug, u64, Violation); 26] = [
    (Bug::AcknowledgeOnSending, 0, Violation::WrongAnswer),
    (Bug::AcknowledgeAnyOffset, 0, Violation::WrongAnswer),
    (Bug::JudgeOutOfOrder, 0, Violation::WrongAnswer),
    (Bug::JumpOverGap, 0, Violation::WrongAnswer),
    (Bug::DoubtIsApplied, 0, Violation::WrongAnswer),
    (Bug::DoubtIsRejected, 0, Violation::TakenAfterAll),
    (Bug::ForgetAtTakeOver, 0, Violation::Doubled),
    (Bug::LinkWithoutCommand, 141, Violation::Doubled),
    (Bug::LinkWithoutAfter, 50, Violation::Illegal),
    (Bug::LinkWithoutValue, 37, Violation::Illegal),
    (Bug::LastLinkFromVoid, 0, Violation::WrongAnswer),
    (Bug::VoidCounts, 0, Violation::WrongAnswer),
    (Bug::DecideOnFolded, 0, Violation::WrongAnswer),
    (Bug::ChainAllToFolded, 0, Violation::Assertion),
    (Bug::ChainAnewUndecided, 0, Violation::Illegal),
    (Bug::TrustAfterVoid, 5, Violation::WrongAnswer),
    (Bug::AnswerRejectionOnSending, 0, Violation::WrongAnswer),
    (Bug::ForgetRejections, 0, Violation::Doubled),
    (Bug::CheckpointLastRecord, 0, Violation::Disagreement),
    (Bug::StrongByEndOffset, 0, Violation::StaleRead),
    (Bug::RememberTooFew, 0, Violation::Doubled),
    (Bug::FoldReadsClock, 0, Violation::Disagreement),
    (Bug::PassOverTurnedAway, 111, Violation::LeftOut),
    (Bug::PassBeforeDecided, 0, Violation::LeftOut),
    (Bug::ForgetCarriedOut, 0, Violation::OutOfTurn),
    (Bug::StepWithoutCause, 4, Violation::Illegal),
];

#[test]
fn each_known_mistake_is_found() {
    for (bug, seed, violation) in FOUND {
        assert_eq!(
            run(seed, Some(bug)).violation,
            Some(violation),
            "{}: seed {seed} does not find it any more; `cargo xtask sim --bugs` says which one does",
            bug.what()
        );
        assert_eq!(run(seed, None).violation, None);
    }
    assert!(
        Bug::ALL
            .iter()
            .all(|bug| FOUND.iter().any(|(found, ..)| found == bug))
    );
}

#[test]
fn no_interleaving_of_a_small_configuration_violates_anything() {
    for small in TESTED {
        let walked = walk(small);
        println!("{} states of {small:?}", walked.states);
        assert_eq!(walked.failures, Vec::<String>::new(), "{small:?}");
        assert!(walked.states > 1_000, "{small:?}: {} states", walked.states);
    }
}

#[test]
fn the_walk_finds_mistakes_too() {
    for bug in [
        Bug::AcknowledgeAnyOffset,
        Bug::JumpOverGap,
        Bug::DecideOnFolded,
        Bug::TrustAfterVoid,
    ] {
        assert!(shows(bug), "{}", bug.what());
    }
}

#[test]
fn a_failing_run_is_made_short() {
    let (seed, violation) = find(Bug::JumpOverGap, 10).unwrap();
    let long = run(seed, Some(Bug::JumpOverGap));
    let long_trace = replay(long.tape.clone(), Some(Bug::JumpOverGap), true).trace;
    let short = shrink(long.tape, Some(Bug::JumpOverGap), violation);
    assert_eq!(short.violation, Some(violation));
    assert!(
        short.trace.len() < long_trace.len(),
        "{} of {} steps",
        short.trace.len(),
        long_trace.len()
    );
}
