//! What happened in a run, counted: a simulation in which nothing goes wrong proves nothing.

/// How often something worth seeing happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Records that landed.
    pub records: u64,
    /// Records that are void.
    pub void: u64,
    /// Answers given, repeated ones included.
    pub answers: u64,
    /// Zombies that landed and count.
    pub zombies_effective: u64,
    /// Zombies that landed and are void.
    pub zombies_void: u64,
    /// Crashes.
    pub crashes: u64,
    /// Starts from a checkpoint.
    pub resumed: u64,
    /// Times that a stored state could not be read.
    pub lost: u64,
    /// Strong reads that were proven.
    pub proven: u64,
    /// Requests that were told that their key was used with another request.
    pub mismatches: u64,
    /// Writers that began to follow the others.
    pub followed: u64,
    /// Requests that were turned away.
    pub turned_away: u64,
}

impl std::ops::AddAssign for Seen {
    fn add_assign(&mut self, other: Self) {
        self.records += other.records;
        self.void += other.void;
        self.answers += other.answers;
        self.zombies_effective += other.zombies_effective;
        self.zombies_void += other.zombies_void;
        self.crashes += other.crashes;
        self.resumed += other.resumed;
        self.lost += other.lost;
        self.proven += other.proven;
        self.mismatches += other.mismatches;
        self.followed += other.followed;
        self.turned_away += other.turned_away;
    }
}
