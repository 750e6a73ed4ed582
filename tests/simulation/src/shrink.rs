//! Makes a failing run short: cuts pieces out of its tape and writes zeros into it for as long as it still fails.

use eventlog::bugs::Bug;

use crate::{Run, Violation, replay};

/// Runs at most, so that it ends.
const RUNS_MAX: usize = 4_000;

/// The shortest failing tape that was found, run once more with its trace.
pub fn shrink(tape: Vec<u32>, bug: Option<Bug>, violation: Violation) -> Run {
    let mut best = tape;
    let mut runs = 0;
    let mut fails = |tape: &[u32]| {
        runs += 1;
        runs <= RUNS_MAX && replay(tape.to_vec(), bug, false).violation == Some(violation)
    };
    let mut width = best.len().max(1);
    while width > 0 {
        let mut at = 0;
        while at < best.len() {
            let end = (at + width).min(best.len());
            let cut: Vec<u32> = best[..at].iter().chain(&best[end..]).copied().collect();
            if fails(&cut) {
                best = cut;
                continue;
            }
            if best[at..end].iter().any(|choice| *choice != 0) {
                let mut zeros = best.clone();
                zeros[at..end].fill(0);
                if fails(&zeros) {
                    best = zeros;
                }
            }
            at += width;
        }
        width /= 2;
    }
    while best.last() == Some(&0) {
        best.pop();
    }
    replay(best, bug, true)
}
