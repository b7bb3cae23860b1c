//! What is killed, and when.

use std::time::Duration;

use code_deploy_fuzz::Random;

/// What is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Victim {
    /// The process that carries the run out.
    Runner,
    /// The process that carries the run out, by its own hand at a write of its journal.
    RunnerAtWrite,
    /// The Jupyter kernel whose cell began the run.
    Kernel,
    /// The router.
    Router,
    /// The process that looks after the router.
    Keeper,
    /// The process of one instance of a service.
    Service,
    /// The router, and the process that carries the run out.
    RouterAndRunner,
    /// Nobody: a person asks for a rollback from another terminal.
    Nobody,
}

impl Victim {
    /// Every victim.
    pub const ALL: [Self; 8] = [
        Self::Runner,
        Self::Router,
        Self::Kernel,
        Self::Service,
        Self::RunnerAtWrite,
        Self::RouterAndRunner,
        Self::Keeper,
        Self::Nobody,
    ];

    /// Returns the word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Runner => "runner",
            Self::RunnerAtWrite => "runner at a write",
            Self::Kernel => "kernel",
            Self::Router => "router",
            Self::Keeper => "keeper",
            Self::Service => "service",
            Self::RouterAndRunner => "router and runner",
            Self::Nobody => "nobody, but a person asks for a rollback",
        }
    }

    /// Returns whether a router is among it.
    #[must_use]
    pub fn is_a_router(self) -> bool {
        matches!(self, Self::Router | Self::RouterAndRunner)
    }

    /// Returns whether requests that it served may be cut.
    #[must_use]
    pub fn serves(self) -> bool {
        matches!(self, Self::Router | Self::Service | Self::RouterAndRunner)
    }
}

/// One kill.
#[derive(Debug, Clone, Copy)]
pub struct Blow {
    /// Who.
    pub victim: Victim,
    /// After which share of the journal of a whole run, in thousandths.
    pub share: u64,
    /// How long after that.
    pub delay: Duration,
    /// Which of several that would do, in thousandths.
    pub which: usize,
    /// Whether the kill at a write comes before it.
    pub before: bool,
    /// Whether a person then takes the run back instead of going on with it, where nobody else goes
    /// on.
    pub takes_back: bool,
}

/// Which rounds are carried out.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What everything follows from.
    pub seed: u64,
    /// The number of the first round.
    pub from: u64,
    /// How many.
    pub rounds: u64,
    /// Who is killed, in turn.
    pub victims: Vec<Victim>,
}

impl Plan {
    /// Returns the blow of a round.
    pub(crate) fn blow(&self, number: u64, random: &mut Random) -> Blow {
        let count = u64::try_from(self.victims.len()).unwrap_or(u64::MAX).max(1);
        let turn = usize::try_from(number % count).unwrap_or(0);
        Blow {
            victim: self.victims.get(turn).copied().unwrap_or(Victim::Runner),
            share: random.next() % 1000,
            delay: Duration::from_millis(random.next() % 100),
            which: random.below(1000),
            before: random.once_in(2),
            takes_back: random.once_in(2),
        }
    }
}
