//! Processor time that the host gave to others while something was measured: numbers of a virtual machine whose host is
//! busy say little about the pipeline.

use std::fs;

/// Ticks of all processors since the machine started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticks {
    all: u64,
    stolen: u64,
}

impl Ticks {
    /// Up to now; none where the system does not say.
    pub(crate) fn now() -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/stat").ok()?)
    }

    /// user, nice, system, idle, iowait, irq, softirq, steal; what follows is part of user and nice.
    fn parse(stat: &str) -> Option<Self> {
        let numbers = stat.lines().next()?.strip_prefix("cpu ")?;
        let ticks: Vec<u64> = numbers
            .split_whitespace()
            .take(8)
            .map_while(|number| number.parse().ok())
            .collect();
        Some(Self {
            all: ticks.iter().sum(),
            stolen: *ticks.get(7)?,
        })
    }

    /// Per cent of all processors' time that was stolen since then.
    pub(crate) fn stolen_since(self, begin: Self) -> Option<u64> {
        let all = self.all.checked_sub(begin.all)?;
        let stolen = self.stolen.checked_sub(begin.stolen)?;
        (stolen * 100 + all / 2).checked_div(all)
    }
}

/// Per cent of all processors' time that was stolen from then to now.
pub(crate) fn since(begin: Option<Ticks>) -> Option<u64> {
    Ticks::now()?.stolen_since(begin?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stolen_share_is_of_all_time_between() {
        let ticks = |text: &str| Ticks::parse(text).unwrap();
        let begin = ticks("cpu  100 0 50 800 10 0 20 20 7 0\ncpu0 1 2 3\n");
        let end = ticks("cpu  140 0 60 837 10 0 20 33 9 0\n");
        assert_eq!(end.stolen_since(begin), Some(13));
        assert_eq!(end.stolen_since(end), None, "no time passed");
        assert_eq!(begin.stolen_since(end), None, "backwards");
    }

    #[test]
    fn what_is_not_there_is_not_made_up() {
        assert_eq!(Ticks::parse(""), None);
        assert_eq!(
            Ticks::parse("cpu  1 2 3 4 5 6 7\n"),
            None,
            "a kernel without the field"
        );
        assert_eq!(Ticks::parse("intr 1 2 3 4 5 6 7 8\n"), None);
    }
}
