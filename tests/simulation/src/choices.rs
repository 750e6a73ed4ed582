//! Where the simulation's chance comes from: a seed, or a tape of the choices that an earlier run made.
//!
//! A tape that is shorter than the run goes on with zeros, and zero is always the choice where nothing goes wrong. So a
//! failing run becomes shorter and simpler by cutting its tape and writing zeros into it.

/// Choices, made or repeated.
#[derive(Debug)]
pub struct Choices {
    tape: Vec<u32>,
    at: usize,
    random: Option<fastrand::Rng>,
}

impl Choices {
    /// New choices.
    pub fn of_seed(seed: u64) -> Self {
        Self {
            tape: Vec::new(),
            at: 0,
            random: Some(fastrand::Rng::with_seed(seed)),
        }
    }

    /// The choices of an earlier run.
    pub const fn of_tape(tape: Vec<u32>) -> Self {
        Self {
            tape,
            at: 0,
            random: None,
        }
    }

    /// What was chosen so far.
    pub fn into_tape(mut self) -> Vec<u32> {
        self.tape.truncate(self.at);
        self.tape
    }

    /// A number below `limit`, which is not 0.
    pub fn below(&mut self, limit: u32) -> u32 {
        if self.at == self.tape.len() {
            let next = self.random.as_mut().map_or(0, |random| random.u32(0..limit));
            self.tape.push(next);
        }
        self.at += 1;
        self.tape[self.at - 1] % limit
    }

    /// An index of something that has so many.
    pub fn index(&mut self, length: usize) -> usize {
        self.below(u32::try_from(length).unwrap_or(u32::MAX)) as usize
    }

    /// True once in so many times; never where there is no chance.
    pub fn one_in(&mut self, times: u32) -> bool {
        self.below(times) == times - 1
    }
}
